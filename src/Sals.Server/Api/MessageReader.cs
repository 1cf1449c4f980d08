using System.Text.Json;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>"messages" and the fields about the template.</summary>
public static class MessageReader
{
    public const int MaxMessages = 16384;
    public const int MaxParts = 1024;
    public const int MaxNameLength = 256;

    /// <summary>Template arguments a request may set; names that templates of the supported families know.</summary>
    private static readonly HashSet<string> AllowedArguments = new(StringComparer.Ordinal)
    {
        "enable_thinking", "thinking", "reasoning_effort", "date_string",
    };

    private static readonly string[] Roles = ["system", "developer", "user", "assistant", "tool"];

    private static readonly string[] Efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

    public static ChatPrompt Read(JsonFields fields)
    {
        if (!fields.Has("messages"))
        {
            throw JsonFields.Invalid("messages", "expected a list of messages, found nothing");
        }

        var turns = fields.List("messages", MaxMessages, 1)!.Select((item, i) => ReadTurn(new JsonFields(item, $"messages[{i}]"), Roles)).ToArray();
        var continues = fields.Bool("continue_final_message") ?? false;
        var adds = fields.Bool("add_generation_prompt");
        if (continues && adds == true)
        {
            throw JsonFields.Invalid("continue_final_message", "expected add_generation_prompt to be false with it");
        }

        return new ChatPrompt(turns)
        {
            AddGenerationPrompt = adds ?? !continues,
            ContinueFinalMessage = continues,
            Arguments = ReadArguments(fields, fields.Text("reasoning_effort", 16), "reasoning_effort"),
        };
    }

    /// <param name="roles">Those that may speak.</param>
    public static ChatTurn ReadTurn(JsonFields message, string[] roles)
    {
        var role = message.Text("role", 64) ?? throw JsonFields.Invalid(message.PathOf("role"), "expected a role, found nothing");
        if (!roles.Contains(role))
        {
            throw JsonFields.Invalid(message.PathOf("role"), $"expected {string.Join(", ", roles[..^1])} or {roles[^1]}");
        }

        foreach (var field in new[] { "function_call", "audio" })
        {
            if (message.Find(field) is { } value && !(value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == 0))
            {
                throw new ApiException(ApiError.Unsupported(message.PathOf(field), $"{message.PathOf(field)}: is not supported by this server yet."));
            }
        }

        var calls = role == "assistant" ? ReadCalls(message) : [];
        // vLLM's newer name of the field and its older one
        var reasoning = role == "assistant" ? message.Text("reasoning_content", int.MaxValue) ?? message.Text("reasoning", int.MaxValue) : null;
        var content = calls.Length > 0 && !message.Has("content") ? "" : ReadContent(message, "content");
        return new ChatTurn(role, content)
        {
            Name = message.Text("name", MaxNameLength),
            ToolCalls = calls,
            Reasoning = reasoning,
            ToolCallId = role == "tool" ? message.Text("tool_call_id", MaxNameLength) : null,
        };
    }

    private static ChatToolCall[] ReadCalls(JsonFields message) => [.. (message.List("tool_calls", ToolReader.MaxTools) ?? []).Select((item, i) =>
    {
        var call = new JsonFields(item, $"{message.PathOf("tool_calls")}[{i}]");
        if ((call.Text("type", 64) ?? "function") != "function")
        {
            throw new ApiException(ApiError.Unsupported(call.PathOf("type"), $"{call.PathOf("type")}: expected function."));
        }

        var function = call.Object("function") ?? throw JsonFields.Invalid(call.PathOf("function"), "expected an object with name and arguments, found nothing");
        // some clients send the object itself instead of its text
        var arguments = function.Find("arguments") is { ValueKind: JsonValueKind.Object } given ? given.GetRawText() : function.Text("arguments", int.MaxValue) ?? "{}";
        return new ChatToolCall(
            call.Text("id", MaxNameLength),
            function.Text("name", MaxNameLength, 1) ?? throw JsonFields.Invalid(function.PathOf("name"), "expected a name, found nothing"),
            arguments);
    })];

    public static string ReadContent(JsonFields message, string field)
    {
        var path = message.PathOf(field);
        if (message.Find(field) is not { } content)
        {
            throw JsonFields.Invalid(path, "expected a text or a list of text parts, found nothing");
        }

        if (content.ValueKind != JsonValueKind.Array)
        {
            return content.ValueKind == JsonValueKind.String
                ? JsonFields.TextOf(content, path, int.MaxValue)
                : throw JsonFields.Wrong(path, "a text or a list of text parts", content);
        }

        return string.Concat(JsonFields.ListOf(content, path, MaxParts, 1).Select((item, i) =>
        {
            var part = new JsonFields(item, $"{path}[{i}]");
            var type = part.Text("type", 64);
            return type is "text" or "input_text" or "output_text" or "refusal"
                ? part.Text(type == "refusal" ? "refusal" : "text", int.MaxValue)
                    ?? throw JsonFields.Invalid(part.PathOf("text"), "expected a text, found nothing")
                : throw new ApiException(ApiError.Unsupported(part.PathOf("type"),
                    $"{part.PathOf("type")}: this server reads text only; expected a part of type text."));
        }));
    }

    /// <param name="effort">How much the model is to reason; null = its own way.</param>
    public static Dictionary<string, object> ReadArguments(JsonFields fields, string? effort, string effortPath)
    {
        var arguments = new Dictionary<string, object>(StringComparer.Ordinal);
        if (effort is not null)
        {
            AddEffort(arguments, effort, effortPath);
        }

        if (fields.Object("chat_template_kwargs") is not { } given)
        {
            return arguments;
        }

        foreach (var (name, value) in given.All())
        {
            var path = given.PathOf(name.Length > 64 ? name[..64] : name);
            if (!AllowedArguments.Contains(name))
            {
                throw new ApiException(ApiError.Unsupported(path,
                    $"{path}: expected one of {string.Join(", ", AllowedArguments.Order(StringComparer.Ordinal))}."));
            }

            arguments[name] = value.ValueKind switch
            {
                JsonValueKind.True => true,
                JsonValueKind.False => false,
                JsonValueKind.String => JsonFields.TextOf(value, path, 256),
                JsonValueKind.Number => value.TryGetInt64(out var whole) ? whole : value.GetDouble(),
                _ => throw JsonFields.Wrong(path, "true, false, a number or a text", value),
            };
        }

        return arguments;
    }

    /// <summary>Templates know an effort by its name, or a switch.</summary>
    private static void AddEffort(Dictionary<string, object> arguments, string effort, string path)
    {
        if (!Efforts.Contains(effort))
        {
            throw JsonFields.Invalid(path, $"expected one of {string.Join(", ", Efforts)}");
        }

        arguments["reasoning_effort"] = effort;
        if (effort == "none")
        {
            arguments["enable_thinking"] = arguments["thinking"] = false;
        }
    }
}
