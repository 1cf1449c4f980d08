using System.Text;

namespace Sals.Engine.Text;

/// <summary>
/// Reads tokenizer.model, a protobuf of sentencepiece, of type BPE with byte fallback (Llama 2, Mistral). Pieces carry scores instead of
/// merges: two neighbours may merge when their concatenation is a piece, and the best score goes first.
/// </summary>
internal static class SentencePieceModel
{
    private const long MaxBytes = 64L << 20;
    private const int MaxPieceLength = 1024;
    private const char Mark = '\u2581';

    private enum PieceType
    {
        Normal = 1,
        Unknown = 2,
        Control = 3,
        UserDefined = 4,
        Unused = 5,
        Byte = 6,
    }

    /// <exception cref="TokenizerException">With file, what was expected and found.</exception>
    public static Tokenizer Read(string path, TokenizerConfig config)
    {
        try
        {
            var length = new FileInfo(path).Length;
            return length <= MaxBytes
                ? Read(File.ReadAllBytes(path), Path.GetFileName(path), config)
                : throw new TokenizerException($"{path}: {length} bytes, at most {MaxBytes} are read");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TokenizerException($"{path}: cannot be read: {e.Message}", e);
        }
    }

    public static Tokenizer Read(ReadOnlySpan<byte> bytes, string file, TokenizerConfig config)
    {
        var model = Parse(bytes, file);
        if (model.Type != 2)
        {
            throw new TokenizerException($"{file}: model_type {model.Type} is not supported, only 2 (BPE)");
        }

        if (model.HasCharacterMap)
        {
            throw new TokenizerException($"{file}: a precompiled character map (normalisation other than identity) is not supported");
        }

        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal);
        for (var id = 0; id < model.Pieces.Count; id++)
        {
            vocabulary.TryAdd(model.Pieces[id].Text, id);
        }

