using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Sals.Engine.Grammar;

/// <summary>
/// The JSON texts that a model may write: strings, white space of at most one blank or one line break with its indentation, and values of any kind.
/// Rules are added to the automaton when they are first asked for.
/// </summary>
internal sealed class JsonText
{
    private static readonly CodePoints Plain = new CodePoints([(0, 0x1F), ('"', '"'), ('\\', '\\')]).Not();
    private static readonly (int Character, char Letter)[] Escapes = [('"', '"'), ('\\', '\\'), ('\n', 'n'), ('\t', 't'), ('\r', 'r'), ('\b', 'b'), ('\f', 'f')];

    private readonly Nfa _nfa;
    private int? _string;
    private int? _space;
    private int? _value;
    private int? _object;
    private int? _array;
    private readonly Dictionary<string, Expression> _shared = new(StringComparer.Ordinal);

    public JsonText(Nfa nfa) => _nfa = nfa;

    public Expression Space => new Expression.Call(_space ??= _nfa.NewRule(Expression.Optional(Expression.Any(
        Expression.Literal(" "),
        Expression.Of(Expression.Literal("\n"), Expression.Many(Expression.Literal(" "), 0, 32))))));

    public Expression AnyString => new Expression.Call(_string ??= _nfa.NewRule(MakeString()));

    public Expression AnyObject => new Expression.Call(_object ??= Later(rule => _object = rule, () => Members(AnyString, Value)));

    public Expression AnyArray => new Expression.Call(_array ??= Later(rule => _array = rule, () => Items(Value, 0, -1)));

    /// <summary>Any JSON value.</summary>
    public Expression Value => new Expression.Call(_value ??= Later(rule => _value = rule, () => Expression.Any(
        AnyString, JsonNumbers.Number, Literal("true"), Literal("false"), Literal("null"), AnyObject, AnyArray)));

    /// <summary>A rule that all uses of one text share.</summary>
    public Expression Shared(string key, Func<Expression> make)
    {
        if (!_shared.TryGetValue(key, out var call))
        {
            _shared[key] = call = new Expression.Call(_nfa.NewRule(make()));
        }

        return call;
    }

    /// <summary>A character of the set as written within a JSON string. Control characters without a short escape are left out.</summary>
    public static Expression Spell(CodePoints set)
    {
        var choices = new List<Expression>();
        var plain = set.And(Plain);
        if (plain.Ranges.Count > 0)
        {
            choices.Add(plain.Utf8());
        }

        foreach (var (character, letter) in Escapes)
        {
            if (set.Contains(character))
            {
                choices.Add(Literal($"\\{letter}"));
            }
        }

        return new Expression.Choice(choices);
    }

    public static Expression Quoted(Expression inner) => Expression.Of(Literal("\""), inner, Literal("\""));

    /// <summary>"{", members with a key and a value of these kinds, "}".</summary>
    public Expression Members(Expression key, Expression value)
    {
        var member = Expression.Of(key, Literal(":"), Space, value);
        return Expression.Of(
            Literal("{"), Space,
            Expression.Optional(Expression.Of(member, Expression.Many(Expression.Of(Literal(","), Space, member)), Space)),
            Literal("}"));
    }

    /// <param name="max">-1 = any number.</param>
    public Expression Items(Expression item, int min, int max)
    {
        var comma = Expression.Of(Literal(","), Space, item);
        var some = Expression.Of(item, Expression.Many(comma, Math.Max(0, min - 1), max < 0 ? -1 : max - 1), Space);
        return max == 0 ? Expression.Of(Literal("["), Space, Literal("]"))
            : Expression.Of(Literal("["), Space, min == 0 ? Expression.Optional(some) : some, Literal("]"));
    }

    /// <summary>A constant, written without white space.</summary>
    public static Expression Constant(JsonElement value) => Literal(Write(value));

    public static string Write(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.String => Write(TextOf(value)),
        JsonValueKind.Array => $"[{string.Join(',', value.EnumerateArray().Select(Write))}]",
        JsonValueKind.Object => $"{{{string.Join(',', value.EnumerateObject().Select(property => $"{Write(property.Name)}:{Write(property.Value)}"))}}}",
        _ => value.GetRawText(),
    };

    public static string Write(string text)
    {
        var json = new StringBuilder("\"");
        foreach (var c in text)
        {
            var escape = Array.Find(Escapes, pair => pair.Character == c).Letter;
            _ = escape != 0 ? json.Append('\\').Append(escape)
                : c < 0x20 ? json.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}")
                : json.Append(c);
        }

        return json.Append('"').ToString();
    }

    /// <exception cref="GrammarException">Half of a surrogate pair.</exception>
    public static string TextOf(JsonElement value)
    {
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw new GrammarException("", "expected valid Unicode, found half of a surrogate pair");
        }
    }

    private static Expression Literal(string text) => Expression.Literal(text);

    private static Expression MakeString()
    {
        var hex = Expression.Any(Range('0', '9'), Range('a', 'f'), Range('A', 'F'));
        // surrogates are written as the character itself
        var code = Expression.Any(
            Expression.Of(Expression.Any(Range('0', '9'), Range('a', 'c'), Range('A', 'C'), Range('e', 'f'), Range('E', 'F')), hex, hex, hex),
            Expression.Of(Expression.Any(Literal("d"), Literal("D")), Range('0', '7'), hex, hex));
        var escape = Expression.Of(Literal("\\"), Expression.Any([.. "\"\\/bfnrt".Select(c => Literal(c.ToString())), Expression.Of(Literal("u"), code)]));
        return Quoted(Expression.Many(Expression.Any(Plain.Utf8(), escape)));
    }

    private static Expression.Bytes Range(char low, char high) => new((byte)low, (byte)high);

    /// <summary>A rule that may call itself: known before it is defined.</summary>
    private int Later(Action<int> know, Func<Expression> define)
    {
        var rule = _nfa.NewRule();
        know(rule);
        _nfa.Define(rule, define());
        return rule;
    }
}
