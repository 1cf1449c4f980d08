namespace Sals.Engine.Text;

/// <summary>How a BPE model treats whole words and characters it does not know.</summary>
internal sealed record BpeOptions
{
    /// <summary>A word that is a vocabulary entry is that entry, whatever the merges say (Llama 3).</summary>
    public bool IgnoreMerges { get; init; }

    /// <summary>An unknown character becomes its UTF-8 bytes as tokens &lt;0x00&gt; .. &lt;0xFF&gt;.</summary>
    public bool ByteFallback { get; init; }

    /// <summary>A run of unknown characters is one unknown token.</summary>
    public bool FuseUnknown { get; init; }

    public string? UnknownToken { get; init; }
}
