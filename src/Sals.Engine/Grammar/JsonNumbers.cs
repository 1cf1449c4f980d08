using System.Globalization;

namespace Sals.Engine.Grammar;

/// <summary>JSON numbers, free or between bounds. Digits are bounded, so that every text is a finite double and none goes on for ever.</summary>
internal static class JsonNumbers
{
    /// <summary>Integers up to this are exact in a double.</summary>
    public const long Largest = 999_999_999_999_999;

    private static readonly Expression Digit = new Expression.Bytes((byte)'0', (byte)'9');
    private static readonly Expression NotZero = new Expression.Bytes((byte)'1', (byte)'9');
    private static readonly Expression Sign = Expression.Optional(Expression.Literal("-"));
    private static readonly Expression Whole = Expression.Any(Expression.Literal("0"), Expression.Of(NotZero, Expression.Many(Digit, 0, 14)));

    public static Expression Integer { get; } = Expression.Of(Sign, Whole);

    public static Expression Number { get; } = Expression.Of(
        Sign,
        Whole,
        Expression.Optional(Expression.Of(Expression.Literal("."), Expression.Many(Digit, 1, 16))),
        Expression.Optional(Expression.Of(
            Expression.Any(Expression.Literal("e"), Expression.Literal("E")),
            Expression.Optional(Expression.Any(Expression.Literal("+"), Expression.Literal("-"))),
            Digit,
            Expression.Optional(Digit))));

    /// <summary>
    /// Whole numbers from low to high and, unless only integers are wanted, decimals strictly between two neighbours of them
    /// (their last digit is not 0).
    /// </summary>
    /// <param name="low">Least value; the exclusive bound when <paramref name="lowExcluded"/>.</param>
    public static Expression Between(double low, bool lowExcluded, double high, bool highExcluded, bool integer)
    {
        var from = Math.Max(Math.Ceiling(low), -Largest);
        var to = Math.Min(Math.Floor(high), Largest);
        var choices = new List<Expression>();
        var first = (long)from + (lowExcluded && from == low ? 1 : 0);
        var last = (long)to - (highExcluded && to == high ? 1 : 0);
        if (from <= Largest && to >= -Largest)
        {
            AddRange(first, last, choices, Expression.Empty);
            if (!integer)
            {
                var fraction = Expression.Of(Expression.Literal("."), Expression.Many(Digit, 0, 14), NotZero);
                // the whole part stands for the interval above it, with a minus sign for the one below it
                AddPositive(Math.Max(0, (long)from), (long)to - 1, choices, "", fraction);
                AddPositive(Math.Max(0, -(long)to), -(long)from - 1, choices, "-", fraction);
            }
        }

        return choices.Count > 0 ? new Expression.Choice(choices)
            : throw new GrammarException("", string.Create(CultureInfo.InvariantCulture, $"no number that can be generated lies between {low} and {high}"));
    }

    private static void AddRange(long first, long last, List<Expression> choices, Expression tail)
    {
        AddPositive(Math.Max(0, first), last, choices, "", tail);
        AddPositive(Math.Max(1, -last), -first, choices, "-", tail);
    }

    private static void AddPositive(long first, long last, List<Expression> choices, string sign, Expression tail)
    {
        // one piece for each number of digits
        for (var power = 1L; first <= last; power *= 10)
        {
            var end = Math.Min(last, power * 10 - 1);
            if (first <= end)
            {
                choices.Add(Expression.Of(Expression.Literal(sign), SameLength(Text(first), Text(end)), tail));
                first = end + 1;
            }
        }
    }

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static Expression SameLength(string low, string high)
    {
        if (low.All(digit => digit == '0') && high.All(digit => digit == '9'))
        {
            return Expression.Many(Digit, low.Length, low.Length);
        }

        var rest = low.Length - 1;
        if (low[0] == high[0])
        {
            return Expression.Of(Expression.Literal(low[..1]), SameLength(low[1..], high[1..]));
        }

        var choices = new List<Expression>
        {
            Expression.Of(Expression.Literal(low[..1]), SameLength(low[1..], new string('9', rest))),
            Expression.Of(Expression.Literal(high[..1]), SameLength(new string('0', rest), high[1..])),
        };
        if (low[0] + 1 < high[0])
        {
            choices.Add(Expression.Of(new Expression.Bytes((byte)(low[0] + 1), (byte)(high[0] - 1)), Expression.Many(Digit, rest, rest)));
        }

        return new Expression.Choice(choices);
    }
}
