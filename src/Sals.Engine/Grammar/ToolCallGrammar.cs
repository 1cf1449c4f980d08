using System.Text.Json;
using Sals.Engine.Text.Answers;

namespace Sals.Engine.Grammar;

/// <summary>Tool calls as a model family writes them, with a name of a tool and arguments that fit its schema.</summary>
internal static class ToolCallGrammar
{
    /// <summary>Adds the rules; gives the root rule.</summary>
    /// <exception cref="GrammarException">A schema that cannot be kept; the path is the request's.</exception>
    public static int Compile(Nfa nfa, TokenTrie trie, ToolCallFormat format, IReadOnlyList<ToolSignature> tools, bool several)
    {
        var json = new JsonText(nfa);
        var calls = tools.Select(tool => Call(format, tool.Name, Arguments(nfa, json, tool))).ToArray();
        var call = new Expression.Call(nfa.NewRule(new Expression.Choice(calls)));
        Expression More(string between) => several ? Expression.Many(Expression.Of(Expression.Literal(between), call)) : Expression.Empty;
        return nfa.NewRule(format switch
        {
            ToolCallFormat.Hermes => Expression.Of(call, More("\n")),
            // the family's template refuses a message with two calls
            ToolCallFormat.Llama => call,
            // one list is marked once
            ToolCallFormat.Mistral => Expression.Of(GrammarSource.Mark(ToolCallMarks.Mistral, trie), Expression.Literal("["), call, More(", "), Expression.Literal("]")),
            _ => Marked(trie, call, several),
        });
    }

    private static Expression Marked(TokenTrie trie, Expression call, bool several)
    {
        var one = Expression.Of(GrammarSource.Mark(ToolCallMarks.Mistral, trie), call);
        return several ? Expression.Many(one, 1) : one;
    }

    private static Expression Call(ToolCallFormat format, string name, Expression arguments)
    {
        var quoted = JsonText.Write(name);
        return format switch
        {
            ToolCallFormat.Hermes => Expression.Of(
                Expression.Literal($"{ToolCallMarks.HermesBegin}\n{{\"name\": {quoted}, \"arguments\": "), arguments, Expression.Literal($"}}\n{ToolCallMarks.HermesEnd}")),
            ToolCallFormat.Llama => Expression.Of(Expression.Literal($"{{\"name\": {quoted}, \"parameters\": "), arguments, Expression.Literal("}")),
            ToolCallFormat.Mistral => Expression.Of(Expression.Literal($"{{\"name\": {quoted}, \"arguments\": "), arguments, Expression.Literal("}")),
            _ => Expression.Of(Expression.Literal(name), Expression.Special(ToolCallMarks.MistralArguments), arguments),
        };
    }

    private static Expression Arguments(Nfa nfa, JsonText json, ToolSignature tool)
    {
        if (tool.Parameters is not { } schema)
        {
            return Expression.Literal("{}");
        }

        if (schema.ValueKind == JsonValueKind.Object && !schema.EnumerateObject().Any())
        {
            return json.AnyObject;
        }

        try
        {
            return new Expression.Call(JsonSchemaGrammar.Compile(nfa, json, schema));
        }
        catch (GrammarException exception)
        {
            throw new GrammarException(tool.Path + exception.Path, exception.Message);
        }
    }
}
