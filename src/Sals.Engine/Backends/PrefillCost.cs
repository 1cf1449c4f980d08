namespace Sals.Engine.Backends;

/// <summary>
/// Estimated time of prefill, measured at warm-up. A chunk's products do not take time in proportion to its rows (a few rows read the weights as
/// a thousand do), so chunks are timed by size; the tokens before a chunk cost their part of attention each. Writing pages at a
/// layer's end (1 to 3% of a prompt) is left to the correction by measured steps.
/// </summary>
public sealed class PrefillCost
{
    private readonly int _chunk;
    private readonly double[] _layer;

    /// <param name="chunk">Tokens that go through a layer together.</param>
    /// <param name="layer">Milliseconds of a layer for a chunk at the start of a prompt, by its size: entry i is for up to (i + 1) * chunk / entries tokens.</param>
    /// <param name="perPair">Milliseconds for each pair of a token and one that stands before its chunk.</param>
    /// <param name="perEnd">Milliseconds of the head and of sampling, in a step in which prompts end.</param>
    public PrefillCost(int chunk, double[] layer, double perPair, double perEnd = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(chunk);
        ArgumentOutOfRangeException.ThrowIfZero(layer.Length);
        _chunk = chunk;
        _layer = layer;
        PerPair = perPair;
        PerEnd = perEnd;
    }

    public double PerPair { get; }

    public double PerEnd { get; }

    /// <summary>Time in proportion to tokens and to pairs of a token and one before it, as on a backend without wide units.</summary>
    public static PrefillCost Linear(double perToken, double perPair) => new(1, [perToken], perPair);

    /// <summary>Milliseconds of one layer for tokens [first, end), each of which attends to all before it.</summary>
    public double Milliseconds(int first, int end)
    {
        var (full, tail) = Math.DivRem(end - first, _chunk);
        var time = full * _layer[^1];
        if (tail > 0)
        {
            time += _layer[(int)(((long)tail * _layer.Length - 1) / _chunk)];
        }

        // chunk i stands behind first + i * chunk tokens
        var pairs = ((double)first * (end - first)) + (_chunk * (((double)_chunk * full * (full - 1) / 2) + ((double)full * tail)));
        return time + (PerPair * pairs);
    }
}
