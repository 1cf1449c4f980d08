using System.Text.Json;
using System.Text.Json.Nodes;
using Sals.Engine.Grammar;
using Sals.Server.Api.Wire;
using Sals.Server.Hosting;

namespace Sals.Server.Api;

/// <summary>"tools", "tool_choice" and "parallel_tool_calls", in the nested form of the chat API or the flat one of the Responses API.</summary>
public sealed class ToolReader
{
    public const int MaxTools = 128;
    public const int MaxName = 128;

    /// <summary>Fields this reader acts on.</summary>
    public static readonly IReadOnlyList<string> Names = ["tools", "tool_choice", "parallel_tool_calls"];

    private readonly AnswerFormats _formats;
    private readonly bool _autoAllowed;

    /// <param name="autoAllowed">--enable-auto-tool-choice.</param>
    public ToolReader(AnswerFormats formats, bool autoAllowed)
    {
        _formats = formats;
        _autoAllowed = autoAllowed;
    }

    /// <param name="flat">A tool is {type, name, parameters} instead of {type, function: {name, parameters}}.</param>
    /// <exception cref="ApiException">Not understood, or not supported by this model.</exception>
    public ToolUse Read(JsonFields fields, bool flat)
    {
        var items = fields.List("tools", MaxTools) ?? [];
        var several = fields.Bool("parallel_tool_calls") ?? true;
        var (choice, names) = ReadChoice(fields, items.Length > 0, flat);
        var tools = items.Select((item, i) => ReadTool(new JsonFields(item, $"tools[{i}]"), item, flat)).ToArray();
        var twice = tools.GroupBy(tool => tool.Signature.Name, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1);
        if (twice is not null)
        {
            throw JsonFields.Invalid("tools", $"expected each name once, found '{twice.Key}' more often");
        }

        if (choice == ToolChoice.None || tools.Length == 0)
        {
            return ToolUse.None;
        }

        if (choice == ToolChoice.Auto && !(_autoAllowed && _formats.CallsKnown))
        {
            throw new ApiException(ApiError.Unsupported("tool_choice", _autoAllowed
                ? "tool_choice: auto needs a chat template that shows tools to the model in a known form, which this model's does not; start the server with --chat-template or --tool-call-parser, or ask for required or a named function."
                : "tool_choice: auto is switched off on this server (--no-enable-auto-tool-choice); ask for required, a named function or none."));
        }

        var callable = names is null ? tools : [.. names.Select((name, i) => Array.Find(tools, tool => tool.Signature.Name == name)
            ?? throw JsonFields.Invalid("tool_choice", "expected the name of a function among the tools"))];
        return new ToolUse
        {
            Choice = choice,
            // a restriction to some tools under auto can only be kept by not showing the others
            Shown = [.. (choice == ToolChoice.Auto ? callable : tools).Select(tool => tool.Shown)],
            Callable = [.. callable.Select(tool => tool.Signature)],
            Several = several,
        };
    }

    /// <returns>The choice, and the functions it is limited to; null = all.</returns>
    private static (ToolChoice Choice, string[]? Names) ReadChoice(JsonFields fields, bool hasTools, bool flat)
    {
        if (fields.Find("tool_choice") is not { } value)
        {
            return (ToolChoice.Auto, null);
        }

        (ToolChoice, string[]?) read;
        if (value.ValueKind == JsonValueKind.String)
        {
            read = (WordOf(value, "tool_choice"), null);
        }
        else
        {
            var choice = new JsonFields(value, "tool_choice");
            read = choice.Text("type", 64) switch
            {
                "function" => (ToolChoice.Required, [NameOf(choice, flat)]),
                "allowed_tools" => ReadAllowed(flat ? choice : choice.Object("allowed_tools")
                    ?? throw JsonFields.Invalid("tool_choice.allowed_tools", "expected an object with mode and tools, found nothing"), flat),
                _ => throw new ApiException(ApiError.Unsupported("tool_choice.type", "tool_choice.type: expected function or allowed_tools.")),
            };
        }

        return hasTools || read.Item1 != ToolChoice.Required ? read : throw JsonFields.Invalid("tool_choice", "expected tools with it");
    }

    private static (ToolChoice, string[]?) ReadAllowed(JsonFields allowed, bool flat)
    {
        var mode = allowed.Find("mode") is { } value ? WordOf(value, allowed.PathOf("mode")) : ToolChoice.Auto;
        var tools = allowed.List("tools", MaxTools, 1) ?? throw JsonFields.Invalid(allowed.PathOf("tools"), "expected a list of functions, found nothing");
        return (mode, [.. tools.Select((item, i) => NameOf(new JsonFields(item, $"{allowed.PathOf("tools")}[{i}]"), flat)).Distinct()]);
    }

    private static ToolChoice WordOf(JsonElement value, string path) => JsonFields.TextOf(value, path, 64) switch
    {
        "none" => ToolChoice.None,
        "auto" => ToolChoice.Auto,
        "required" => ToolChoice.Required,
        _ => throw JsonFields.Invalid(path, "expected none, auto, required or a function"),
    };

    private static string NameOf(JsonFields tool, bool flat)
    {
        var function = flat ? tool : tool.Object("function") ?? throw JsonFields.Invalid(tool.PathOf("function"), "expected an object with a name, found nothing");
        return function.Text("name", MaxName, 1) ?? throw JsonFields.Invalid(function.PathOf("name"), "expected a name, found nothing");
    }

    private static Tool ReadTool(JsonFields tool, JsonElement item, bool flat)
    {
        if (tool.Text("type", 64) is not "function" and var type)
        {
            throw new ApiException(ApiError.Unsupported(tool.PathOf("type"), type is null
                ? $"{tool.PathOf("type")}: expected function, found nothing."
                : $"{tool.PathOf("type")}: this server has no tools of its own and calls none; expected function."));
        }

        var name = NameOf(tool, flat);
        var function = flat ? tool : tool.Object("function")!.Value;
        if (!name.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.'))
        {
            throw JsonFields.Invalid(function.PathOf("name"), $"expected up to {MaxName} letters, digits, underscores, dashes and dots");
        }

        _ = function.Text("description", 1 << 20);
        // calls that have to be made always fit their schema; auto leaves the model free
        _ = function.Bool("strict");
        var parameters = function.Object("parameters") is not null ? function.Find("parameters") : null;
        return new Tool(new ToolSignature(name, parameters, function.PathOf("parameters")), flat ? Nest(item) : item);
    }

    /// <summary>The chat API's form of a flat definition.</summary>
    private static JsonElement Nest(JsonElement item)
    {
        var function = new JsonObject();
        foreach (var property in item.EnumerateObject().Where(property => property.Name != "type"))
        {
            function[property.Name] = JsonNode.Parse(property.Value.GetRawText());
        }

        return JsonElement.Parse(new JsonObject { ["type"] = "function", ["function"] = function }.ToJsonString());
    }

    private sealed record Tool(ToolSignature Signature, JsonElement Shown);
}
