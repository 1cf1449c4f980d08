using System.Text.Json;

namespace Sals.Engine.Text;

/// <summary>
/// Reads tokenizer.json (Hugging Face tokenizers) of the BPE families. Hostile input: sizes, ids and types are checked, and
/// what is not supported is refused by name instead of being skipped.
/// </summary>
internal static class TokenizerJson
{
    /// <summary>Ids stay below this, whatever a file says; arrays are as long as the largest id.</summary>
    public const int MaxVocabulary = 1 << 22;

    private const long MaxBytes = 256L << 20;
    private const int MaxTokenLength = 4096;

    /// <exception cref="TokenizerException">With file, field, expected and found.</exception>
    public static Tokenizer Read(string path)
    {
        using var document = JsonFile.Open(path, MaxBytes);
        return Read(document.RootElement, Path.GetFileName(path));
    }

    /// <exception cref="TokenizerException">With field, expected and found.</exception>
    public static Tokenizer Read(JsonElement json, string name)
    {
        var root = new JsonField(json, name).Object();
        var model = root.Required("model");
        if (model.Member("type")?.String() is { } type && type != "BPE")
        {
            throw new TokenizerException($"{name}:model:type: \"{type}\" is not supported, only BPE");
        }

        Refuse(model, "continuing_subword_prefix");
        Refuse(model, "end_of_word_suffix");
        var vocabulary = ReadVocabulary(model.Required("vocab"));
        var merged = new List<string>();
        var merges = ReadMerges(model.Required("merges"), vocabulary, merged);
        var options = new BpeOptions
        {
            IgnoreMerges = model.Member("ignore_merges")?.Bool() ?? false,
            ByteFallback = model.Member("byte_fallback")?.Bool() ?? false,
            FuseUnknown = model.Member("fuse_unk")?.Bool() ?? false,
            UnknownToken = model.Member("unk_token")?.String(),
        };
        if (options.UnknownToken is { } unknown && !vocabulary.ContainsKey(unknown))
        {
            throw new TokenizerException($"{name}:model:unk_token: \"{unknown}\" is not in the vocabulary");
        }

        var (prefix, suffix) = TokenizerStages.Frame(root.Member("post_processor"));
        return new BpeTokenizer(new TokenizerParts
        {
            Vocabulary = vocabulary,
            AddedTokens = [.. root.Member("added_tokens")?.Items().Select(item => ReadAddedToken(item, item.Required("id").Int(0, MaxVocabulary - 1))) ?? []],
            Model = new BpeModel(vocabulary, merges, options, merged),
            Normalizer = root.Member("normalizer") is { } normalizer ? TokenizerStages.Normalizer(normalizer) : null,
            PreTokenizer = root.Member("pre_tokenizer") is { } splitter ? TokenizerStages.PreTokenizer(splitter) : null,
            Decoder = root.Member("decoder") is { } decoder ? TokenizerStages.Decoder(decoder) : null,
            Prefix = prefix,
            Suffix = suffix,
        });
    }

    /// <summary>An entry of added_tokens or of added_tokens_decoder.</summary>
    public static AddedToken ReadAddedToken(JsonField entry, int id)
    {
        var content = entry.Required("content").String();
        if (content.Length is 0 or > MaxTokenLength)
        {
            throw new TokenizerException($"{entry.Path}:content: {content.Length} characters, expected 1 to {MaxTokenLength}");
        }

        var special = entry.Member("special")?.Bool() ?? false;
        return new AddedToken(
            id,
            content,
            special,
            entry.Member("normalized")?.Bool() ?? !special,
            entry.Member("single_word")?.Bool() ?? false,
            entry.Member("lstrip")?.Bool() ?? false,
            entry.Member("rstrip")?.Bool() ?? false);
    }

    private static void Refuse(JsonField model, string name)
    {
        if (model.Member(name)?.String() is { Length: > 0 } value)
        {
            throw new TokenizerException($"{model.Path}:{name}: \"{value}\" is not supported");
        }
    }

    private static Dictionary<string, int> ReadVocabulary(JsonField field)
    {
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var (token, id) in field.Members())
        {
            vocabulary[token] = id.Int(0, MaxVocabulary - 1);
            if (vocabulary.Count > MaxVocabulary)
            {
                throw new TokenizerException($"{field.Path}: more than {MaxVocabulary} entries");
            }
        }

        return vocabulary.Count > 0 ? vocabulary : throw new TokenizerException($"{field.Path}: empty");
    }

    /// <summary>Merges are "a b" strings or [a, b] pairs; both parts and their concatenation are vocabulary entries.</summary>
    private static MergeTable ReadMerges(JsonField field, Dictionary<string, int> vocabulary, List<string> merged)
    {
        field.Items();
        var table = new MergeTable(field.Element.GetArrayLength());
        var rank = 0;
        foreach (var item in field.Element.EnumerateArray())
        {
            var (left, right) = Pair(item, field, rank);
            var token = left + right;
            if (!vocabulary.TryGetValue(left, out var leftId) || !vocabulary.TryGetValue(right, out var rightId)
                || !vocabulary.TryGetValue(token, out var mergedId))
            {
                throw new TokenizerException($"{field.Path}[{rank}]: \"{left}\" + \"{right}\": the parts or the result are not in the vocabulary");
            }

            table.Add(leftId, rightId, rank++, mergedId);
            merged.Add(token);
        }

        return table;
    }

    private static (string Left, string Right) Pair(JsonElement item, JsonField field, int rank)
    {
        if (item.ValueKind == JsonValueKind.Array && item.GetArrayLength() == 2)
        {
            return (new JsonField(item[0], $"{field.Path}[{rank}]").String(), new JsonField(item[1], $"{field.Path}[{rank}]").String());
        }

        var entry = new JsonField(item, $"{field.Path}[{rank}]");
        var text = entry.String();
        var space = text.IndexOf(' ');
        return space > 0 && space == text.LastIndexOf(' ') && space < text.Length - 1
            ? (text[..space], text[(space + 1)..])
            : throw entry.Unexpected("two tokens separated by one space");
    }
}
