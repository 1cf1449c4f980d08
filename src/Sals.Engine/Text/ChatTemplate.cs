using Sals.Engine.Text.Jinja;

namespace Sals.Engine.Text;

/// <summary>
/// Messages to a prompt, by the template that comes with a model. The template is not trusted: it can only read the values it is given, and
/// what it may cost is bounded. Message content stays marked through every operation, see <see cref="RenderedPrompt"/>. Thread-safe.
/// </summary>
public sealed class ChatTemplate
{
    private readonly Dictionary<string, Block> _templates;
    private readonly TokenizerConfig _config;
    private readonly TemplateLimits _limits;
    private readonly TimeProvider _time;

    private ChatTemplate(Dictionary<string, Block> templates, TokenizerConfig config, string source, TemplateLimits limits, TimeProvider time)
    {
        _templates = templates;
        _config = config;
        _limits = limits;
        _time = time;
        Source = source;
    }

    /// <summary>The default template as written; tool-call and reasoning formats are recognised from it.</summary>
    public string Source { get; }

    /// <summary>
    /// Reads the template of a folder: <paramref name="overrideFile"/>, else chat_template.jinja, else tokenizer_config.json:chat_template
    /// (a string, or a list of which "default" and "tool_use" are used). Null when the model has none.
    /// </summary>
    /// <exception cref="TemplateException">The template cannot be read; the message says the line.</exception>
    /// <exception cref="TokenizerException">tokenizer_config.json is not what it should be, or a file cannot be read.</exception>
    public static ChatTemplate? Load(string folder, string? overrideFile = null, TemplateLimits? limits = null, TimeProvider? time = null)
    {
        var config = TokenizerConfig.Read(folder);
        var sources = new Dictionary<string, string>(config.ChatTemplates, StringComparer.Ordinal);
        var file = overrideFile ?? Path.Combine(folder, "chat_template.jinja");
        if (overrideFile is not null || File.Exists(file))
        {
            sources = new Dictionary<string, string>(StringComparer.Ordinal) { ["default"] = ReadSource(file, (limits ?? TemplateLimits.Default).SourceLength) };
        }

        return sources.Count == 0 ? null : Create(sources, config, limits, time);
    }

    /// <summary>A template from its source.</summary>
    public static ChatTemplate Parse(string source, TokenizerConfig? config = null, TemplateLimits? limits = null, TimeProvider? time = null) =>
        Create(new Dictionary<string, string>(StringComparer.Ordinal) { ["default"] = source }, config ?? new TokenizerConfig(), limits, time);

    /// <summary>Renders.</summary>
    /// <param name="messages">A list of {role, content, ..}, see <see cref="JinjaValue.FromJson(System.Text.Json.JsonElement)"/>.</param>
    /// <param name="addGenerationPrompt">End with the header of an assistant's turn.</param>
    /// <param name="tools">A list of tool definitions; null = none.</param>
    /// <param name="variables">More variables by name (chat_template_kwargs, documents); these win over the template's own.</param>
    /// <exception cref="TemplateException">The template refuses the messages (<see cref="TemplateException.RaisedByTemplate"/>), fails or costs too much.</exception>
    public RenderedPrompt Render(
        JinjaValue messages, bool addGenerationPrompt, JinjaValue? tools = null, IReadOnlyDictionary<string, JinjaValue>? variables = null)
    {
        var given = new Dictionary<string, JinjaValue>(StringComparer.Ordinal)
        {
            ["messages"] = messages,
            ["tools"] = tools ?? JinjaValue.None,
            ["documents"] = JinjaValue.None,
            ["add_generation_prompt"] = JinjaValue.Of(addGenerationPrompt),
        };
        Define(given, "bos_token", _config.BosToken);
        Define(given, "eos_token", _config.EosToken);
        Define(given, "pad_token", _config.PadToken);
        Define(given, "unk_token", _config.UnkToken);
        foreach (var (name, value) in variables ?? new Dictionary<string, JinjaValue>())
        {
            given[name] = value;
        }

        var template = tools is not null && _templates.TryGetValue("tool_use", out var forTools) ? forTools : _templates["default"];
        return new Interpreter(_limits, _time).Render(template, given);
    }

    /// <summary>
    /// The prompt's ids. The template prints BOS itself where the model wants one, so none is added here; special tokens inside message
    /// content are plain text.
    /// </summary>
    public static List<int> EncodePrompt(Tokenizer tokenizer, RenderedPrompt prompt) => tokenizer.Encode(prompt, addSpecialTokens: false);

    private static void Define(Dictionary<string, JinjaValue> variables, string name, string? token)
    {
        if (token is not null)
        {
            variables[name] = new JinjaString(token, plain: false);
        }
    }

    private static ChatTemplate Create(Dictionary<string, string> sources, TokenizerConfig config, TemplateLimits? limits, TimeProvider? time)
    {
        limits ??= TemplateLimits.Default;
        var fallback = sources.TryGetValue("default", out var source) ? source : sources.OrderBy(pair => pair.Key, StringComparer.Ordinal).First().Value;
        var templates = new Dictionary<string, Block>(StringComparer.Ordinal) { ["default"] = Parser.Parse(fallback, limits) };
        if (sources.TryGetValue("tool_use", out var toolUse))
        {
            templates["tool_use"] = Parser.Parse(toolUse, limits);
        }

        return new ChatTemplate(templates, config, fallback, limits, time ?? TimeProvider.System);
    }

    private static string ReadSource(string path, int maxLength)
    {
        try
        {
            var length = new FileInfo(path).Length;
            return length <= maxLength * 4L ? File.ReadAllText(path) : throw new TokenizerException($"{path}: {length} bytes, at most {maxLength * 4L} are read");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TokenizerException($"{path}: cannot be read: {e.Message}", e);
        }
    }
}
