using System.Text.Json;
using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Grammar;
using Sals.Engine.Text.Answers;
using Sals.Server.Api.Wire;
using Sals.Server.Hosting;
using Sals.Server.Options;

namespace Sals.Server.Api;

/// <summary>Wire requests to <see cref="Call"/>: the only validation. Below it everything is valid.</summary>
public sealed class RequestReader
{
    /// <summary>OpenAI's bound on n.</summary>
    public const int MaxChoices = 128;

    private readonly LoadedModel _model;
    private readonly int _maxModelLength;
    private readonly int _slots;
    private readonly int _maxSequences;
    private readonly TimeProvider _time;
    private readonly SamplingReader _sampling;

    /// <param name="maxSequences">Choices a request may have over all of its prompts.</param>
    public RequestReader(LoadedModel model, BackendInfo info, SalsOptions options, int maxSequences, Func<ulong> nextSeed, TimeProvider time)
    {
        _model = model;
        _maxModelLength = info.MaxModelLength;
        _slots = info.SlotCount;
        _maxSequences = maxSequences;
        MaxLogProbabilities = options.MaxLogProbabilities;
        _time = time;
        Prompts = new PromptReader(model, info.MaxModelLength, maxSequences);
        _sampling = new SamplingReader(model, info.VocabularySize, nextSeed);
        Grammars = new GrammarReader(model, info.VocabularySize);
        Tools = new ToolReader(model.Formats, options.AutoToolChoice);
    }

    /// <summary>Fields that are acted on somewhere.</summary>
    public static IReadOnlySet<string> KnownFields { get; } = new HashSet<string>(SamplingReader.Names.Concat(GrammarReader.Names).Concat(ToolReader.Names), StringComparer.Ordinal)
    {
        "messages", "model", "max_completion_tokens", "max_tokens", "n", "best_of", "logprobs", "top_logprobs", "stream", "stream_options",
        "modalities", "include_stop_str_in_output", "skip_special_tokens", "truncate_prompt_tokens",
        "continue_final_message", "add_generation_prompt", "chat_template_kwargs", "priority", "cache_salt", "return_token_ids", "length_penalty", "truncation_side",
        "prompt", "echo", "add_special_tokens", "prompt_logprobs", "return_tokens_as_token_ids", "reasoning_effort", "include_reasoning",
    };

    public PromptReader Prompts { get; }

    public GrammarReader Grammars { get; }

    public ToolReader Tools { get; }

    public AnswerFormats Formats => _model.Formats;

    public int MaxLogProbabilities { get; }

    public Call ReadChat(JsonElement body)
    {
        var fields = new JsonFields(body);
        var model = ReadModel(fields);
        FieldPolicy.Check(fields);
        var (prompt, tools, start) = ReadChatPrompt(fields);
        var wanted = fields.Bool("logprobs") ?? false;
        var top = (int?)fields.Integer("top_logprobs", 0, MaxLogProbabilities);
        if (top > 0 && !wanted)
        {
            throw JsonFields.Invalid("top_logprobs", "expected logprobs to be true with it");
        }

        var form = ReadForm(fields) with
        {
            LogProbabilities = wanted ? top ?? 0 : -1,
            Layout = LayoutOf(tools, start),
            ShowReasoning = fields.Bool("include_reasoning") ?? true,
        };
        var limit = fields.Integer("max_completion_tokens", 1, int.MaxValue) is { } newer ? ("max_completion_tokens", newer)
            : fields.Integer("max_tokens", 1, int.MaxValue) is { } older ? ("max_tokens", older)
            : ((string, long)?)null;
        var grammar = Grammars.Compile(fields, GrammarReader.Read(fields), tools, start);
        return ReadCall("chatcmpl-", model, fields, [prompt], form, limit, "messages", grammar);
    }

    /// <summary>"messages" and "tools" to the prompt, and where the answer to it begins.</summary>
    public (int[] Ids, ToolUse Tools, ReasoningStart Start) ReadChatPrompt(JsonFields fields)
    {
        var tools = Tools.Read(fields, flat: false);
        var (ids, text) = Prompts.Render(MessageReader.Read(fields) with { Tools = tools.Shown }, "messages");
        return (ids, tools, _model.Formats.After(text));
    }

    /// <summary>What an answer may consist of.</summary>
    public AnswerLayout LayoutOf(ToolUse tools, ReasoningStart start) => tools.Choice == ToolChoice.None && start == ReasoningStart.Closed ? AnswerLayout.Plain : new()
    {
        Reasoning = start,
        Calls = tools.Choice == ToolChoice.None ? null : _model.Formats.Calls,
        ToolNames = tools.Callable.Select(tool => tool.Name).ToHashSet(StringComparer.Ordinal),
        OneCall = !tools.Several && tools.Choice != ToolChoice.None,
    };

    public Call ReadCompletion(JsonElement body)
    {
        var fields = new JsonFields(body);
        var model = ReadModel(fields);
        FieldPolicy.Check(fields);
        var prompts = Prompts.ReadCompletion(fields);
        var form = ReadForm(fields) with
        {
            // some clients send false for none
            LogProbabilities = fields.Find("logprobs") is { ValueKind: not JsonValueKind.False }
                ? (int)fields.Integer("logprobs", 0, MaxLogProbabilities)! : -1,
            Echo = fields.Bool("echo") ?? false,
        };
        // OpenAI's default for completions is 16; 0 makes sense only where the answer is about the prompt
        var least = form.Echo || form.PromptLogProbabilities >= 0 ? 0 : 1;
        var limit = ("max_tokens", fields.Integer("max_tokens", least, int.MaxValue) ?? Math.Min(16, Room(prompts)));
        var grammar = Grammars.Compile(fields, GrammarReader.Read(fields), ToolUse.None, ReasoningStart.Closed);
        return ReadCall("cmpl-", model, fields, prompts, form, limit, "prompt", grammar);
    }

