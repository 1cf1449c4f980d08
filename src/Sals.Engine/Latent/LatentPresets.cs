using Sals.Engine.Models;

namespace Sals.Engine.Latent;

/// <summary>What the values of --kv-cache mean for a model, where settings do not say otherwise. Why these: docs/accuracy.md and docs/benchmarks.md.</summary>
public static class LatentPresets
{
    public const string Default = "sals-25";

    /// <summary>
    /// Sequences of at most this many tokens are served exactly. A constant, never measured when a server starts, so that a request's text does not depend on the
    /// machine. From the table in docs/benchmarks.md ("Rows up to dense_below", one H100): at 8 rows and more no preset is slower than exact keys beyond 2,560 tokens, and
    /// beyond 3,072 what compression costs a single row is 2 to 3% of its step, grouped queries or not.
    /// </summary>
    public const int DenseBelow = 3072;

    /// <summary>Shares of coordinates are rounded up to a multiple of as many.</summary>
    public const int CoordinateStep = 16;

    /// <summary>
    /// Channels that one basis joins: with more, a KV head's basis leaves no room in a multiprocessor's shared memory and rebuilding its keys
    /// takes longer than reading exact ones (docs/benchmarks.md); fewer are hardly faster.
    /// </summary>
    private const int WidestBasis = 1024;

    /// <summary>Groups of fewer channels share too little to be compressed.</summary>
    private const int NarrowestBasis = 256;

    /// <summary>
    /// Codes that are scored for every <see cref="WidestBasis"/> channels or part of them: half of the coordinates, as of narrower keys, takes a quarter longer to read and
    /// chooses hardly better (docs/accuracy.md). Still more than the paper's method scores, an eighth of the channels.
    /// </summary>
    private const int ScoredOfWidest = 192;

    /// <summary>Values of --kv-cache.</summary>
    public static IReadOnlyList<string> Names { get; } = ["sals-25", "sals-12.5", "dense"];

    /// <summary>The largest share that any preset keeps: what a basis is calibrated with that shall serve them all.</summary>
    public static double LargestRankRatio => Names.Where(name => name != "dense").Max(name => RankRatio(name, LatentFormat.Int8));

    /// <summary>
    /// Share of D that a compressed preset keeps as latent coordinates. A preset names bytes: those of 16-bit coordinates for a quarter or an eighth of D (the paper's method),
    /// which int8 latents spend on twice as many coordinates, because that loses less (docs/accuracy.md), and int4 ones on four times as many. Float32, the reference, has the coordinates of 16 bits.
    /// </summary>
    public static double RankRatio(string preset, LatentFormat format) => (preset == "sals-12.5" ? 0.125 : 0.25) * (format == LatentFormat.Int8 ? 2 : format == LatentFormat.Int4 ? 4 : 1);

    /// <summary>Bits of a value of a compressed preset.</summary>
    public static int ValueBits(string preset) => preset == "sals-12.5" ? 2 : 4;

    /// <summary>Groups of KV heads with a basis of their own: 1 up to D = 1,024, over that the fewest that have at most 1,024 channels each, if these are at least 256.</summary>
    public static int BasisGroups(ModelConfig model)
    {
        var groups = 1;
        while (groups < model.KeyValueHeadCount && (model.KeyWidth / groups > WidestBasis || model.KeyValueHeadCount % groups != 0))
        {
            groups++;
        }

        return model.KeyWidth / groups >= NarrowestBasis ? groups : 1;
    }

    /// <summary>Most coordinates in codes that are scored: a multiple of 16 for each group of heads, at least 16 for each.</summary>
    /// <param name="width">D, channels of all KV heads.</param>
    /// <param name="groups">Of KV heads, each with a basis of its own.</param>
    public static int MostScored(int width, int groups)
    {
        var step = CoordinateStep * groups;
        var wanted = ScoredOfWidest * ((width + WidestBasis - 1) / WidestBasis);
        return Math.Max(step, Math.Min(LatentFormatSize.MostScoredCodes / step, (wanted + step - 1) / step) * step);
    }

    /// <summary>A share of a number of coordinates, rounded up to a multiple of 16 for each group, at most all.</summary>
    public static int RoundedShare(double ratio, int of, int groups = 1)
    {
        var step = CoordinateStep * groups;
        return Math.Min(of, ((int)Math.Ceiling(ratio * of) + step - 1) / step * step);
    }
}
