namespace Sals.Engine.Text.Answers;

public enum AnswerPartKind
{
    Content,
    Reasoning,

    /// <summary>A call begins; the text is the function's whole name.</summary>
    Call,

    /// <summary>More of the arguments of the call that began last, as the model wrote them.</summary>
    Arguments,
}

/// <summary>A piece of an answer. Pieces of one kind that follow each other belong together.</summary>
/// <param name="Index">Of the call, from 0; 0 for text.</param>
public readonly record struct AnswerPart(AnswerPartKind Kind, string Text, int Index = 0);
