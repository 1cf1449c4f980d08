namespace Sals.Engine.Grammar;

/// <summary>Choices of short byte texts, such as the characters of a class in UTF-8.</summary>
internal static class ByteTexts
{
    private const int MaxLength = 8;
    private const int MaxCount = 512;

    /// <summary>The texts, none of them empty; null when a choice is anything else.</summary>
    public static List<Expression.Bytes[]>? Of(Expression.Choice choice)
    {
        var texts = new List<Expression.Bytes[]>();
        return Add(choice, texts) && texts.Count > 1 ? texts : null;
    }

    private static bool Add(Expression expression, List<Expression.Bytes[]> texts)
    {
        if (expression is Expression.Choice choice)
        {
            return choice.Items.All(item => Add(item, texts));
        }

        var bytes = new List<Expression.Bytes>();
        if (!Read(expression, bytes) || bytes.Count == 0 || texts.Count == MaxCount)
        {
            return false;
        }

        texts.Add([.. bytes]);
        return true;
    }

    private static bool Read(Expression expression, List<Expression.Bytes> bytes)
    {
        switch (expression)
        {
            case Expression.Bytes one:
                bytes.Add(one);
                return bytes.Count <= MaxLength;
            case Expression.Sequence sequence:
                return sequence.Items.All(item => Read(item, bytes));
            default:
                return false;
        }
    }
}
