using System.Text.Json;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>"input" and "instructions" of the Responses API as a conversation. What an assistant said, thought and called between two other items is one turn.</summary>
public static class ResponseInput
{
    public const int MaxItems = MessageReader.MaxMessages;

    public static List<ChatTurn> Read(JsonFields fields)
    {
        var turns = new List<ChatTurn>();
        if (fields.Text("instructions", int.MaxValue) is { } instructions)
        {
            turns.Add(new ChatTurn("system", instructions));
        }

        if (fields.Find("input") is not { } input)
        {
            throw JsonFields.Invalid("input", "expected a text or a list of items, found nothing");
        }

        if (input.ValueKind == JsonValueKind.String)
        {
            turns.Add(new ChatTurn("user", JsonFields.TextOf(input, "input", int.MaxValue)));
            return turns;
        }

        if (input.ValueKind != JsonValueKind.Array)
        {
            throw JsonFields.Wrong("input", "a text or a list of items", input);
        }

        foreach (var (i, item) in JsonFields.ListOf(input, "input", MaxItems, 1).Index())
        {
            Add(turns, new JsonFields(item, $"input[{i}]"));
        }

        return turns;
    }

    private static void Add(List<ChatTurn> turns, JsonFields item)
    {
        switch (item.Text("type", 64) ?? "message")
        {
            case "message":
                var message = MessageReader.ReadTurn(item, ["system", "developer", "user", "assistant"]);
                if (message.Role == "assistant" && turns.LastOrDefault() is { Role: "assistant", Content: "", ToolCalls.Count: 0, Reasoning: not null } thought)
                {
                    turns[^1] = thought with { Content = message.Content };
                }
                else
                {
                    turns.Add(message);
                }

                break;
            case "reasoning":
                var text = string.Concat((item.List("content", MessageReader.MaxParts) ?? []).Select((part, i) =>
                    new JsonFields(part, $"{item.PathOf("content")}[{i}]").Text("text", int.MaxValue)));
                turns.Add(new ChatTurn("assistant", "") { Reasoning = text });
                break;
            case "function_call":
                var call = new ChatToolCall(Required(item, "call_id"), Required(item, "name"), item.Text("arguments", int.MaxValue) ?? "{}");
                if (turns.LastOrDefault() is { Role: "assistant" } last)
                {
                    turns[^1] = last with { ToolCalls = [.. last.ToolCalls, call] };
                }
                else
                {
                    turns.Add(new ChatTurn("assistant", "") { ToolCalls = [call] });
                }

                break;
            case "function_call_output":
                turns.Add(new ChatTurn("tool", MessageReader.ReadContent(item, "output")) { ToolCallId = Required(item, "call_id") });
                break;
            case "item_reference":
                throw new ApiException(ApiError.Unsupported(item.PathOf("type"), $"{item.PathOf("type")}: this server stores no items; send the item itself."));
            default:
                throw new ApiException(ApiError.Unsupported(item.PathOf("type"), $"{item.PathOf("type")}: expected message, function_call, function_call_output or reasoning."));
        }
    }

    private static string Required(JsonFields item, string name) =>
        item.Text(name, MessageReader.MaxNameLength, 1) ?? throw JsonFields.Invalid(item.PathOf(name), "expected a text, found nothing");
}
