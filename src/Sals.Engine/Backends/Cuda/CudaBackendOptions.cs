using Sals.Engine.Latent;

namespace Sals.Engine.Backends.Cuda;

/// <summary>Resolved settings of the CUDA backend; nothing here means "auto" but null.</summary>
public sealed record CudaBackendOptions
{
    /// <summary>Number of the GPU.</summary>
    public int Device { get; init; }

    /// <summary>Sequences that can run at once (--max-num-seqs), 1 to 256.</summary>
    public int Slots { get; init; } = 64;

    /// <summary>Longest sequence in tokens, prompt and output; at most the model's.</summary>
    public required int MaxModelLength { get; init; }

    /// <summary>Take the longest sequence that memory holds, at most <see cref="MaxModelLength"/>; else too little memory is an error.</summary>
    public bool ShortenToFit { get; init; }

    /// <summary>Which layers are compressed.</summary>
    public required LatentSpec Spec { get; init; }

    /// <summary>Of the compressed layers; null when there are none.</summary>
    public LatentBasis? Basis { get; init; }

    /// <summary>Device memory for cache pages, rounded down to whole slabs; null = what <see cref="MemoryUtilization"/> leaves.</summary>
    public long? CacheBytes { get; init; }

    /// <summary>Share of the device's memory that may be in use once the backend is ready (--gpu-memory-utilization).</summary>
    public double MemoryUtilization { get; init; } = 0.9;

    /// <summary>Ids from here on do not exist for sampling and log-probabilities; null = all of the model's.</summary>
    public int? SampleableVocabulary { get; init; }

    /// <summary>Replay captured graphs; off = the same launches one by one, for debugging.</summary>
    public bool Graphs { get; init; } = true;

    /// <summary>Told while weights are loaded: bytes sent to the device and all there are. Called on the loading thread, after each piece.</summary>
    public Action<long, long>? LoadProgress { get; init; }

    /// <summary>Where compiled kernels are kept; null = nowhere.</summary>
    public string? KernelCacheFolder { get; init; }
}
