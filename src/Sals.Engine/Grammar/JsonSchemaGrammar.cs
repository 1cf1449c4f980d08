using System.Globalization;
using System.Text.Json;

namespace Sals.Engine.Grammar;

/// <summary>
/// JSON schemas (2020-12, the part that can be enforced while generating): types, properties in the schema's order, required, additionalProperties,
/// items, prefixItems, bounds of lists, strings and numbers, pattern, enum, const, anyOf, $ref. What is generated always validates; keywords that cannot be kept
/// are refused by name. Objects that name properties get no others unless additionalProperties allows them explicitly.
/// </summary>
internal sealed class JsonSchemaGrammar
{
    private static readonly string[] Refused =
    [
        "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "patternProperties", "propertyNames",
        "unevaluatedProperties", "unevaluatedItems", "contains", "minContains", "maxContains", "multipleOf", "minProperties", "maxProperties",
        "$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "additionalItems", "divisibleBy", "disallow", "extends",
    ];

    private static readonly string[] Annotations =
    [
        "title", "description", "default", "examples", "example", "$schema", "$id", "id", "$comment", "$defs", "definitions", "deprecated", "readOnly",
        "writeOnly", "discriminator",
    ];

    private static readonly Dictionary<string, string> Formats = new(StringComparer.Ordinal)
    {
        ["date"] = @"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])",
        ["time"] = @"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+\-](0\d|1[0-3]):[0-5]\d)",
        ["date-time"] = @"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+\-](0\d|1[0-3]):[0-5]\d)",
        ["uuid"] = @"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        ["ipv4"] = @"((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)",
        ["email"] = @"[A-Za-z0-9_]{1,32}(\.[A-Za-z0-9_]{1,32}){0,2}@[A-Za-z0-9]{1,32}(\.[A-Za-z0-9]{2,32}){1,2}",
    };

    private readonly Nfa _nfa;
    private readonly JsonText _json;
    private readonly JsonElement _root;
    private readonly Dictionary<string, int> _references = new(StringComparer.Ordinal);
    private int _depth;

    private JsonSchemaGrammar(Nfa nfa, JsonElement root)
    {
        _nfa = nfa;
        _json = new JsonText(nfa);
        _root = root;
    }

    /// <summary>Adds the schema's rules; gives the root rule.</summary>
    /// <exception cref="GrammarException">A keyword that cannot be kept, or that is wrong; the path names it.</exception>
    public static int Compile(Nfa nfa, JsonElement schema)
    {
        var compiler = new JsonSchemaGrammar(nfa, schema);
        return compiler.Reference("#", "");
    }

    private Expression Read(JsonElement schema, string path)
    {
        if (schema.ValueKind is JsonValueKind.True)
        {
            return _json.Value;
        }

        if (schema.ValueKind != JsonValueKind.Object)
        {
            throw new GrammarException(path, schema.ValueKind == JsonValueKind.False ? "false allows no value" : "expected a schema, an object");
        }

        if (++_depth > GrammarLimits.SourceDepth)
        {
            throw new GrammarException(path, $"schemas are nested more than {GrammarLimits.SourceDepth} deep");
        }

        RefuseUnsupported(schema, path);
        var expression = ReadCombined(schema, path) ?? ReadTyped(schema, path);
        _depth--;
        return expression;
    }

    private static void RefuseUnsupported(JsonElement schema, string path)
    {
        foreach (var property in schema.EnumerateObject())
        {
            if (Refused.Contains(property.Name) || (property.Name == "uniqueItems" && property.Value.ValueKind != JsonValueKind.False))
            {
                throw new GrammarException($"{path}.{property.Name}", $"the keyword '{property.Name}' is not supported");
            }
        }
    }

    /// <summary>$ref, allOf, anyOf, oneOf, const and enum, which stand alone; null when there is none.</summary>
    private Expression? ReadCombined(JsonElement schema, string path)
    {
        if (schema.TryGetProperty("$ref", out var reference))
        {
            Alone(schema, path, "$ref");
            var target = reference.ValueKind == JsonValueKind.String ? JsonText.TextOf(reference) : throw new GrammarException($"{path}.$ref", "expected a text");
            return new Expression.Call(Reference(target, $"{path}.$ref"));
        }

        if (schema.TryGetProperty("allOf", out var all))
        {
            Alone(schema, path, "allOf");
            var only = List(all, $"{path}.allOf");
            return only.Length == 1 ? Read(only[0], $"{path}.allOf[0]") : throw new GrammarException($"{path}.allOf", "allOf is supported with one schema only");
        }

        foreach (var name in (string[])["anyOf", "oneOf"])
        {
            if (schema.TryGetProperty(name, out var any))
            {
                Alone(schema, path, name);
                var choices = List(any, $"{path}.{name}");
                if (name == "oneOf" && !AreDisjoint(choices))
                {
                    throw new GrammarException($"{path}.oneOf", "oneOf is supported where the schemas have different types or differ in a required property with const; use anyOf");
                }

                return new Expression.Choice([.. choices.Select((choice, i) => Read(choice, $"{path}.{name}[{i}]"))]);
            }
        }

        if (schema.TryGetProperty("const", out var constant))
        {
            Alone(schema, path, "const", "type");
            return Constants(schema, [constant], $"{path}.const");
        }

        if (schema.TryGetProperty("enum", out var values))
        {
            Alone(schema, path, "enum", "type");
            return Constants(schema, List(values, $"{path}.enum"), $"{path}.enum");
        }

        return null;
    }

    private Expression ReadTyped(JsonElement schema, string path)
    {
        var types = Types(schema, path);
        if (types.Length == 0)
        {
            return _json.Value;
        }

        var choices = types.Select(type => type switch
        {
            "object" => ReadObject(schema, path),
            "array" => ReadArray(schema, path),
            "string" => ReadString(schema, path),
            "integer" => ReadNumber(schema, path, integer: true),
            "number" => ReadNumber(schema, path, integer: false),
            "boolean" => Expression.Any(Expression.Literal("true"), Expression.Literal("false")),
            "null" => Expression.Literal("null"),
            _ => throw new GrammarException($"{path}.type", "expected object, array, string, integer, number, boolean or null"),
        }).ToArray();
        return choices.Length == 1 ? choices[0] : new Expression.Choice(choices);
    }

    /// <summary>Without "type" the keywords that are there say which one is meant; none = any value.</summary>
    private static string[] Types(JsonElement schema, string path)
    {
        if (schema.TryGetProperty("type", out var type))
        {
            return type.ValueKind switch
            {
                JsonValueKind.String => [JsonText.TextOf(type)],
                JsonValueKind.Array when type.GetArrayLength() > 0 && type.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String) =>
                    [.. type.EnumerateArray().Select(JsonText.TextOf).Distinct()],
                _ => throw new GrammarException($"{path}.type", "expected the name of a type or a list of names"),
            };
        }

        bool Has(params string[] names) => names.Any(name => schema.TryGetProperty(name, out _));
        return Has("properties", "required", "additionalProperties") ? ["object"]
            : Has("items", "prefixItems", "minItems", "maxItems") ? ["array"]
            : Has("pattern", "minLength", "maxLength", "format") ? ["string"]
            : Has("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") ? ["number"]
            : [];
    }

