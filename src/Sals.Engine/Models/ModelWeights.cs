namespace Sals.Engine.Models;

/// <summary>Tensors of one decoder layer, all [out, in] as stored by Hugging Face; optional ones are null.</summary>
public sealed record LayerWeights
{
    /// <summary>[H]</summary>
    public required Tensor InputNorm { get; init; }

    /// <summary>[HQ * DH, H]</summary>
    public required Tensor Query { get; init; }

    /// <summary>[D, H]</summary>
    public required Tensor Key { get; init; }

    /// <summary>[D, H]</summary>
    public required Tensor Value { get; init; }

    /// <summary>[H, HQ * DH]</summary>
    public required Tensor Output { get; init; }

    /// <summary>[H]</summary>
    public required Tensor PostAttentionNorm { get; init; }

    /// <summary>[F, H]</summary>
    public required Tensor Gate { get; init; }

    /// <summary>[F, H]</summary>
    public required Tensor Up { get; init; }

    /// <summary>[H, F]</summary>
    public required Tensor Down { get; init; }

    public Tensor? QueryBias { get; init; }
    public Tensor? KeyBias { get; init; }
    public Tensor? ValueBias { get; init; }
    public Tensor? OutputBias { get; init; }
    public Tensor? GateBias { get; init; }
    public Tensor? UpBias { get; init; }
    public Tensor? DownBias { get; init; }

    /// <summary>[DH], Qwen3.</summary>
    public Tensor? QueryNorm { get; init; }

    /// <summary>[DH], Qwen3.</summary>
    public Tensor? KeyNorm { get; init; }
}

/// <summary>Host view of every tensor of a model: the one source both backends pack from. Owns the mapped files.</summary>
public sealed class ModelWeights : IDisposable
{
    private readonly IDisposable _files;

    public ModelWeights(ModelConfig config, Tensor embedding, LayerWeights[] layers, Tensor finalNorm, Tensor head, IDisposable files)
    {
        Config = config;
        Embedding = embedding;
        Layers = layers;
        FinalNorm = finalNorm;
        Head = head;
        _files = files;
    }

    public ModelConfig Config { get; }

    /// <summary>[V, H]</summary>
    public Tensor Embedding { get; }

    /// <summary>L layers.</summary>
    public LayerWeights[] Layers { get; }

    /// <summary>[H]</summary>
    public Tensor FinalNorm { get; }

    /// <summary>[V, H]; the same object as <see cref="Embedding"/> when the embeddings are tied.</summary>
    public Tensor Head { get; }

    public void Dispose() => _files.Dispose();
}
