namespace Sals.Engine.Models;

/// <summary>Transformer families that share one forward pass and differ in biases, norms and defaults.</summary>
public enum ModelArchitecture
{
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
}

/// <summary>
/// Sizes and constants of a decoder-only model, checked and resolved: nothing here is optional or "auto".
/// Read from a Hugging Face <c>config.json</c> (fields of transformers 4 and 5) by <see cref="ModelConfigReader"/>.
/// Letters used everywhere: L layers, H hidden size, F MLP size, V vocabulary, HQ query heads, HK KV heads, DH head size,
/// D = HK * DH (all keys of a token side by side).
/// </summary>
public sealed record ModelConfig
{
    public required ModelArchitecture Architecture { get; init; }

    /// <summary>L, at least 1.</summary>
    public required int LayerCount { get; init; }

    /// <summary>H.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>F, rows of gate and up.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>V, rows of the embedding; may exceed the tokenizer's size (padding rows are never sampled).</summary>
    public required int VocabularySize { get; init; }

    /// <summary>HQ, a multiple of <see cref="KeyValueHeadCount"/>.</summary>
    public required int HeadCount { get; init; }

    /// <summary>HK.</summary>
    public required int KeyValueHeadCount { get; init; }

    /// <summary>DH, even. Not always H / HQ.</summary>
    public required int HeadSize { get; init; }

    public required float RmsNormEpsilon { get; init; }

    public required bool TiedEmbeddings { get; init; }

    public required bool QueryKeyValueBias { get; init; }

    public required bool OutputBias { get; init; }

    public required bool MlpBias { get; init; }

    /// <summary>RMS norms over DH on queries and keys before the rotary embedding (Qwen3).</summary>
    public required bool QueryKeyNorm { get; init; }

    public required RopeSettings Rope { get; init; }

    /// <summary>Longest sequence the checkpoint supports, after rope scaling and after a sliding window caps it.</summary>
    public required int MaxModelLength { get; init; }

    /// <summary>Not null when <see cref="MaxModelLength"/> was capped by a sliding window, which this server does not run past.</summary>
    public int? SlidingWindow { get; init; }

    /// <summary>End-of-sequence ids: union over config.json, generation_config.json and the tokenizer; may be empty.</summary>
    public required int[] EndTokenIds { get; init; }

    /// <summary>Beginning-of-sequence id of config.json, null when it names none.</summary>
    public int? BeginTokenId { get; init; }

    /// <summary>Query heads that share a KV head: HQ / HK.</summary>
    public int GroupSize => HeadCount / KeyValueHeadCount;

    /// <summary>D = HK * DH.</summary>
    public int KeyWidth => KeyValueHeadCount * HeadSize;

    /// <summary>HQ * DH.</summary>
    public int QueryWidth => HeadCount * HeadSize;
}

/// <summary>How inverse frequencies are scaled beyond the trained length.</summary>
public enum RopeScaling
{
    None,
    Linear,
    Llama3,
    Yarn,
}

/// <summary>
/// Rotary embedding constants; rotary pairs are (i, i + DH/2). Unused fields keep their defaults.
/// Formulas: Hugging Face transformers, modeling_rope_utils (default, linear, llama3, yarn).
/// </summary>
public sealed record RopeSettings
{
    public required double Theta { get; init; }
    public RopeScaling Scaling { get; init; } = RopeScaling.None;
    public double Factor { get; init; } = 1;
    public double LowFrequencyFactor { get; init; } = 1;
    public double HighFrequencyFactor { get; init; } = 4;
    public int OriginalMaxPositions { get; init; }
    public double BetaFast { get; init; } = 32;
    public double BetaSlow { get; init; } = 1;

    /// <summary>Multiplies cos and sin (yarn); null = 0.1 ln(factor) + 1 when yarn, else 1.</summary>
    public double? AttentionFactor { get; init; }

    /// <summary>Yarn: round the correction range to whole dimensions (the default of transformers).</summary>
    public bool Truncate { get; init; } = true;
}
