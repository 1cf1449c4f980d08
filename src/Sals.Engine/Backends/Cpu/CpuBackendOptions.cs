using Sals.Engine.Latent;

namespace Sals.Engine.Backends.Cpu;

/// <summary>Resolved settings of the CPU backend; nothing here means "auto" but null.</summary>
public sealed record CpuBackendOptions
{
    /// <summary>Sequences that can run at once (--max-num-seqs), at least 1.</summary>
    public int Slots { get; init; } = 16;

    /// <summary>Longest sequence in tokens, prompt and output; at most the model's.</summary>
    public required int MaxModelLength { get; init; }

    /// <summary>Memory for cache pages; used in whole slabs, which are allocated as pages in them are first used.</summary>
    public required long CacheBytes { get; init; }

    /// <summary>Which layers are compressed.</summary>
    public required LatentSpec Spec { get; init; }

    /// <summary>Projections of the compressed layers; required unless the spec is dense.</summary>
    public LatentBasis? Basis { get; init; }

    /// <summary>
    /// Ids from here on do not exist for sampling and log-probabilities: rows that pad the vocabulary beyond the tokenizer's. Null = all of the model's.
    /// </summary>
    public int? SampleableVocabulary { get; init; }

    /// <summary>Threads that compute, the engine's included; at least 1.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;
}
