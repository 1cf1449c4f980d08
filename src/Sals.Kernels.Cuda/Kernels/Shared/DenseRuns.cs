using System.Numerics;

namespace Sals.Kernels.Cuda.Kernels.Shared;

/// <summary>
/// Runs of a row's cached tokens in dense attention, as <c>dense_runs.cuh</c> counts them on the device: a power of two of about 8 times the root of the
/// length, so that runs get longer and more as the row does, but never more than 32, so that partial results need no more memory for a long row.
/// </summary>
public static class DenseRuns
{
    /// <summary>Tokens of the shortest runs.</summary>
    public const int Shortest = 512;

    /// <summary>Most runs of a row, whatever its length.</summary>
    public const int MostOfRow = 32;

    /// <summary>Tokens of a run of a row of <paramref name="length"/> tokens, its own included; the last run may be shorter.</summary>
    public static int Tokens(int length)
    {
        var root = (31 - BitOperations.LeadingZeroCount((uint)((length - 1) / 1024))) / 2;
        var least = 32 - BitOperations.LeadingZeroCount((uint)((length - 1) / (Shortest * MostOfRow)));
        return Shortest << Math.Max(root, least);
    }

    /// <summary>Runs of a row of <paramref name="length"/> tokens, its own included.</summary>
    public static int Of(int length) => (length + Tokens(length) - 1) / Tokens(length);

    /// <summary>Most runs of a row of up to <paramref name="longest"/> tokens: what a work list holds for each slot.</summary>
    public static int Most(int longest)
    {
        // a row has most where its runs are about to double
        var most = Of(longest);
        for (var length = 4096; length <= longest && length <= 64 * 1024; length *= 4)
        {
            most = Math.Max(most, Of(length));
        }

        return most;
    }
}
