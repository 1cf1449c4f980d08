using System.Text.Json;

namespace Sals.Engine.Text;

/// <summary>What is used of tokenizer_config.json: names of special tokens and, for sentencepiece files, how text is framed.</summary>
public sealed record TokenizerConfig
{
    private const long MaxBytes = 32L << 20;

    public string? BosToken { get; init; }

    public string? EosToken { get; init; }

    public string? PadToken { get; init; }

    public string? UnkToken { get; init; }

    /// <summary>Put BOS before an encoded text; null when the file does not say.</summary>
    public bool? AddBosToken { get; init; }

    public bool? AddEosToken { get; init; }

    /// <summary>Transformers' flag: true puts a space before every stretch of text, false only before the first.</summary>
    public bool Legacy { get; init; } = true;

    public bool? AddPrefixSpace { get; init; }

    /// <summary>Named templates; the unnamed one is "default".</summary>
    public IReadOnlyDictionary<string, string> ChatTemplates { get; init; } = new Dictionary<string, string>();

    internal IReadOnlyList<AddedToken> AddedTokens { get; init; } = [];

    /// <summary>Reads the folder's file; a folder without one gives the defaults.</summary>
    /// <exception cref="TokenizerException">The file is not what it should be.</exception>
    public static TokenizerConfig Read(string folder)
    {
        var path = Path.Combine(folder, "tokenizer_config.json");
        if (!File.Exists(path))
        {
            return new TokenizerConfig();
        }

        using var document = JsonFile.Open(path, MaxBytes);
        var root = new JsonField(document.RootElement, "tokenizer_config.json").Object();
        return new TokenizerConfig
        {
            BosToken = TokenName(root.Member("bos_token")),
            EosToken = TokenName(root.Member("eos_token")),
            PadToken = TokenName(root.Member("pad_token")),
            UnkToken = TokenName(root.Member("unk_token")),
            AddBosToken = root.Member("add_bos_token")?.Bool(),
            AddEosToken = root.Member("add_eos_token")?.Bool(),
            AddPrefixSpace = root.Member("add_prefix_space")?.Bool(),
            Legacy = root.Member("legacy")?.Bool() ?? true,
            ChatTemplates = Templates(root.Member("chat_template")),
            AddedTokens = Added(root.Member("added_tokens_decoder")),
        };
    }

    private static string? TokenName(JsonField? field) =>
        field is null ? null : field.Value.Element.ValueKind == JsonValueKind.Object ? field.Value.Required("content").String() : field.Value.String();

    private static Dictionary<string, string> Templates(JsonField? field)
    {
        var templates = new Dictionary<string, string>(StringComparer.Ordinal);
        if (field is { Element.ValueKind: JsonValueKind.Array } list)
        {
            foreach (var entry in list.Items())
            {
                templates[entry.Required("name").String()] = entry.Required("template").String();
            }
        }
        else if (field is { } single)
        {
            templates["default"] = single.String();
        }

        return templates;
    }

    private static List<AddedToken> Added(JsonField? field)
    {
        var tokens = new List<AddedToken>();
        foreach (var (id, entry) in field?.Members() ?? [])
        {
            if (!int.TryParse(id, out var value) || value is < 0 or >= TokenizerJson.MaxVocabulary)
            {
                throw new TokenizerException($"{field!.Value.Path}: \"{id}\" is not a token id below {TokenizerJson.MaxVocabulary}");
            }

            tokens.Add(TokenizerJson.ReadAddedToken(entry, value));
        }

        return tokens;
    }
}
