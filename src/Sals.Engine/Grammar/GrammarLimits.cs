namespace Sals.Engine.Grammar;

/// <summary>Bounds of what a request may have compiled: sources are hostile input.</summary>
public static class GrammarLimits
{
    /// <summary>Characters of a schema, a regular expression, or all choices together.</summary>
    public const int SourceLength = 65536;

    /// <summary>Characters of the schemas of all tools together.</summary>
    public const int ToolsLength = 4 * SourceLength;

    /// <summary>Most that a pattern or grammar may repeat a part by a number.</summary>
    public const int Repeat = 5000;

    /// <summary>Nesting of a schema and of groups in a regular expression or grammar.</summary>
    public const int SourceDepth = 64;

    /// <summary>Calls nested in the output; a value in a value costs two or three.</summary>
    public const int StackDepth = 512;

    /// <summary>Calls that a schema may need for its smallest value.</summary>
    public const int NeededDepth = StackDepth / 2;

    /// <summary>States and empty edges of the automaton.</summary>
    public const int Parts = 100_000;

    /// <summary>Places in the automaton that one prefix of the output may lead to.</summary>
    public const int Configurations = 1024;

    /// <summary>Places looked at for one mask: some ten milliseconds on the engine's thread.</summary>
    public const int WorkPerMask = 100_000;

    /// <summary>Deterministic states that one mask may add.</summary>
    public const int StatesPerMask = 4096;

    /// <summary>Deterministic states kept, up to 2 KiB each; beyond it they are forgotten and found again.</summary>
    public const int States = 8192;

    /// <summary>Masks that a grammar may keep in full, 16 KiB each for a vocabulary of 128K; most are kept as short lists, sixteenths to sixty-fourths of that.</summary>
    public const int Masks = 384;

    /// <summary>
    /// Bytes within which two places of a counted repetition are compared: where they behave alike for so long, they share what tokens of that length may follow.
    /// Longer tokens are looked at one by one.
    /// </summary>
    public const int Lookahead = 32;

    /// <summary>Compiled grammars kept.</summary>
    public const int Cached = 32;

    /// <summary>Compiling one grammar.</summary>
    public static readonly TimeSpan CompileTime = TimeSpan.FromSeconds(2);

    /// <summary>Of that, at most this for masks that are computed ahead.</summary>
    public static readonly TimeSpan WarmTime = TimeSpan.FromMilliseconds(250);
}
