using System.Text.Json;
using Sals.Engine.Grammar;
using Sals.Engine.Sampling;
using Sals.Engine.Text.Answers;
using Sals.Server.Api.Wire;
using Sals.Server.Hosting;

namespace Sals.Server.Api;

/// <summary>"response_format" (OpenAI) and "structured_outputs" (vLLM): the grammar that an answer follows, compiled on the request's thread.</summary>
public sealed class GrammarReader
{
    public const int MaxChoices = 1024;

    /// <summary>Fields this reader acts on.</summary>
    public static readonly IReadOnlyList<string> Names = ["response_format", "structured_outputs"];

    private static readonly string[] Kinds = ["json", "json_object", "regex", "choice", "grammar"];

    private static readonly string[] RefusedKinds = ["structural_tag"];

    /// <summary>How long a grammar may wait for others to be compiled.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    // half of the cores: the rest is for those who have compiled theirs
    private static readonly SemaphoreSlim Compiling = new(Math.Max(1, Environment.ProcessorCount / 2));
    private readonly GrammarCompiler? _compiler;
    private readonly AnswerFormats _formats;

    /// <param name="maskBits">Tokens of the backend, padding included.</param>
    public GrammarReader(LoadedModel model, int maskBits)
    {
        _formats = model.Formats;
        _compiler = model.Tokenizer is { } tokenizer ? new GrammarCompiler(() => TokenTrie.Of(tokenizer, maskBits, model.EndTokenIds)) : null;
    }

    /// <summary>Sorts the vocabulary, which takes up to a second for a large one: better before the first request that needs it.</summary>
    public void Prepare() => _ = _compiler?.Trie;

    /// <returns>What "response_format" or "structured_outputs" asks for and where it stands; null when the text is free.</returns>
    /// <exception cref="ApiException">Not understood or not supported.</exception>
    public static AskedGrammar? Read(JsonFields fields)
    {
        var format = fields.Object("response_format") is { } asked ? ReadFormat(asked) : null;
        var outputs = fields.Object("structured_outputs") is { } options ? ReadOutputs(options) : null;
        return format is null || outputs is null ? format ?? outputs : throw JsonFields.Invalid("structured_outputs", "expected response_format or structured_outputs, found both");
    }

    /// <summary>The same of the Responses API, whose format stands in "text" and is flat.</summary>
    /// <exception cref="ApiException">Not understood or not supported.</exception>
    public static AskedGrammar? ReadResponse(JsonFields fields, JsonFields? text)
    {
        var format = text?.Object("format") is { } asked ? ReadFormat(asked, flat: true) : null;
        var outputs = fields.Object("structured_outputs") is { } options ? ReadOutputs(options) : null;
        return format is null || outputs is null ? format ?? outputs : throw JsonFields.Invalid("structured_outputs", "expected text.format or structured_outputs, found both");
    }

    /// <summary>The grammar of an answer: of its text, of calls that must be made, or of either; behind reasoning where there is some.</summary>
    /// <returns>Null when the answer is free.</returns>
    /// <exception cref="ApiException">It cannot be compiled, or is beside fields that contradict it.</exception>
    public TokenGrammar? Compile(JsonFields fields, AskedGrammar? content, ToolUse tools, ReasoningStart start)
    {
        var calls = tools.Choice == ToolChoice.Required || (tools.Choice == ToolChoice.Auto && content is not null) ? tools : null;
        if (content is null && calls is null)
        {
            return null;
        }

        var cause = calls?.Choice == ToolChoice.Required ? "tool_choice" : content!.Field;
        foreach (var name in (string[])["allowed_token_ids", "bad_words"])
        {
            if (fields.List(name, int.MaxValue) is { Length: > 0 })
            {
                throw JsonFields.Invalid(name, $"cannot be combined with {cause}");
            }
        }

        var path = cause == "tool_choice" ? "tools" : content!.Path;
        return Compile(path, () =>
        {
            var called = calls is null ? null : GrammarSource.ToolCalls(_formats.Calls, calls.Callable, calls.Several);
            var text = calls?.Choice == ToolChoice.Required ? null : content?.Source();
            return (called is null ? text! : text is null ? called : text.Or(called)).AfterReasoning(start);
        });
    }

    /// <summary>min_tokens holds back end tokens only: an ordinary stop id may be the one token that the grammar allows.</summary>
    public SamplingOptions Fit(SamplingOptions sampling) =>
        sampling.HeldBackIds.Length == 0 ? sampling : sampling with { HeldBackIds = [.. sampling.HeldBackIds.Where(id => _compiler!.Trie.BytesOf(id).Length == 0)] };

