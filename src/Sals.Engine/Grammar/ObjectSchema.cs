using System.Text.Json;

namespace Sals.Engine.Grammar;

/// <summary>Schemas of objects: properties in the schema's order, then others where they are allowed.</summary>
internal sealed class ObjectSchema
{
    private readonly JsonSchemaGrammar _schemas;
    private readonly Nfa _nfa;
    private readonly JsonText _json;

    public ObjectSchema(JsonSchemaGrammar schemas, Nfa nfa, JsonText json)
    {
        _schemas = schemas;
        _nfa = nfa;
        _json = json;
    }

    /// <summary>
    /// Two tracks through the properties, without and with one written before, joined by optional steps; each property is a rule, so that both tracks share it.
    /// </summary>
    public Expression.Call Read(JsonElement schema, string path)
    {
        var properties = schema.TryGetProperty("properties", out var named)
            ? named.ValueKind == JsonValueKind.Object ? named.EnumerateObject().ToArray() : throw new GrammarException($"{path}.properties", "expected an object")
            : [];
        if (properties.DistinctBy(property => property.Name, StringComparer.Ordinal).Count() < properties.Length)
        {
            throw new GrammarException($"{path}.properties", "expected each property once");
        }

        var required = SchemaKeywords.Required(schema, path);
        var others = ReadOthers(schema, path, properties, required);
        var rule = _nfa.NewRule();
        var none = _nfa.Emit(Expression.Of(Expression.Literal("{"), _json.Space), _nfa.Start(rule));
        var some = _nfa.NewState();
        var comma = Expression.Of(Expression.Literal(","), _json.Space);
        foreach (var property in properties)
        {
            var value = _schemas.Read(property.Value, $"{path}.properties.{property.Name}");
            var member = new Expression.Call(_nfa.NewRule(Expression.Of(
                Expression.Literal(JsonText.Write(property.Name)), Expression.Literal(":"), _json.Space, value)));
            var (nextNone, nextSome) = (_nfa.NewState(), _nfa.NewState());
            _nfa.Skip(_nfa.Emit(member, none), nextSome);
            _nfa.Skip(_nfa.Emit(Expression.Of(comma, member), some), nextSome);
            if (!required.Contains(property.Name))
            {
                _nfa.Skip(none, nextNone);
                _nfa.Skip(some, nextSome);
            }

            (none, some) = (nextNone, nextSome);
        }

        if (others is not null)
        {
            var member = new Expression.Call(_nfa.NewRule(others));
            var loop = _nfa.NewState();
            _nfa.Skip(some, loop);
            _nfa.Skip(_nfa.Emit(member, none), loop);
            _nfa.Skip(_nfa.Emit(Expression.Of(comma, member), loop), loop);
            some = loop;
        }

        var close = _nfa.NewState();
        _nfa.Skip(none, close);
        _nfa.Skip(_nfa.Emit(_json.Space, some), close);
        _nfa.Skip(_nfa.Emit(Expression.Literal("}"), close), _nfa.End(rule));
        return new Expression.Call(rule);
    }

    /// <summary>A member that is not among the named ones; null when there may be none.</summary>
    private Expression? ReadOthers(JsonElement schema, string path, JsonProperty[] properties, HashSet<string> required)
    {
        var given = schema.TryGetProperty("additionalProperties", out var additional);
        foreach (var name in required)
        {
            if (!properties.Any(property => property.Name == name))
            {
                throw new GrammarException($"{path}.required", $"'{(name.Length > 40 ? name[..40] : name)}' is not among the properties");
            }
        }

        if (given ? additional.ValueKind == JsonValueKind.False : schema.TryGetProperty("properties", out _))
        {
            return null;
        }

        var value = given ? _schemas.Read(additional, $"{path}.additionalProperties") : _json.Value;
        var key = properties.Length == 0 ? _json.AnyString : JsonText.Quoted(OtherThan([.. properties.Select(property => property.Name)], 0));
        return Expression.Of(key, Expression.Literal(":"), _json.Space, value);
    }

    /// <summary>Texts that are none of the names, which share their first characters; written without escapes, so that none is a name in disguise.</summary>
    private static Expression.Choice OtherThan(string[] names, int at)
    {
        var plain = new CodePoints([(0, 0x1F), ('"', '"'), ('\\', '\\')]).Not();
        // names are compared by character; one that needs an escape or a surrogate pair cannot be written plainly anyway or is kept away from by its first half
        var longer = names.Where(name => name.Length > at).GroupBy(name => char.IsHighSurrogate(name[at]) && at + 1 < name.Length
            ? char.ConvertToUtf32(name[at], name[at + 1]) : name[at]).ToArray();
        var rest = plain.And(new CodePoints(longer.Select(group => (group.Key, group.Key))).Not());
        var choices = new List<Expression> { Expression.Of(rest.Utf8(), Expression.Many(plain.Utf8())) };
        foreach (var group in longer.Where(group => plain.Contains(group.Key)))
        {
            var width = group.Key > 0xFFFF ? 2 : 1;
            choices.Add(Expression.Of(CodePoints.Of(group.Key).Utf8(), OtherThan([.. group], at + width)));
        }

        if (names.All(name => name.Length != at))
        {
            choices.Add(Expression.Empty);
        }

        return new Expression.Choice(choices);
    }
}
