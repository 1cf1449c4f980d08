using System.Runtime.InteropServices;
using Sals.Engine.Models;

namespace Sals.Testing;

/// <summary>Small random models in memory, the same for the same seed. Weights are large enough that logits vary and every operation shows.</summary>
public static class TinyModel
{
    /// <summary>A Llama-like configuration: 3 layers, H 48, 4 heads and 2 KV heads of 16, F 80, V 300.</summary>
    public static ModelConfig Config(int maxModelLength = 512) => new()
    {
        Architecture = ModelArchitecture.Llama,
        LayerCount = 3,
        HiddenSize = 48,
        IntermediateSize = 80,
        VocabularySize = 300,
        HeadCount = 4,
        KeyValueHeadCount = 2,
        HeadSize = 16,
        RmsNormEpsilon = 1e-5f,
        TiedEmbeddings = true,
        QueryKeyValueBias = false,
        OutputBias = false,
        MlpBias = false,
        QueryKeyNorm = false,
        Rope = new RopeSettings { Theta = 10000 },
        MaxModelLength = maxModelLength,
        EndTokenIds = [],
    };

    public static ModelWeights Build(ModelConfig? config = null, int seed = 1, ElementType type = ElementType.Float32)
    {
        var c = config ?? Config();
        var random = new Random(seed);
        var embedding = Matrix("embedding", c.VocabularySize, c.HiddenSize, 0.3f);
        var layers = new LayerWeights[c.LayerCount];
        for (var l = 0; l < layers.Length; l++)
        {
            layers[l] = new LayerWeights
            {
                InputNorm = Norm("input_norm", c.HiddenSize),
                Query = Matrix("q", c.QueryWidth, c.HiddenSize, 2 / MathF.Sqrt(c.HiddenSize)),
                Key = Matrix("k", c.KeyWidth, c.HiddenSize, 2 / MathF.Sqrt(c.HiddenSize)),
                Value = Matrix("v", c.KeyWidth, c.HiddenSize, 1 / MathF.Sqrt(c.HiddenSize)),
                Output = Matrix("o", c.HiddenSize, c.QueryWidth, 1 / MathF.Sqrt(c.QueryWidth)),
                PostAttentionNorm = Norm("post_norm", c.HiddenSize),
                Gate = Matrix("gate", c.IntermediateSize, c.HiddenSize, 1 / MathF.Sqrt(c.HiddenSize)),
                Up = Matrix("up", c.IntermediateSize, c.HiddenSize, 1 / MathF.Sqrt(c.HiddenSize)),
                Down = Matrix("down", c.HiddenSize, c.IntermediateSize, 1 / MathF.Sqrt(c.IntermediateSize)),
                QueryBias = c.QueryKeyValueBias ? Matrix("q_bias", 1, c.QueryWidth, 0.2f) : null,
                KeyBias = c.QueryKeyValueBias ? Matrix("k_bias", 1, c.KeyWidth, 0.2f) : null,
                ValueBias = c.QueryKeyValueBias ? Matrix("v_bias", 1, c.KeyWidth, 0.2f) : null,
                OutputBias = c.OutputBias ? Matrix("o_bias", 1, c.HiddenSize, 0.2f) : null,
                GateBias = c.MlpBias ? Matrix("gate_bias", 1, c.IntermediateSize, 0.2f) : null,
                UpBias = c.MlpBias ? Matrix("up_bias", 1, c.IntermediateSize, 0.2f) : null,
                DownBias = c.MlpBias ? Matrix("down_bias", 1, c.HiddenSize, 0.2f) : null,
                QueryNorm = c.QueryKeyNorm ? Norm("q_norm", c.HeadSize) : null,
                KeyNorm = c.QueryKeyNorm ? Norm("k_norm", c.HeadSize) : null,
            };
        }

        var head = c.TiedEmbeddings ? embedding : Matrix("head", c.VocabularySize, c.HiddenSize, 0.3f);
        return new ModelWeights(c, embedding, layers, Norm("final_norm", c.HiddenSize), head, new Nothing());

        ArrayTensor Matrix(string name, int rows, int columns, float scale) =>
            new(name, rows, columns, type, [.. Enumerable.Range(0, rows * columns).Select(_ => Normal() * scale)]);

        ArrayTensor Norm(string name, int size) => new(name, 1, size, type, [.. Enumerable.Range(0, size).Select(_ => 1 + (0.1f * Normal()))]);

        float Normal() => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
    }

    private sealed class Nothing : IDisposable
    {
        public void Dispose()
        {
        }
    }
}

/// <summary>A tensor in memory. bfloat16 values are truncated to 16 bits.</summary>
public sealed class ArrayTensor : Tensor
{
    private readonly float[] _values;
    private readonly byte[] _bytes;

    [System.Diagnostics.CodeAnalysis.SetsRequiredMembers]
    public ArrayTensor(string name, int rows, int columns, ElementType type, float[] values)
    {
        (Name, Rows, Columns, Type) = (name, rows, columns, type);
        _values = type switch
        {
            ElementType.Float32 => values,
            ElementType.BFloat16 => [.. values.Select(v => BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(v) & 0xffff0000))],
            _ => [.. values.Select(v => (float)(Half)v)],
        };
        _bytes = type switch
        {
            ElementType.Float32 => MemoryMarshal.AsBytes<float>(_values).ToArray(),
            ElementType.BFloat16 => MemoryMarshal.AsBytes<ushort>([.. _values.Select(v => (ushort)(BitConverter.SingleToUInt32Bits(v) >> 16))]).ToArray(),
            _ => MemoryMarshal.AsBytes<Half>([.. _values.Select(v => (Half)v)]).ToArray(),
        };
    }

    public override ReadOnlySpan<byte> RowBytes(int first, int count)
    {
        var row = Columns * Type.Bytes();
        return _bytes.AsSpan(first * row, count * row);
    }

    public override void Read(int first, int count, Span<float> destination) => _values.AsSpan(first * Columns, count * Columns).CopyTo(destination);
}
