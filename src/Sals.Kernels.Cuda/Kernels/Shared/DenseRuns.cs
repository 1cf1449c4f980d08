using System.Numerics;

namespace Sals.Kernels.Cuda.Kernels.Shared;

/// <summary>
/// Runs of a row's cached tokens in dense attention, as <c>dense_runs.cuh</c> counts them on the device: 256 tokens, doubled until the row has at
/// most 32, so that partial results need no more memory for a long row.
/// </summary>
public static class DenseRuns
{
    /// <summary>Tokens of the shortest runs.</summary>
    public const int Shortest = 256;

    /// <summary>Most runs of a row, whatever its length.</summary>
    public const int MostOfRow = 32;

    /// <summary>Tokens of a run of a row of <paramref name="length"/> tokens, its own included; the last run may be shorter.</summary>
    public static int Tokens(int length) => Shortest << (32 - BitOperations.LeadingZeroCount((uint)((length - 1) / (Shortest * MostOfRow))));

    /// <summary>Runs of a row of <paramref name="length"/> tokens, its own included.</summary>
    public static int Of(int length) => (length + Tokens(length) - 1) / Tokens(length);

    /// <summary>Most runs of a row of up to <paramref name="longest"/> tokens: what a work list holds for each slot.</summary>
    public static int Most(int longest) => Math.Min((longest + Shortest - 1) / Shortest, MostOfRow);
}
