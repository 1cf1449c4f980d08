namespace Sals.Engine.Latent;

/// <summary>How latent keys are stored in the latent pool.</summary>
public enum LatentFormat
{
    /// <summary>Four bytes; the reference, on the CPU only.</summary>
    Float32,

    /// <summary>Two bytes, rounded to nearest even; what the paper counts with.</summary>
    BFloat16,

    /// <summary>One byte with a fixed scale per latent dimension from calibration; the default. Needs a centred basis: codes are symmetric around 0.</summary>
    Int8,

    /// <summary>Half a byte, two coordinates a byte, the even one in the low half; codes -7..7. On the CPU only.</summary>
    Int4,
}

public static class LatentFormatSize
{
    /// <summary>Largest number of int8 coordinates that can be scored: sums of as many are exact in 32 bits.</summary>
    public const int MostScoredCodes = 1024;

    /// <summary>Bits of one latent coordinate.</summary>
    public static int Bits(this LatentFormat format) => format switch
    {
        LatentFormat.Float32 => 32,
        LatentFormat.BFloat16 => 16,
        LatentFormat.Int8 => 8,
        _ => 4,
    };

    /// <summary>Stored as integer codes with a fixed scale for each coordinate.</summary>
    public static bool IsCoded(this LatentFormat format) => format is LatentFormat.Int8 or LatentFormat.Int4;
}
