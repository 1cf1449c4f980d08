namespace Sals.Engine;

/// <summary>Counts of token numbers in fixed buckets of powers of two. One thread writes without allocating, any thread reads.</summary>
public sealed class TokenHistogram
{
    /// <summary>Inclusive upper bounds; the last bucket, beyond them, is unbounded.</summary>
    public static IReadOnlyList<int> Bounds { get; } = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];

    private readonly long[] _counts = new long[14];
    private long _sum;

    public long Sum => Volatile.Read(ref _sum);

    /// <summary>Observations in bucket 0 .. Bounds.Count, not cumulative.</summary>
    public long Count(int bucket) => Volatile.Read(ref _counts[bucket]);

    internal void Observe(int tokens)
    {
        // 1, then 8, 16 ... 16384: bucket i > 0 ends at 2^(i + 2)
        var bucket = tokens <= 1 ? 0 : Math.Clamp(32 - System.Numerics.BitOperations.LeadingZeroCount((uint)tokens - 1) - 2, 1, _counts.Length - 1);
        Volatile.Write(ref _counts[bucket], _counts[bucket] + 1);
        Volatile.Write(ref _sum, _sum + tokens);
    }
}
