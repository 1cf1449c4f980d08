namespace Sals.Engine.Text.Answers;

/// <summary>Where an answer stands towards reasoning when it begins.</summary>
public enum ReasoningStart
{
    /// <summary>There is none: the model knows none, or the prompt has ended it already.</summary>
    Closed,

    /// <summary>It begins with it: the prompt has opened it, or the model always reasons first.</summary>
    Open,

    /// <summary>It may open it itself.</summary>
    Optional,
}

/// <summary>Texts around reasoning.</summary>
public static class ReasoningMarks
{
    public const string Begin = "<think>";
    public const string End = "</think>";

    /// <summary>Between the end mark and the answer proper; part of neither.</summary>
    public const string Separator = "\n\n";
}
