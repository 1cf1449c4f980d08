namespace Sals.Engine.Models;

/// <summary>
/// Rotary embedding of the half-split form: the pair (x[i], x[i + DH/2]) is turned by position * frequency[i].
/// Formulas: Hugging Face transformers, modeling_rope_utils; yarn: arXiv 2309.00071.
/// </summary>
public sealed class RopeTable
{
    private readonly float[] _cos;
    private readonly float[] _sin;

    /// <param name="settings">Checked settings, as <see cref="ModelConfig.Rope"/>.</param>
    /// <param name="headSize">DH, even.</param>
    /// <param name="positionCount">Positions 0 .. positionCount - 1 are tabulated.</param>
    public RopeTable(RopeSettings settings, int headSize, int positionCount)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(positionCount);
        InverseFrequencies = Frequencies(settings, headSize);
        HeadSize = headSize;
        PositionCount = positionCount;
        AttentionFactor = AttentionFactorOf(settings);
        int half = headSize / 2;
        _cos = new float[checked(positionCount * half)];
        _sin = new float[_cos.Length];
        Parallel.For(0, positionCount, position =>
        {
            for (int i = 0; i < half; i++)
            {
                var (sin, cos) = Math.SinCos(position * InverseFrequencies[i]);
                _cos[position * half + i] = (float)(cos * AttentionFactor);
                _sin[position * half + i] = (float)(sin * AttentionFactor);
            }
        });
    }

    /// <summary>DH.</summary>
    public int HeadSize { get; }

    public int PositionCount { get; }

    /// <summary>[DH/2], radians per position.</summary>
    public double[] InverseFrequencies { get; }

    /// <summary>Already multiplied into cos and sin; 1 but for yarn.</summary>
    public double AttentionFactor { get; }

    /// <summary>[positions, DH/2].</summary>
    public ReadOnlySpan<float> CosTable => _cos;

    /// <summary>[positions, DH/2].</summary>
    public ReadOnlySpan<float> SinTable => _sin;

    /// <summary>[DH/2] of one position.</summary>
    public ReadOnlySpan<float> Cos(int position) => _cos.AsSpan(position * (HeadSize / 2), HeadSize / 2);

    /// <summary>[DH/2] of one position.</summary>
    public ReadOnlySpan<float> Sin(int position) => _sin.AsSpan(position * (HeadSize / 2), HeadSize / 2);

    /// <summary>Inverse frequencies [DH/2] after scaling.</summary>
    public static double[] Frequencies(RopeSettings settings, int headSize)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(headSize);
        ArgumentOutOfRangeException.ThrowIfNotEqual(headSize % 2, 0, nameof(headSize));
        double[] frequencies = new double[headSize / 2];
        for (int i = 0; i < frequencies.Length; i++)
        {
            frequencies[i] = Math.Pow(settings.Theta, -2.0 * i / headSize);
        }

        switch (settings.Scaling)
        {
            case RopeScaling.Linear:
                Scale(frequencies, (_, frequency) => frequency / settings.Factor);
                break;
            case RopeScaling.Llama3:
                Scale(frequencies, (_, frequency) => Llama3(settings, frequency));
                break;
            case RopeScaling.Yarn:
                var (low, high) = YarnRange(settings, headSize);
                Scale(frequencies, (i, frequency) =>
                {
                    double interpolated = Math.Clamp((i - low) / (high - low), 0, 1);
                    return frequency * (1 - interpolated) + frequency / settings.Factor * interpolated;
                });
                break;
        }

        return frequencies;
    }

    /// <summary>Factor on cos and sin: the one given, else yarn's 0.1 ln(factor) + 1, else 1.</summary>
    public static double AttentionFactorOf(RopeSettings settings)
    {
        return settings.Scaling == RopeScaling.Yarn ? settings.AttentionFactor ?? YarnScale(settings.Factor, 1) : 1;
    }

    internal static double YarnScale(double factor, double weight) => factor <= 1 ? 1 : 0.1 * weight * Math.Log(factor) + 1;

    private static void Scale(double[] frequencies, Func<int, double, double> scale)
    {
        for (int i = 0; i < frequencies.Length; i++)
        {
            frequencies[i] = scale(i, frequencies[i]);
        }
    }

    /// <summary>Long wavelengths are slowed by the factor, short ones kept, those between blended.</summary>
    private static double Llama3(RopeSettings settings, double frequency)
    {
        double turns = settings.OriginalMaxPositions * frequency / (2 * Math.PI);
        double kept = (turns - settings.LowFrequencyFactor) / (settings.HighFrequencyFactor - settings.LowFrequencyFactor);
        kept = Math.Clamp(kept, 0, 1);
        return (1 - kept) * frequency / settings.Factor + kept * frequency;
    }

    /// <summary>Pair indices between which yarn goes over from kept to interpolated frequencies; high > low.</summary>
    private static (double Low, double High) YarnRange(RopeSettings settings, int headSize)
    {
        double low = Pair(settings.BetaFast);
        double high = Pair(settings.BetaSlow);
        if (settings.Truncate)
        {
            low = Math.Floor(low);
            high = Math.Ceiling(high);
        }

        low = Math.Max(low, 0);
        high = Math.Min(high, headSize - 1);
        return low == high ? (low, high + 0.001) : (low, high);

        // the pair that makes this many turns within the original length
        double Pair(double turns)
        {
            return headSize * Math.Log(settings.OriginalMaxPositions / (turns * 2 * Math.PI)) / (2 * Math.Log(settings.Theta));
        }
    }
}
