using Sals.Engine.Scheduling;

namespace Sals.Engine;

/// <summary>What another thread may ask of the engine thread.</summary>
internal abstract record EngineCommand
{
    internal sealed record Start(Generation Generation) : EngineCommand;

    /// <param name="Choice">-1 = all.</param>
    internal sealed record Abort(GenerationHandle Handle, int Choice) : EngineCommand;

    /// <summary>Finish what is live, then stop.</summary>
    internal sealed record Drain : EngineCommand;

    /// <summary>End everything now, then stop.</summary>
    internal sealed record Stop : EngineCommand;

    /// <summary>Forget cached prefixes.</summary>
    internal sealed record ClearPrefixes : EngineCommand;
}
