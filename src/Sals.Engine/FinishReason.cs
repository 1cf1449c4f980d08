namespace Sals.Engine;

/// <summary>Why a choice ended.</summary>
public enum FinishReason
{
    None = 0,

    /// <summary>An end token, a stop id or, decided by the request's own task, a stop string.</summary>
    Stop,

    /// <summary>The token limit or the model's length.</summary>
    Length,

    /// <summary>The handle was disposed or aborted.</summary>
    Abort,

    /// <summary>The engine failed; the event carries the message.</summary>
    Error,
}
