using System.Text.Json;

namespace Sals.Engine.Grammar;

/// <summary>
/// JSON schemas (2020-12, the part that can be enforced while generating): types, properties in the schema's order, required, additionalProperties,
/// items, prefixItems, bounds of lists, strings and numbers, pattern, enum, const, anyOf, $ref. What is generated always validates; keywords that cannot be kept
/// are refused by name. Objects that name properties get no others unless additionalProperties allows them explicitly.
/// </summary>
internal sealed class JsonSchemaGrammar
{
    private readonly Nfa _nfa;
    private readonly JsonText _json;
    private readonly JsonElement _root;
    private readonly ObjectSchema _objects;
    private readonly Dictionary<string, int> _references = new(StringComparer.Ordinal);
    private int _depth;

    private JsonSchemaGrammar(Nfa nfa, JsonText json, JsonElement root)
    {
        _nfa = nfa;
        _json = json;
        _root = root;
        _objects = new ObjectSchema(this, nfa, json);
    }

    /// <summary>Adds the schema's rules; gives the root rule.</summary>
    /// <param name="json">Rules that several schemas of one automaton share.</param>
    /// <exception cref="GrammarException">A keyword that cannot be kept, or that is wrong; the path names it.</exception>
    public static int Compile(Nfa nfa, JsonText json, JsonElement schema) => new JsonSchemaGrammar(nfa, json, schema).Reference("#", "");

    public Expression Read(JsonElement schema, string path)
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

        SchemaKeywords.RefuseUnsupported(schema, path);
        var expression = ReadCombined(schema, path) ?? ReadTyped(schema, path);
        _depth--;
        return expression;
    }

    /// <summary>$ref, allOf, anyOf, oneOf, const and enum, which stand alone; null when there is none.</summary>
    private Expression? ReadCombined(JsonElement schema, string path)
    {
        if (schema.TryGetProperty("$ref", out var reference))
        {
            SchemaKeywords.Alone(schema, path, "$ref");
            var target = reference.ValueKind == JsonValueKind.String ? JsonText.TextOf(reference) : throw new GrammarException($"{path}.$ref", "expected a text");
            return new Expression.Call(Reference(target, $"{path}.$ref"));
        }

        if (schema.TryGetProperty("allOf", out var all))
        {
            SchemaKeywords.Alone(schema, path, "allOf");
            var only = SchemaKeywords.List(all, $"{path}.allOf");
            return only.Length == 1 ? Read(only[0], $"{path}.allOf[0]") : throw new GrammarException($"{path}.allOf", "allOf is supported with one schema only");
        }

        foreach (var name in (string[])["anyOf", "oneOf"])
        {
            if (schema.TryGetProperty(name, out var any))
            {
                SchemaKeywords.Alone(schema, path, name);
                var choices = SchemaKeywords.List(any, $"{path}.{name}");
                if (name == "oneOf" && !DisjointSchemas.Are(_root, choices))
                {
                    throw new GrammarException($"{path}.oneOf", "oneOf is supported where the schemas have different types or differ in a required property with const; use anyOf");
                }

                return new Expression.Choice([.. choices.Select((choice, i) => Read(choice, $"{path}.{name}[{i}]"))]);
            }
        }

        if (schema.TryGetProperty("const", out var constant))
        {
            SchemaKeywords.Alone(schema, path, "const", "type");
            return Constants(schema, [constant], $"{path}.const");
        }

        if (schema.TryGetProperty("enum", out var values))
        {
            SchemaKeywords.Alone(schema, path, "enum", "type");
            return Constants(schema, SchemaKeywords.List(values, $"{path}.enum"), $"{path}.enum");
        }

        return null;
    }

    private Expression ReadTyped(JsonElement schema, string path)
    {
        var types = SchemaKeywords.Types(schema, path);
        if (types.Length == 0)
        {
            return _json.Value;
        }

        var choices = types.Select(type => type switch
        {
            "object" => _objects.Read(schema, path),
            "array" => ReadArray(schema, path),
            "string" => StringSchema.Read(schema, path, _json),
            "integer" => NumberSchema.Read(schema, path, integer: true),
            "number" => NumberSchema.Read(schema, path, integer: false),
            "boolean" => Expression.Any(Expression.Literal("true"), Expression.Literal("false")),
            "null" => Expression.Literal("null"),
            _ => throw new GrammarException($"{path}.type", "expected object, array, string, integer, number, boolean or null"),
        }).ToArray();
        return choices.Length == 1 ? choices[0] : new Expression.Choice(choices);
    }

    private Expression ReadArray(JsonElement schema, string path)
    {
        var min = SchemaKeywords.Bound(schema, path, "minItems") ?? 0;
        var max = SchemaKeywords.Bound(schema, path, "maxItems") ?? -1;
        SchemaKeywords.Order(min, max, path, "minItems", "maxItems");
        if (schema.TryGetProperty("prefixItems", out var prefix))
        {
            return ReadTuple(schema, SchemaKeywords.List(prefix, $"{path}.prefixItems"), min, max, path);
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

    private static Expression.Choice Constants(JsonElement schema, JsonElement[] values, string path)
    {
        var types = SchemaKeywords.Types(schema, path);
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

    /// <summary>The rule of a schema that is named by a pointer; made once, before it is read, so that it may name itself.</summary>
    private int Reference(string target, string path)
    {
        if (_references.TryGetValue(target, out var rule))
        {
            return rule;
        }

        var schema = SchemaPointer.Find(_root, target, path);
        _references[target] = rule = _nfa.NewRule();
        _nfa.Define(rule, Read(schema, target == "#" ? "" : path));
        return rule;
    }

    /// <summary>An expression that is used more than once, as a rule.</summary>
    private Expression.Call Rule(Expression expression) => expression as Expression.Call ?? new Expression.Call(_nfa.NewRule(expression));
}
