using System.Text.Json;
using Sals.Engine.Text;
using Sals.Server.Api.Wire;
using Sals.Server.Hosting;

namespace Sals.Server.Api;

/// <summary>Prompts of requests to token ids, with the checks that keep huge or broken ones from costing work.</summary>
public sealed class PromptReader
{
    private readonly LoadedModel _model;
    private readonly int _maxModelLength;
    private readonly int _maxPrompts;
    private readonly int _longestToken;

    public PromptReader(LoadedModel model, int maxModelLength, int maxPrompts)
    {
        _model = model;
        _maxModelLength = maxModelLength;
        _maxPrompts = maxPrompts;
        _longestToken = LongestToken(model.Tokenizer);
    }

    /// <param name="field">Where the conversation came from, for messages.</param>
    /// <returns>The prompt's ids, and its text.</returns>
    public (int[] Ids, string Text) Render(ChatPrompt prompt, string field)
    {
        if (_model.Template is not { } template)
        {
            throw new ApiException(ApiError.Invalid(null,
                "The model has no chat template: use /v1/completions, or start the server with --chat-template."));
        }

        CheckLength(field, prompt.Turns.Sum(turn => turn.Length));
        var rendered = template(prompt);
        CheckLength(field, rendered.Text.Length);
        // the template prints the beginning-of-text token itself; a second one is the classic mistake
        return (Known(Tokenizer(field).Encode(rendered, addSpecialTokens: false), field), rendered.Text);
    }

    /// <summary>"prompt": a text, texts, ids, or lists of ids.</summary>
    public int[][] ReadCompletion(JsonFields fields)
    {
        if (fields.Find("prompt") is not { } value)
        {
            throw JsonFields.Invalid("prompt", "expected a text, a list of texts, a list of token ids or a list of such lists, found nothing");
        }

        var special = fields.Bool("add_special_tokens") ?? true;
        if (value.ValueKind == JsonValueKind.String)
        {
            return [Encode(value, "prompt", special)];
        }

        var items = JsonFields.ListOf(value, "prompt", int.MaxValue, 1);
        if (items[0].ValueKind == JsonValueKind.Number)
        {
            return [ReadIds(value, "prompt")];
        }

        if (items.Length > _maxPrompts)
        {
            throw JsonFields.Invalid("prompt", $"expected at most {_maxPrompts} prompts, found {items.Length}");
        }

        return [.. items.Select((item, i) => item.ValueKind switch
        {
            JsonValueKind.String => Encode(item, $"prompt[{i}]", special),
            JsonValueKind.Array => ReadIds(item, $"prompt[{i}]"),
            _ => throw JsonFields.Wrong($"prompt[{i}]", "a text or a list of token ids", item),
        })];
    }

    public int[] ReadIds(JsonElement value, string path)
    {
        var items = JsonFields.ListOf(value, path, int.MaxValue, 1);
        if (items.Length >= _maxModelLength)
        {
            throw new ApiException(ApiError.ContextLength(path, _maxModelLength, items.Length, 0));
        }

        return [.. items.Select((item, i) => (int)JsonFields.IntegerOf(item, $"{path}[{i}]", 0, _model.VocabularySize - 1))];
    }

    public int[] Encode(JsonElement value, string path, bool addSpecialTokens)
    {
        var text = JsonFields.TextOf(value, path, int.MaxValue, 1);
        CheckLength(path, text.Length);
        return Known(Tokenizer(path).Encode(text, addSpecialTokens, parseSpecialTokens: true), path);
    }

    public Tokenizer Tokenizer(string path) => _model.Tokenizer ?? throw new ApiException(
        ApiError.Invalid(path, $"{path}: this server has no tokenizer (--skip-tokenizer-init); send token ids to /v1/completions."));

    /// <summary>A tokenizer may have tokens (often added ones) for which the model has no embedding.</summary>
    private int[] Known(List<int> ids, string path) =>
        ids.FindIndex(id => id >= _model.VocabularySize) is var unknown and >= 0
            ? throw JsonFields.Invalid(path, $"the tokenizer makes token {ids[unknown]} of it, but the model has only {_model.VocabularySize}")
            : [.. ids];

    /// <summary>Refuses before tokenising what cannot fit: a token has at most so many characters.</summary>
    private void CheckLength(string path, long characters)
    {
        var least = characters / _longestToken;
        if (least >= _maxModelLength)
        {
            throw new ApiException(ApiError.ContextLength(path, _maxModelLength, least, 0));
        }
    }

    private static int LongestToken(Tokenizer? tokenizer)
    {
        var longest = 1;
        for (var id = 0; id < (tokenizer?.VocabularySize ?? 0); id++)
        {
            longest = Math.Max(longest, tokenizer!.TokenBytes(id).Length);
        }

        return longest;
    }
}