    private static AskedGrammar? ReadFormat(JsonFields format, bool flat = false)
    {
        var path = format.PathOf("type");
        switch (format.Text("type", 64))
        {
            case "text":
                return null;
            case "json_object":
                return Asked(path, GrammarSource.JsonObject);
            case "json_schema":
                var wrapper = flat ? format : format.Object("json_schema") ?? throw JsonFields.Invalid(format.PathOf("json_schema"), "expected an object with name and schema, found nothing");
                _ = wrapper.Text("name", 256);
                _ = wrapper.Text("description", 65536);
                // strict or not: the masks cost nothing more, and an answer that may not validate is worth less
                _ = wrapper.Bool("strict");
                var schema = wrapper.Find("schema") ?? throw JsonFields.Invalid(wrapper.PathOf("schema"), "expected a JSON schema, found nothing");
                return Asked(wrapper.PathOf("schema"), () => GrammarSource.JsonSchema(schema));
            case null:
                throw JsonFields.Invalid(path, "expected text, json_object or json_schema, found nothing");
            default:
                throw new ApiException(ApiError.Unsupported(path, $"{path}: expected text, json_object or json_schema."));
        }
    }

    private static AskedGrammar? ReadOutputs(JsonFields outputs)
    {
        foreach (var kind in RefusedKinds)
        {
            if (outputs.Has(kind))
            {
                throw new ApiException(ApiError.Unsupported(outputs.PathOf(kind), $"{outputs.PathOf(kind)}: is not supported; use json, regex, choice or grammar."));
            }
        }

        // false asks for nothing
        var asked = Kinds.Where(kind => outputs.Find(kind) is { ValueKind: not JsonValueKind.False }).ToArray();
        if (asked.Length > 1)
        {
            throw JsonFields.Invalid(outputs.PathOf(asked[1]), $"expected one of {string.Join(", ", Kinds)}, found it beside {asked[0]}");
        }

        if (asked.Length == 0)
        {
            return outputs.All().Any(field => field.Value.ValueKind is not (JsonValueKind.False or JsonValueKind.True))
                ? throw JsonFields.Invalid("structured_outputs", $"expected one of {string.Join(", ", Kinds)}")
                : null;
        }

        var path = outputs.PathOf(asked[0]);
        switch (asked[0])
        {
            case "json":
                return ReadSchema(outputs.Find("json")!.Value, path);
            case "json_object":
                _ = outputs.Bool("json_object");
                return Asked(path, GrammarSource.JsonObject);
            case "regex":
                var pattern = outputs.Text("regex", GrammarLimits.SourceLength, 1)!;
                return Asked(path, () => GrammarSource.Regex(pattern));
            case "grammar":
                var grammar = outputs.Text("grammar", GrammarLimits.SourceLength, 1)!;
                return Asked(path, () => GrammarSource.Ebnf(grammar));
            default:
                var choices = outputs.List("choice", MaxChoices, 1)!
                    .Select((item, i) => JsonFields.TextOf(item, $"{path}[{i}]", GrammarLimits.SourceLength, 1)).ToArray();
                return Asked(path, () => GrammarSource.Choice(choices));
        }
    }

    /// <summary>A schema, or its text.</summary>
    private static AskedGrammar ReadSchema(JsonElement value, string path)
    {
        if (value.ValueKind != JsonValueKind.String)
        {
            return Asked(path, () => GrammarSource.JsonSchema(value));
        }

        try
        {
            var schema = JsonElement.Parse(JsonFields.TextOf(value, path, GrammarLimits.SourceLength));
            return Asked(path, () => GrammarSource.JsonSchema(schema));
        }
        catch (JsonException)
        {
            throw JsonFields.Invalid(path, "expected a JSON schema, or one as a text; found a text that is not JSON");
        }
    }

    private static AskedGrammar Asked(string path, Func<GrammarSource> source) => new(path.Split('.')[0], path, () => source().At(path));

    private TokenGrammar Compile(string path, Func<GrammarSource> source)
    {
        var compiler = _compiler ?? throw new ApiException(ApiError.Invalid(path, $"{path}: this server has no tokenizer (--skip-tokenizer-init)."));
        var compiling = false;
        try
        {
            var wanted = source();
            if (compiler.Find(wanted) is { } known)
            {
                return known;
            }

            compiling = Compiling.Wait(Patience);
            return compiling ? compiler.Compile(wanted)
                : throw new ApiException(ApiError.Overloaded(2, $"{path}: the server is compiling as many grammars as it may. Retry later."));
        }
        catch (GrammarException exception)
        {
            // property names of a schema are the client's and may be long
            var place = exception.Path.Length == 0 ? path : exception.Path.Length > 300 ? exception.Path[..300] + "..." : exception.Path;
            throw JsonFields.Invalid(place, exception.Message);
        }
        finally
        {
            _ = compiling ? Compiling.Release() : 0;
        }
    }
}

/// <summary>A grammar that a request asks for.</summary>
/// <param name="Field">The request's field.</param>
/// <param name="Path">The part of it that holds the source.</param>
/// <param name="Source">Made only when it is needed, since it may be refused.</param>
public sealed record AskedGrammar(string Field, string Path, Func<GrammarSource> Source);
