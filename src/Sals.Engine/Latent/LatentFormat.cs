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
}

public static class LatentFormatSize
{
    /// <summary>Bytes of one latent coordinate.</summary>
    public static int Bytes(this LatentFormat format) => format switch
    {
        LatentFormat.Float32 => 4,
        LatentFormat.BFloat16 => 2,
        _ => 1,
    };
}
