namespace Sals.Engine.Latent;

/// <summary>One or more cache settings are wrong; the message names each.</summary>
public sealed class LatentSpecException(IReadOnlyList<string> errors) : Exception(string.Join(" ", errors))
{
    /// <summary>One sentence per wrong setting.</summary>
    public IReadOnlyList<string> Errors { get; } = errors;
}
