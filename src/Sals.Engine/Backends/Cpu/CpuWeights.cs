using Sals.Engine.Models;

namespace Sals.Engine.Backends.Cpu;

/// <summary>Weights of one layer, packed; vectors are float32 and null when the model has none.</summary>
internal sealed class CpuLayer
{
    public CpuLayer(WorkerTeam team, LayerWeights layer)
    {
        InputNorm = Vector(layer.InputNorm);
        QueryKeyValue = new PackedMatrix(team, layer.Query, layer.Key, layer.Value);
        QueryKeyValueBias = Concatenate(layer.QueryBias, layer.KeyBias, layer.ValueBias);
        Output = new PackedMatrix(team, layer.Output);
        OutputBias = Concatenate(layer.OutputBias);
        PostAttentionNorm = Vector(layer.PostAttentionNorm);
        GateUp = new PackedMatrix(team, layer.Gate, layer.Up);
        GateUpBias = Concatenate(layer.GateBias, layer.UpBias);
        Down = new PackedMatrix(team, layer.Down);
        DownBias = Concatenate(layer.DownBias);
        QueryNorm = Concatenate(layer.QueryNorm);
        KeyNorm = Concatenate(layer.KeyNorm);
    }

    /// <summary>[H]</summary>
    public float[] InputNorm { get; }

    /// <summary>[HQ * DH + 2 * D, H]: queries, keys, values.</summary>
    public PackedMatrix QueryKeyValue { get; }

    /// <summary>[HQ * DH + 2 * D]</summary>
    public float[]? QueryKeyValueBias { get; }

    /// <summary>[H, HQ * DH]</summary>
    public PackedMatrix Output { get; }

    /// <summary>[H]</summary>
    public float[]? OutputBias { get; }

    /// <summary>[H]</summary>
    public float[] PostAttentionNorm { get; }

    /// <summary>[2 * F, H]: gate, up.</summary>
    public PackedMatrix GateUp { get; }

    /// <summary>[2 * F]</summary>
    public float[]? GateUpBias { get; }

    /// <summary>[H, F]</summary>
    public PackedMatrix Down { get; }

    /// <summary>[H]</summary>
    public float[]? DownBias { get; }

    /// <summary>[DH]</summary>
    public float[]? QueryNorm { get; }

    /// <summary>[DH]</summary>
    public float[]? KeyNorm { get; }

    public long Bytes => QueryKeyValue.Bytes + Output.Bytes + GateUp.Bytes + Down.Bytes;

    internal static float[] Vector(Tensor tensor)
    {
        var values = new float[tensor.ElementCount];
        tensor.Read(0, tensor.Rows, values);
        return values;
    }

    private static float[]? Concatenate(params Tensor?[] parts) => parts[0] is null ? null : [.. parts.SelectMany(p => Vector(p!))];
}

/// <summary>All weights in the form the CPU computes with; independent of the files they came from.</summary>
internal sealed class CpuWeights
{
    public CpuWeights(WorkerTeam team, ModelWeights weights)
    {
        Layers = [.. weights.Layers.Select(l => new CpuLayer(team, l))];
        FinalNorm = CpuLayer.Vector(weights.FinalNorm);
        Head = new PackedMatrix(team, weights.Head);
        Embedding = weights.Config.TiedEmbeddings ? Head : new PackedMatrix(team, weights.Embedding);
    }

    /// <summary>[V, H]; the head itself when the embeddings are tied.</summary>
    public PackedMatrix Embedding { get; }

    public CpuLayer[] Layers { get; }

    /// <summary>[H]</summary>
    public float[] FinalNorm { get; }

    /// <summary>[V, H]</summary>
    public PackedMatrix Head { get; }

    /// <summary>Bytes of all matrices.</summary>
    public long Bytes => Layers.Sum(l => l.Bytes) + Head.Bytes + (ReferenceEquals(Embedding, Head) ? 0 : Embedding.Bytes);

    /// <summary>Bytes that one decode step reads, whatever its rows.</summary>
    public long DecodeBytes => Layers.Sum(l => l.Bytes) + Head.Bytes;
}
