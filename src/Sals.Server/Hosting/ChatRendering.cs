using System.Text.Json;
using System.Text.Json.Nodes;
using Sals.Engine.Text;
using Sals.Engine.Text.Jinja;
using Sals.Server.Api;

namespace Sals.Server.Hosting;

/// <summary>A model's chat template as the reader of requests uses it.</summary>
public static class ChatRendering
{
    public static ChatRenderer With(ChatTemplate template)
    {
        // OpenAI's newer name of the system role; templates that do not know it would drop or refuse the message
        var knowsDeveloper = template.Source.Contains("developer", StringComparison.Ordinal);
        return prompt =>
        {
            var messages = new JsonArray([.. prompt.Turns.Select(turn => Message(turn, knowsDeveloper))]);
            var variables = prompt.Arguments.ToDictionary(pair => pair.Key, pair => JinjaValue.FromJson(Value(pair.Value)));
            try
            {
                var tools = prompt.Tools.Count == 0 ? null : new JinjaList([.. prompt.Tools.Select(JinjaValue.FromJson)]);
                var rendered = template.Render(JinjaValue.FromJson(messages), prompt.AddGenerationPrompt, tools, variables);
                return prompt.ContinueFinalMessage ? CutAfterLastMessage(rendered) : rendered;
            }
            catch (TemplateException exception)
            {
                throw new ApiException(ApiError.Invalid("messages", exception.Message));
            }
        };
    }

    private static JsonObject Message(ChatTurn turn, bool knowsDeveloper)
    {
        var message = new JsonObject
        {
            ["role"] = turn.Role == "developer" && !knowsDeveloper ? "system" : turn.Role,
            ["content"] = turn.Content,
        };
        if (turn.Name is not null)
        {
            message["name"] = turn.Name;
        }

        if (turn.ToolCalls.Count > 0)
        {
            message["tool_calls"] = new JsonArray([.. turn.ToolCalls.Select(Call)]);
        }

        if (turn.Reasoning is not null)
        {
            message["reasoning_content"] = turn.Reasoning;
        }

        if (turn.ToolCallId is not null)
        {
            message["tool_call_id"] = turn.ToolCallId;
        }

        return message;
    }

    /// <summary>Templates print arguments as JSON; what is no JSON object is given as the text it is, so that one bad call does not end a conversation.</summary>
    private static JsonObject Call(ChatToolCall call) => new()
    {
        ["id"] = call.Id,
        ["type"] = "function",
        ["function"] = new JsonObject { ["name"] = call.Name, ["arguments"] = Object(call.Arguments) ?? (JsonNode)JsonValue.Create(call.Arguments) },
    };

    private static JsonObject? Object(string text)
    {
        try
        {
            var element = JsonElement.Parse(text.Length == 0 ? "{}" : text);
            return element.ValueKind == JsonValueKind.Object ? JsonObject.Create(element) : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static JsonValue Value(object argument) => argument switch
    {
        bool value => JsonValue.Create(value),
        long value => JsonValue.Create(value),
        double value => JsonValue.Create(value),
        _ => JsonValue.Create((string)argument),
    };

    /// <summary>What a template prints after the last content would end the message that is to go on.</summary>
    private static RenderedPrompt CutAfterLastMessage(RenderedPrompt rendered)
    {
        if (rendered.PlainText.Count == 0)
        {
            throw new ApiException(ApiError.Invalid("continue_final_message", "continue_final_message: the chat template does not print the last message's content."));
        }

        var (start, length) = rendered.PlainText[^1];
        return rendered with { Text = rendered.Text[..(start + length)] };
    }
}
