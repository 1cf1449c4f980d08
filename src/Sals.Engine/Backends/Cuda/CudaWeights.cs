using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>Weights of one layer in device memory, bf16; a null pointer where the model has none.</summary>
/// <param name="InputNorm">[H]</param>
/// <param name="QueryKeyValue">[(HQ + 2 HK) DH, H]: queries, keys, values; in a compressed layer RS rows more, the scoring query, unless the model norms its queries</param>
/// <param name="QueryKeyValueBias">As many as rows</param>
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

    /// <param name="basis">Of the compressed layers, whose scoring queries are folded here; null when there are none.</param>
    /// <param name="progress">As <see cref="CudaBackendOptions.LoadProgress"/>.</param>
    public CudaWeights(CudaStream stream, CudaDevice device, KernelCache cache, ModelWeights weights, LatentSpec spec, LatentBasis? basis, Action<long, long>? progress)
    {
        var bytes = BytesOf(weights, spec);
        _arena = new DeviceArena("weights", bytes);
        using var upload = new WeightUpload(stream, device, cache, bytes, progress);
        Embedding = Put(weights.Embedding);
        Head = weights.Config.TiedEmbeddings ? Embedding : Put(weights.Head);
        FinalNorm = Put(weights.FinalNorm);
        Layers = [.. weights.Layers.Select(Layer)];

        CudaLayer Layer(LayerWeights l, int index)
        {
            var (scoring, scoringBias) = ScoringRows(l, spec, index) > 0 ? Scoring(l, weights.Config, basis!.Layer(index), spec.ScoreRank) : default;
            return new CudaLayer(
                Put(l.InputNorm),
                Put(l.Query, l.Key, l.Value, scoring),
                Put(l.QueryBias, l.KeyBias, l.ValueBias, l.QueryBias is null ? null : scoringBias),
                Put(l.QueryNorm),
                Put(l.KeyNorm),
                Put(l.Output),
                Put(l.OutputBias),
                Put(l.PostAttentionNorm),
                Put(l.Gate, l.Up),
                Put(l.GateBias, l.UpBias),
                Put(l.Down),
                Put(l.DownBias));
        }

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
                if (part is not null)
                {
                    upload.Put(part, at);
                    at += part.ElementCount;
                }
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
    public static long BytesOf(ModelWeights weights, LatentSpec spec) => Groups(weights, spec).Sum(DeviceArena.SizeOf<ushort>);

    public void Dispose() => _arena.Dispose();

    /// <summary>Rows that the scoring query adds to a layer's queries, keys and values.</summary>
    private static int ScoringRows(LayerWeights layer, LatentSpec spec, int index) =>
        layer.QueryNorm is null && !spec.DenseLayers.Contains(index) ? spec.ScoreRank : 0;

    private static (Tensor Weight, Tensor Bias) Scoring(LayerWeights layer, ModelConfig model, LatentBasisLayer basis, int rank)
    {
        if (layer.Query is RandomTensor query)
        {
            // folding billions of random weights takes longer than measuring with them, and gives random numbers of this deviation
            var deviation = MathF.Sqrt((float)model.GroupSize / model.HiddenSize);
            return (new RandomTensor($"{query.Name} scoring", rank, model.HiddenSize, deviation, query.Seed), new ComputedTensor("scoring query bias", new float[rank], 1, rank));
        }

        var (weight, bias) = ScoringQuery.Fold(layer, model, basis, rank);
        return (new ComputedTensor("scoring query", weight, rank, model.HiddenSize), new ComputedTensor("scoring query bias", bias, 1, rank));
    }

    // elements of each call of Put, so that the arena's size is known before
    private static IEnumerable<long> Groups(ModelWeights weights, LatentSpec spec)
    {
        yield return weights.Embedding.ElementCount;
        if (!weights.Config.TiedEmbeddings)
        {
            yield return weights.Head.ElementCount;
        }

        yield return weights.FinalNorm.ElementCount;
        for (var i = 0; i < weights.Layers.Length; i++)
        {
            var l = weights.Layers[i];
            var scoring = ScoringRows(l, spec, i);
            (Tensor?[] Parts, long More)[] groups =
            [
                ([l.InputNorm], 0), ([l.Query, l.Key, l.Value], (long)scoring * weights.Config.HiddenSize), ([l.QueryBias, l.KeyBias, l.ValueBias], scoring), ([l.QueryNorm], 0),
                ([l.KeyNorm], 0), ([l.Output], 0), ([l.OutputBias], 0), ([l.PostAttentionNorm], 0), ([l.Gate, l.Up], 0), ([l.GateBias, l.UpBias], 0), ([l.Down], 0), ([l.DownBias], 0),
            ];
            foreach (var (parts, more) in groups.Where(g => g.Parts[0] is not null))
            {
                yield return parts.Sum(t => t!.ElementCount) + more;
            }
        }
    }
}