    /// <summary>The fields that all routes share, with what each reads in its own way.</summary>
    /// <param name="limit">Most tokens, and the field that says so.</param>
    /// <param name="promptField">Where the prompt came from, for messages.</param>
    public Call ReadCall(
        string idPrefix, string model, JsonFields fields, int[][] prompts, AnswerForm form, (string Field, long Tokens)? limit, string promptField,
        TokenGrammar? grammar)
    {
        var n = (int)(fields.Integer("n", 1, MaxChoices) ?? 1);
        if (n > _slots)
        {
            throw JsonFields.Invalid("n", $"expected at most {_slots}, the sequences this server runs at the same time, found {n}");
        }

        if ((long)n * prompts.Length > _maxSequences)
        {
            throw JsonFields.Invalid("n", $"expected at most {_maxSequences} choices over all prompts, found {n * prompts.Length}");
        }

        var id = idPrefix + RequestId.New();
        var salt = fields.Text("cache_salt", 1024, 1);
        var priority = (int)(fields.Integer("priority", int.MinValue, int.MaxValue) ?? 0);
        var requests = prompts.Select((ids, p) =>
        {
            var prompt = Truncate(fields, ids);
            var room = _maxModelLength - prompt.Length;
            if (prompt.Length == 0)
            {
                throw JsonFields.Invalid(promptField, "expected a prompt of at least one token");
            }

            if (room < 1 || limit?.Tokens > room)
            {
                throw new ApiException(ApiError.ContextLength(room < 1 ? promptField : limit!.Value.Field, _maxModelLength, prompt.Length, limit?.Tokens ?? 0));
            }

            var maxTokens = (int)Math.Max(1, limit?.Tokens ?? Math.Min(room, _model.Defaults.MaxNewTokens ?? room));
            var (sampling, stopIds, allowed) = _sampling.Read(fields, form.LogProbabilities, maxTokens);
            return new GenerationRequest
            {
                Id = prompts.Length == 1 ? id : $"{id}-{p}",
                Prompt = prompt,
                Sampling = grammar is null ? sampling : Grammars.Fit(sampling),
                MaxTokens = maxTokens,
                Choices = n,
                StopTokenIds = stopIds,
                AllowedTokens = allowed,
                Grammar = grammar,
                CacheSalt = salt,
                Priority = priority,
            };
        }).ToArray();
        return new Call
        {
            Id = id,
            Model = model,
            Created = _time.GetUtcNow().ToUnixTimeSeconds(),
            Requests = requests,
            Form = form,
            ScoreOnly = limit?.Tokens == 0,
        };
    }

    /// <summary>A missing model is the first one: many tools leave it out when a server has only one.</summary>
    public string ReadModel(JsonFields fields)
    {
        var name = fields.Text("model", 1024) ?? _model.Names[0];
        return _model.Names.Contains(name, StringComparer.Ordinal) ? name : throw new ApiException(ApiError.ModelNotFound(name));
    }

    public AnswerForm ReadForm(JsonFields fields)
    {
        var stream = fields.Bool("stream") ?? false;
        var options = fields.Object("stream_options");
        if (options is not null && !stream)
        {
            throw JsonFields.Invalid("stream_options", "expected stream to be true with it");
        }

        var stop = SamplingReader.ReadStop(fields);
        if (stop.Length > 0)
        {
            Prompts.Tokenizer("stop");
        }

        var promptLogProbabilities = fields.Integer("prompt_logprobs", 0, MaxLogProbabilities);
        if (promptLogProbabilities is not null && stream)
        {
            throw JsonFields.Invalid("prompt_logprobs", "expected stream to be false with it");
        }

        var continuous = options?.Bool("continuous_usage_stats") ?? false;
        return new AnswerForm
        {
            Stream = stream,
            IncludeUsage = options?.Bool("include_usage") ?? false,
            ContinuousUsage = continuous,
            Stop = stop,
            IncludeStop = fields.Bool("include_stop_str_in_output") ?? false,
            SkipSpecialTokens = fields.Bool("skip_special_tokens") ?? true,
            PromptLogProbabilities = (int?)promptLogProbabilities ?? -1,
            TokensAsIds = fields.Bool("return_tokens_as_token_ids") ?? false,
            ReturnTokenIds = fields.Bool("return_token_ids") ?? _model.Tokenizer is null,
        };
    }

    private long Room(int[][] prompts) => Math.Max(1, _maxModelLength - prompts.Max(prompt => prompt.Length));

    /// <summary>truncate_prompt_tokens: keeps the last tokens, only when asked.</summary>
    private int[] Truncate(JsonFields fields, int[] prompt)
    {
        var keep = fields.Integer("truncate_prompt_tokens", -1, int.MaxValue) switch
        {
            null => prompt.Length,
            -1 => _maxModelLength - 1,
            0 => throw JsonFields.Invalid("truncate_prompt_tokens", "expected at least 1, or -1 for the model's length"),
            { } count => (int)count,
        };
        return prompt.Length > keep ? prompt[^keep..] : prompt;
    }
}
