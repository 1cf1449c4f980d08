using System.Text.Json;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>Requests of the Responses API to <see cref="Call"/>: the chat request in other words. Nothing is stored, so what needs an earlier response is refused.</summary>
public sealed class ResponseReader
{
    private const string NoStorage = "this server stores no responses; send the conversation as input items";

    /// <summary>Fields that are acted on; those of sampling and of vLLM's extras are the chat API's.</summary>
    public static readonly IReadOnlySet<string> KnownFields = new HashSet<string>(
        SamplingReader.Names.Concat(ToolReader.Names).Except(["stop"]), StringComparer.Ordinal)
    {
        "model", "input", "instructions", "max_output_tokens", "text", "reasoning", "include", "stream", "stream_options", "metadata", "truncation", "stop", "top_logprobs",
        "structured_outputs", "chat_template_kwargs", "priority", "cache_salt", "skip_special_tokens", "include_stop_str_in_output", "truncate_prompt_tokens", "include_reasoning",
    };

    /// <summary>Accepted without effect.</summary>
    public static readonly IReadOnlySet<string> Ignored = new HashSet<string>(StringComparer.Ordinal)
    {
        "store", "user", "safety_identifier", "service_tier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "max_tool_calls", "moderation", "request_id",
    };

    private static readonly Dictionary<string, string> Refused = new(StringComparer.Ordinal)
    {
        ["previous_response_id"] = NoStorage,
        ["conversation"] = NoStorage,
        ["background"] = "is not supported; stream the response instead",
        ["prompt"] = "prompt templates are not supported; send input",
        ["messages"] = "belongs to /v1/chat/completions; use input",
        ["response_format"] = "belongs to /v1/chat/completions; use text.format",
        ["max_tokens"] = "is not a field of this route; use max_output_tokens",
        ["max_completion_tokens"] = "is not a field of this route; use max_output_tokens",
        ["n"] = "is not a field of this route; a response is one answer",
        ["context_management"] = "is not supported",
    };

    private readonly RequestReader _requests;

    public ResponseReader(RequestReader requests) => _requests = requests;

    public Call Read(JsonElement body)
    {
        var fields = new JsonFields(body);
        var model = _requests.ReadModel(fields);
        Check(fields);
        var tools = _requests.Tools.Read(fields, flat: true);
        var effort = fields.Object("reasoning")?.Text("effort", 16);
        var arguments = MessageReader.ReadArguments(fields, effort, "reasoning.effort");
        var (ids, rendered) = _requests.Prompts.Render(new ChatPrompt(ResponseInput.Read(fields)) { Tools = tools.Shown, Arguments = arguments }, "input");
        var start = _requests.Formats.After(rendered);
        var form = _requests.ReadForm(fields) with
        {
            LogProbabilities = ReadLogProbabilities(fields),
            Layout = _requests.LayoutOf(tools, start),
            ShowReasoning = fields.Bool("include_reasoning") ?? true,
            ReturnTokenIds = false,
            PromptLogProbabilities = -1,
        };
        var limit = fields.Integer("max_output_tokens", 1, int.MaxValue);
        var text = fields.Object("text");
        var grammar = _requests.Grammars.Compile(fields, GrammarReader.ReadResponse(fields, text), tools, start);
        var call = _requests.ReadCall("resp_", model, fields, [ids], form, limit is { } tokens ? ("max_output_tokens", tokens) : null, "input", grammar);
        return call with
        {
            Echo = new ResponseEcho
            {
                Instructions = fields.Text("instructions", int.MaxValue),
                MaxOutputTokens = limit,
                Metadata = fields.Object("metadata") is not null ? fields.Find("metadata")!.Value.Clone() : JsonElement.Parse("{}"),
                ParallelToolCalls = fields.Bool("parallel_tool_calls") ?? true,
                Effort = effort,
                Format = text?.Find("format")?.Clone() ?? JsonElement.Parse("""{"type":"text"}"""),
                ToolChoice = fields.Find("tool_choice")?.Clone() ?? JsonElement.Parse("\"auto\""),
                Tools = [.. (fields.List("tools", ToolReader.MaxTools) ?? []).Select(tool => tool.Clone())],
            },
        };
    }

    private static void Check(JsonFields fields)
    {
        foreach (var (name, value) in fields.All())
        {
            if (Refused.TryGetValue(name, out var reason) && !FieldPolicy.AsksNothing(name, value, []) && !(name == "n" && value.ValueKind == JsonValueKind.Number && value.GetRawText() == "1"))
            {
                throw new ApiException(ApiError.Unsupported(name, $"{name}: {reason}."));
            }
        }

        if (fields.Text("truncation", 16) is { } truncation && truncation != "disabled")
        {
            throw new ApiException(ApiError.Unsupported("truncation", "truncation: a conversation is never shortened silently; expected disabled."));
        }
    }

    /// <summary>top_logprobs, or the field that asks for them in "include"; its other fields concern items that this server never has.</summary>
    private int ReadLogProbabilities(JsonFields fields)
    {
        var included = (fields.List("include", 64) ?? []).Select((item, i) => JsonFields.TextOf(item, $"include[{i}]", 256)).ToArray();
        var top = fields.Integer("top_logprobs", 0, _requests.MaxLogProbabilities);
        return top > 0 || included.Contains("message.output_text.logprobs") ? (int)(top ?? 0) : -1;
    }
}
