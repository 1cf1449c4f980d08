using Sals.Engine.Models;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>Weights of one layer in device memory, bf16; a null pointer where the model has none.</summary>
/// <param name="InputNorm">[H]</param>
/// <param name="QueryKeyValue">[(HQ + 2 HK) DH, H]: queries, keys, values</param>
/// <param name="QueryKeyValueBias">[(HQ + 2 HK) DH]</param>
/// <param name="QueryNorm">[DH]</param>
/// <param name="KeyNorm">[DH]</param>
/// <param name="Output">[H, HQ DH]</param>
/// <param name="OutputBias">[H]</param>
/// <param name="PostAttentionNorm">[H]</param>
/// <param name="GateUp">[2 F, H]: gate, up</param>
/// <param name="GateUpBias">[2 F]</param>
/// <param name="Down">[H, F]</param>
/// <param name="DownBias">[H]</param>
internal sealed record CudaLayer(
    DevicePtr<ushort> InputNorm,
    DevicePtr<ushort> QueryKeyValue,
    DevicePtr<ushort> QueryKeyValueBias,
    DevicePtr<ushort> QueryNorm,
    DevicePtr<ushort> KeyNorm,
    DevicePtr<ushort> Output,
    DevicePtr<ushort> OutputBias,
    DevicePtr<ushort> PostAttentionNorm,
    DevicePtr<ushort> GateUp,
    DevicePtr<ushort> GateUpBias,
    DevicePtr<ushort> Down,
    DevicePtr<ushort> DownBias);

/// <summary>All weights in device memory as bf16, matrices [out, in] as Hugging Face stores them; other types are rounded.</summary>
internal sealed class CudaWeights : IDisposable
{
    private readonly DeviceArena _arena;

    /// <param name="progress">As <see cref="CudaBackendOptions.LoadProgress"/>.</param>
    public CudaWeights(CudaStream stream, CudaDevice device, KernelCache cache, ModelWeights weights, Action<long, long>? progress)
    {
        var bytes = BytesOf(weights);
        _arena = new DeviceArena("weights", bytes);
        using var upload = new WeightUpload(stream, device, cache, bytes, progress);
        Embedding = Put(weights.Embedding);
        Head = weights.Config.TiedEmbeddings ? Embedding : Put(weights.Head);
        FinalNorm = Put(weights.FinalNorm);
        Layers =
        [
            .. weights.Layers.Select(l => new CudaLayer(
                Put(l.InputNorm),
                Put(l.Query, l.Key, l.Value),
                Put(l.QueryBias, l.KeyBias, l.ValueBias),
                Put(l.QueryNorm),
                Put(l.KeyNorm),
                Put(l.Output),
                Put(l.OutputBias),
                Put(l.PostAttentionNorm),
                Put(l.Gate, l.Up),
                Put(l.GateBias, l.UpBias),
                Put(l.Down),
                Put(l.DownBias))),
        ];

        // tensors side by side
        DevicePtr<ushort> Put(params ReadOnlySpan<Tensor?> parts)
        {
            long count = 0;
            foreach (var part in parts)
            {
                count += part?.ElementCount ?? 0;
            }

            if (count == 0)
            {
                return default;
            }

            var start = _arena.Take<ushort>(count);
            var at = start;
            foreach (var part in parts)
            {
                upload.Put(part!, at);
                at += part!.ElementCount;
            }

            return start;
        }
    }

    /// <summary>[V, H]</summary>
    public DevicePtr<ushort> Embedding { get; }

    /// <summary>[V, H]; the embedding itself when they are tied.</summary>
    public DevicePtr<ushort> Head { get; }

    /// <summary>[H]</summary>
    public DevicePtr<ushort> FinalNorm { get; }

    public CudaLayer[] Layers { get; }

    public long Bytes => _arena.Bytes;

    /// <summary>Device memory that a model's weights take.</summary>
    public static long BytesOf(ModelWeights weights) => Groups(weights).Sum(g => DeviceArena.SizeOf<ushort>(g.Sum(t => t.ElementCount)));

    public void Dispose() => _arena.Dispose();

    // what Put is called with, so that the arena's size is known before
    private static IEnumerable<Tensor[]> Groups(ModelWeights weights)
    {
        yield return [weights.Embedding];
        if (!weights.Config.TiedEmbeddings)
        {
            yield return [weights.Head];
        }

        yield return [weights.FinalNorm];
        foreach (var l in weights.Layers)
        {
            Tensor?[][] groups =
            [
                [l.InputNorm], [l.Query, l.Key, l.Value], [l.QueryBias, l.KeyBias, l.ValueBias], [l.QueryNorm], [l.KeyNorm], [l.Output], [l.OutputBias],
                [l.PostAttentionNorm], [l.Gate, l.Up], [l.GateBias, l.UpBias], [l.Down], [l.DownBias],
            ];
            foreach (var group in groups.Where(g => g[0] is not null))
            {
                yield return group!;
            }
        }
    }
}