        var merges = Merges(model, vocabulary, out var merged);
        var unknown = model.Pieces.Find(piece => piece.Type == PieceType.Unknown).Text;
        var options = new BpeOptions { ByteFallback = model.Pieces.Exists(piece => piece.Type == PieceType.Byte), FuseUnknown = true, UnknownToken = unknown };
        var prefix = config.AddPrefixSpace ?? model.AddDummyPrefix;
        return new BpeTokenizer(new TokenizerParts
        {
            Vocabulary = vocabulary,
            AddedTokens = AddedTokens(model, config),
            Model = new BpeModel(vocabulary, merges, options, merged),
            Normalizer = Normalizer(model, prefix && config.Legacy),
            PreTokenizer = prefix && !config.Legacy ? new PreTokenizer.Metaspace(Mark, MetaspacePrepend.First, split: false) : null,
            Decoder = new Decoder.Chain(
            [
                new Decoder.Replace(Mark.ToString(), " "), new Decoder.ByteFallback(), new Decoder.Fuse(), .. prefix ? [new Decoder.Strip(' ', 1, 0)] : Array.Empty<Decoder>(),
            ]),
            Prefix = config.AddBosToken ?? true ? Ids(config.BosToken, "<s>", vocabulary) : [],
            Suffix = config.AddEosToken ?? false ? Ids(config.EosToken, "</s>", vocabulary) : [],
        });
    }

    private static int[] Ids(string? name, string usual, Dictionary<string, int> vocabulary) => vocabulary.TryGetValue(name ?? usual, out var id) ? [id] : [];

    private static Normalizer.Chain Normalizer(Model model, bool prepend)
    {
        var steps = new List<Normalizer>();
        if (model.RemoveExtraSpaces)
        {
            steps.Add(new Normalizer.CollapseSpaces());
        }

        if (prepend)
        {
            steps.Add(new Normalizer.Prepend(Mark.ToString()));
        }

        steps.Add(new Normalizer.ReplaceLiteral(" ", Mark.ToString()));
        return new Normalizer.Chain(steps);
    }

    /// <summary>Control pieces are special tokens; the configuration may add more.</summary>
    private static List<AddedToken> AddedTokens(Model model, TokenizerConfig config)
    {
        var tokens = new List<AddedToken>();
        for (var id = 0; id < model.Pieces.Count; id++)
        {
            var piece = model.Pieces[id];
            if (piece.Type is PieceType.Control or PieceType.Unknown or PieceType.UserDefined && piece.Text.Length > 0)
            {
                tokens.Add(new AddedToken(id, piece.Text, piece.Type != PieceType.UserDefined, Normalized: false, SingleWord: false, StripLeft: false, StripRight: false));
            }
        }

        foreach (var token in config.AddedTokens)
        {
            tokens.RemoveAll(known => known.Id == token.Id || known.Content == token.Content);
            tokens.Add(token);
        }

        return tokens;
    }

    private static MergeTable Merges(Model model, Dictionary<string, int> vocabulary, out List<string> merged)
    {
        var lookup = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        var found = new List<(float Score, int Left, int Right, int Id)>();
        for (var id = 0; id < model.Pieces.Count; id++)
        {
            var (text, score, type) = model.Pieces[id];
            for (var cut = 1; cut < text.Length && type is PieceType.Normal or PieceType.UserDefined; cut++)
            {
                if (cut < text.Length && !char.IsLowSurrogate(text[cut])
                    && lookup.TryGetValue(text.AsSpan(0, cut), out var left) && lookup.TryGetValue(text.AsSpan(cut), out var right))
                {
                    found.Add((score, left, right, id));
                }
            }
        }

        merged = [.. found.Select(merge => model.Pieces[merge.Id].Text)];
        var table = new MergeTable(found.Count);
        var rank = -1;
        float? last = null;
        foreach (var (score, left, right, id) in found.OrderByDescending(merge => merge.Score))
        {
            rank += score == last ? 0 : 1;
            last = score;
            table.Add(left, right, rank, id);
        }

        return table;
    }

    private static Model Parse(ReadOnlySpan<byte> bytes, string file)
    {
        var model = new Model();
        var reader = new ProtobufReader(bytes, file);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    model.Pieces.Add(ParsePiece(reader.Bytes(), file));
                    if (model.Pieces.Count > TokenizerJson.MaxVocabulary)
                    {
                        throw new TokenizerException($"{file}: more than {TokenizerJson.MaxVocabulary} pieces");
                    }

                    break;
                case 2:
                    ParseTrainer(reader.Bytes(), file, model);
                    break;
                case 3:
                    ParseNormalizer(reader.Bytes(), file, model);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return model.Pieces.Count > 0 ? model : throw new TokenizerException($"{file}: not a sentencepiece model: no pieces");
    }

    private static (string Text, float Score, PieceType Type) ParsePiece(ReadOnlySpan<byte> bytes, string file)
    {
        var text = "";
        var score = 0f;
        var type = PieceType.Normal;
        var reader = new ProtobufReader(bytes, file);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 1:
                    text = Encoding.UTF8.GetString(reader.Bytes());
                    break;
                case 2:
                    score = reader.Float();
                    break;
                case 3:
                    type = (PieceType)reader.Integer();
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return text.Length <= MaxPieceLength && float.IsFinite(score)
            ? (text, score, type)
            : throw new TokenizerException($"{file}: a piece of {text.Length} characters (at most {MaxPieceLength}) with score {score}");
    }

    private static void ParseTrainer(ReadOnlySpan<byte> bytes, string file, Model model)
    {
        var reader = new ProtobufReader(bytes, file);
        while (reader.Next())
        {
            if (reader.Field == 3)
            {
                model.Type = (int)reader.Integer();
            }
            else
            {
                reader.Skip();
            }
        }
    }

    private static void ParseNormalizer(ReadOnlySpan<byte> bytes, string file, Model model)
    {
        var reader = new ProtobufReader(bytes, file);
        while (reader.Next())
        {
            switch (reader.Field)
            {
                case 2:
                    model.HasCharacterMap = reader.Bytes().Length > 0;
                    break;
                case 3:
                    model.AddDummyPrefix = reader.Integer() != 0;
                    break;
                case 4:
                    model.RemoveExtraSpaces = reader.Integer() != 0;
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }
    }

    /// <summary>What is used of the file, with sentencepiece's defaults.</summary>
    private sealed class Model
    {
        public List<(string Text, float Score, PieceType Type)> Pieces { get; } = [];

        public int Type { get; set; } = 1;

        public bool HasCharacterMap { get; set; }

        public bool AddDummyPrefix { get; set; } = true;

        public bool RemoveExtraSpaces { get; set; } = true;
    }
}