    /// <summary>
    /// Two tracks through the properties, without and with one written before, joined by optional steps; each property is a rule, so that both tracks share it.
    /// </summary>
    private Expression.Call ReadObject(JsonElement schema, string path)
    {
        var properties = schema.TryGetProperty("properties", out var named)
            ? named.ValueKind == JsonValueKind.Object ? named.EnumerateObject().ToArray() : throw new GrammarException($"{path}.properties", "expected an object")
            : [];
        if (properties.DistinctBy(property => property.Name, StringComparer.Ordinal).Count() < properties.Length)
        {
            throw new GrammarException($"{path}.properties", "expected each property once");
        }

        var required = ReadRequired(schema, path);
        var others = ReadOthers(schema, path, properties, required);
        var rule = _nfa.NewRule();
        var none = _nfa.Emit(Expression.Of(Expression.Literal("{"), _json.Space), _nfa.Start(rule));
        var some = _nfa.NewState();
        var comma = Expression.Of(Expression.Literal(","), _json.Space);
        foreach (var property in properties)
        {
            var value = Read(property.Value, $"{path}.properties.{property.Name}");
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

    private static HashSet<string> ReadRequired(JsonElement schema, string path)
    {
        if (!schema.TryGetProperty("required", out var required))
        {
            return [];
        }

        return required.ValueKind == JsonValueKind.Array && required.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String)
            ? [.. required.EnumerateArray().Select(JsonText.TextOf)]
            : throw new GrammarException($"{path}.required", "expected a list of names");
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

        if (given ? additional.ValueKind == JsonValueKind.False : properties.Length > 0)
        {
            return null;
        }

        var value = given ? Read(additional, $"{path}.additionalProperties") : _json.Value;
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

    private Expression ReadArray(JsonElement schema, string path)
    {
        var min = Bound(schema, path, "minItems") ?? 0;
        var max = Bound(schema, path, "maxItems") ?? -1;
        Order(min, max, path, "minItems", "maxItems");
        if (schema.TryGetProperty("prefixItems", out var prefix))
        {
            return ReadTuple(schema, List(prefix, $"{path}.prefixItems"), min, max, path);
        }

        if (schema.TryGetProperty("items", out var items) && items.ValueKind == JsonValueKind.False)
        {
            return min > 0 ? throw new GrammarException($"{path}.items", "false allows no item, but minItems asks for one") : _json.Items(_json.Value, 0, 0);
        }

        if (max == 0)
        {
            return _json.Items(_json.Value, 0, 0);
        }

        var item = schema.TryGetProperty("items", out items) ? Read(items, $"{path}.items") : _json.Value;
        return _json.Items(Rule(item), min, max);
    }

    private Expression ReadTuple(JsonElement schema, JsonElement[] prefix, int min, int max, string path)
    {
        var more = schema.TryGetProperty("items", out var items) && items.ValueKind != JsonValueKind.False;
        if (more || min > prefix.Length || (max >= 0 && max < prefix.Length))
        {
            throw new GrammarException($"{path}.prefixItems", "prefixItems is supported for lists of exactly those items");
        }

        var list = prefix.Select((item, i) => Expression.Of(i == 0 ? Expression.Empty : Expression.Of(Expression.Literal(","), _json.Space), Read(item, $"{path}.prefixItems[{i}]")));
        return Expression.Of([Expression.Literal("["), _json.Space, .. list, _json.Space, Expression.Literal("]")]);
    }

    private Expression ReadString(JsonElement schema, string path)
    {
        var min = Bound(schema, path, "minLength");
        var max = Bound(schema, path, "maxLength");
        Order(min ?? 0, max ?? -1, path, "minLength", "maxLength");
        var pattern = schema.TryGetProperty("pattern", out var given) ? given : default;
        if (pattern.ValueKind != JsonValueKind.Undefined)
        {
            if (pattern.ValueKind != JsonValueKind.String)
            {
                throw new GrammarException($"{path}.pattern", "expected a text");
            }

            return min is not null || max is not null
                ? throw new GrammarException($"{path}.pattern", "pattern beside minLength or maxLength is not supported; put the bounds into the pattern")
                : JsonText.Quoted(Pattern(JsonText.TextOf(pattern), $"{path}.pattern", search: true));
        }

        if (schema.TryGetProperty("format", out var format) && format.ValueKind == JsonValueKind.String && Formats.TryGetValue(JsonText.TextOf(format), out var known)
            && min is null && max is null)
        {
            return JsonText.Quoted(Pattern(known, $"{path}.format", search: false));
        }

        return min is null && max is null
            ? _json.AnyString
            : JsonText.Quoted(Expression.Many(JsonText.Spell(CodePoints.All), min ?? 0, max ?? -1));
    }

    private static Expression Pattern(string pattern, string path, bool search)
    {
        try
        {
            return RegexGrammar.Parse(pattern, JsonText.Spell, search);
        }
        catch (GrammarException exception)
        {
            throw new GrammarException(path, exception.Message);
        }
    }

    private static Expression ReadNumber(JsonElement schema, string path, bool integer)
    {
        var (low, lowExcluded) = Limit(schema, path, "minimum", "exclusiveMinimum", double.NegativeInfinity);
        var (high, highExcluded) = Limit(schema, path, "maximum", "exclusiveMaximum", double.PositiveInfinity);
        if (double.IsInfinity(low) && double.IsInfinity(high))
        {
            return integer ? JsonNumbers.Integer : JsonNumbers.Number;
        }

        try
        {
            return JsonNumbers.Between(low, lowExcluded, high, highExcluded, integer);
        }
        catch (GrammarException exception)
        {
            throw new GrammarException(path, exception.Message);
        }
    }

    private static (double Value, bool Excluded) Limit(JsonElement schema, string path, string name, string exclusive, double none)
    {
        var inclusive = Number(name);
        var strict = Number(exclusive);
        return strict is { } bound && (inclusive is null || (none < 0 ? bound >= inclusive : bound <= inclusive)) ? (bound, true) : (inclusive ?? none, false);

        double? Number(string keyword) => !schema.TryGetProperty(keyword, out var value) ? null
            : value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && double.IsFinite(number) ? number
            : throw new GrammarException($"{path}.{keyword}", "expected a number");
    }

    private static int? Bound(JsonElement schema, string path, string name)
    {
        if (!schema.TryGetProperty(name, out var value))
        {
            return null;
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && number >= 0 && number <= GrammarLimits.Parts && number == Math.Floor(number)
            ? (int)number
            : throw new GrammarException($"{path}.{name}", string.Create(CultureInfo.InvariantCulture, $"expected a whole number from 0 to {GrammarLimits.Parts}"));
    }

    private static void Order(int min, int max, string path, string low, string high)
    {
        if (max >= 0 && min > max)
        {
            throw new GrammarException($"{path}.{low}", $"expected at most {high}, which is {max}, found {min}");
        }
    }

    private static Expression.Choice Constants(JsonElement schema, JsonElement[] values, string path)
    {
        var types = Types(schema, path);
        var fitting = values.Where(value => types.Length == 0 || types.Any(type => IsA(value, type))).ToArray();
        return fitting.Length > 0 ? new Expression.Choice([.. fitting.Select(JsonText.Constant)]) : throw new GrammarException(path, "expected a value of the type beside it");
    }

    private static bool IsA(JsonElement value, string type) => value.ValueKind switch
    {
        JsonValueKind.Object => type == "object",
        JsonValueKind.Array => type == "array",
        JsonValueKind.String => type == "string",
        JsonValueKind.Number => type == "number" || (type == "integer" && value.TryGetDouble(out var number) && number == Math.Floor(number)),
        JsonValueKind.Null => type == "null",
        _ => type == "boolean",
    };

    private bool AreDisjoint(JsonElement[] choices)
    {
        var keys = choices.Select(choice => Resolve(choice)).ToArray();
        return keys.Index().All(a => keys.Take(a.Index).All(b => AreDisjoint(a.Item, b)));
    }

    private static bool AreDisjoint(JsonElement a, JsonElement b)
    {
        if (a.ValueKind != JsonValueKind.Object || b.ValueKind != JsonValueKind.Object)
        {
            return false;
        }

        if (a.TryGetProperty("const", out var first) && b.TryGetProperty("const", out var second))
        {
            return JsonText.Write(first) != JsonText.Write(second);
        }

        if (a.TryGetProperty("type", out var left) && b.TryGetProperty("type", out var right) && left.ValueKind == JsonValueKind.String && right.ValueKind == JsonValueKind.String)
        {
            var (one, other) = (JsonText.TextOf(left), JsonText.TextOf(right));
            if (one != other)
            {
                return !(one is "integer" or "number" && other is "integer" or "number");
            }

            return one == "object" && Tags(a).Any(tag => Tags(b).Any(tagged => tagged.Name == tag.Name && tagged.Value != tag.Value));
        }

        return false;
    }

    /// <summary>Required properties with one possible value.</summary>
    private static IEnumerable<(string Name, string Value)> Tags(JsonElement schema)
    {
        if (!schema.TryGetProperty("properties", out var properties) || properties.ValueKind != JsonValueKind.Object)
        {
            yield break;
        }

        var required = ReadRequired(schema, "");
        foreach (var property in properties.EnumerateObject().Where(property => required.Contains(property.Name) && property.Value.ValueKind == JsonValueKind.Object))
        {
            if (property.Value.TryGetProperty("const", out var value)
                || (property.Value.TryGetProperty("enum", out var list) && list.ValueKind == JsonValueKind.Array && list.GetArrayLength() == 1 && (value = list[0]).ValueKind != JsonValueKind.Undefined))
            {
                yield return (property.Name, JsonText.Write(value));
            }
        }
    }

    private JsonElement Resolve(JsonElement schema) =>
        schema.ValueKind == JsonValueKind.Object && schema.TryGetProperty("$ref", out var reference) && reference.ValueKind == JsonValueKind.String
            ? Find(JsonText.TextOf(reference), "") : schema;

    /// <summary>The rule of a schema that is named by a pointer; made once, before it is read, so that it may name itself.</summary>
    private int Reference(string target, string path)
    {
        if (_references.TryGetValue(target, out var rule))
        {
            return rule;
        }

        var schema = Find(target, path);
        _references[target] = rule = _nfa.NewRule();
        _nfa.Define(rule, Read(schema, target == "#" ? "" : path));
        return rule;
    }

    private JsonElement Find(string target, string path)
    {
        if (target != "#" && !target.StartsWith("#/", StringComparison.Ordinal))
        {
            throw new GrammarException(path, "expected a reference within the schema, which begins with #/");
        }

        var at = _root;
        foreach (var part in target.Split('/').Skip(1))
        {
            var name = Uri.UnescapeDataString(part).Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal);
            at = at.ValueKind == JsonValueKind.Object && at.TryGetProperty(name, out var found) ? found
                : at.ValueKind == JsonValueKind.Array && int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var i) && i < at.GetArrayLength() ? at[i]
                : throw new GrammarException(path, "expected a reference to a part of the schema that exists");
        }

        return at;
    }

    /// <summary>An expression that is used more than once, as a rule.</summary>
    private Expression.Call Rule(Expression expression) => expression as Expression.Call ?? new Expression.Call(_nfa.NewRule(expression));

    private static JsonElement[] List(JsonElement value, string path) =>
        value.ValueKind == JsonValueKind.Array && value.GetArrayLength() > 0 ? [.. value.EnumerateArray()] : throw new GrammarException(path, "expected a list that is not empty");

    private static void Alone(JsonElement schema, string path, params string[] names)
    {
        foreach (var property in schema.EnumerateObject())
        {
            if (!names.Contains(property.Name) && !Annotations.Contains(property.Name) && Keywords.Contains(property.Name))
            {
                throw new GrammarException($"{path}.{property.Name}", $"the keyword '{property.Name}' beside '{names[0]}' is not supported");
            }
        }
    }

    private static readonly HashSet<string> Keywords = new(StringComparer.Ordinal)
    {
        "$ref", "allOf", "anyOf", "oneOf", "const", "enum", "type", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems",
        "minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    };
}
