using System.Text.RegularExpressions;

namespace Sals.Engine.Text;

/// <summary>Builds the stages around the model from their JSON descriptions.</summary>
internal static class TokenizerStages
{
    private const int MaxSteps = 64;
    private const int MaxLiteral = 4096;

    public static Normalizer Normalizer(JsonField field)
    {
        var type = field.Required("type").String();
        return type switch
        {
            "Sequence" => new Normalizer.Chain(Steps(field.Required("normalizers"), Normalizer)),
            "NFC" => new Normalizer.Canonical(compose: true),
            "NFD" => new Normalizer.Canonical(compose: false),
            "Lowercase" => new Normalizer.Lowercase(),
            "StripAccents" => new Normalizer.StripAccents(),
            "ByteLevel" => new Normalizer.Bytes(),
            "Prepend" => new Normalizer.Prepend(Literal(field.Required("prepend"))),
            "Strip" => new Normalizer.Strip(field.Member("strip_left")?.Bool() ?? true, field.Member("strip_right")?.Bool() ?? true),
            "Replace" => Replace(field),
            _ => throw Unsupported(field, type),
        };
    }

    public static PreTokenizer PreTokenizer(JsonField field)
    {
        var type = field.Required("type").String();
        return type switch
        {
            "Sequence" => new PreTokenizer.Chain(Steps(field.Required("pretokenizers"), PreTokenizer)),
            "Split" => new PreTokenizer.Split(Pattern(field.Required("pattern")), Behavior(field.Required("behavior")), field.Member("invert")?.Bool() ?? false),
            "ByteLevel" => new PreTokenizer.ByteLevel(field.Member("add_prefix_space")?.Bool() ?? true, field.Member("use_regex")?.Bool() ?? true),
            "Metaspace" => new PreTokenizer.Metaspace(Mark(field), Prepend(field), field.Member("split")?.Bool() ?? true),
            "Digits" => Regex(@"\p{N}+", @"\p{N}", field.Member("individual_digits")?.Bool() ?? false),
            "Whitespace" => new PreTokenizer.Split(SplitPattern.FromRegex(@"\w+|[^\w\s]+"), SplitBehavior.Removed, invert: true),
            "WhitespaceSplit" => new PreTokenizer.Split(SplitPattern.FromRegex(@"\s"), SplitBehavior.Removed, invert: false),
            "Punctuation" => new PreTokenizer.Split(
                SplitPattern.FromRegex(@"[\p{P}!-/:-@\[-`{-~]"),
                field.Member("behavior") is { } behavior ? Behavior(behavior) : SplitBehavior.Isolated,
                invert: false),
            "CharDelimiterSplit" => new PreTokenizer.Split(SplitPattern.FromLiteral(Literal(field.Required("delimiter"))), SplitBehavior.Removed, invert: false),
            _ => throw Unsupported(field, type),
        };
    }

    public static Decoder Decoder(JsonField field)
    {
        var type = field.Required("type").String();
        return type switch
        {
            "Sequence" => new Decoder.Chain(Steps(field.Required("decoders"), Decoder)),
            "ByteLevel" => new Decoder.ByteLevel(),
            "ByteFallback" => new Decoder.ByteFallback(),
            "Fuse" => new Decoder.Fuse(),
            "Metaspace" => new Decoder.Metaspace(Mark(field), Prepend(field) != MetaspacePrepend.Never),
            "Replace" => new Decoder.Replace(Literal(field.Required("pattern").Required("String")), Content(field)),
            "Strip" => new Decoder.Strip(
                field.Required("content").String() is { Length: 1 } content ? content[0] : throw field.Required("content").Unexpected("one character"),
                field.Required("start").Int(0, MaxLiteral),
                field.Required("stop").Int(0, MaxLiteral)),
            _ => throw Unsupported(field, type),
        };
    }

    /// <summary>Ids before and after a single text. ByteLevel processors only touch offsets.</summary>
    public static (int[] Prefix, int[] Suffix) Frame(JsonField? processor)
    {
        if (processor is not { } field)
        {
            return ([], []);
        }

        var type = field.Required("type").String();
        switch (type)
        {
            case "ByteLevel":
                return ([], []);
            case "Sequence":
                var prefix = new List<int>();
                var suffix = new List<int>();
                foreach (var step in field.Required("processors").Items())
                {
                    var (before, after) = step.Required("type").String() == "Sequence" ? throw Unsupported(step, "nested Sequence") : Frame(step);
                    prefix.InsertRange(0, before);
                    suffix.AddRange(after);
                }

                return ([.. prefix], [.. suffix]);
            case "TemplateProcessing":
                return Template(field);
            default:
                throw Unsupported(field, type);
        }
    }

    private static (int[] Prefix, int[] Suffix) Template(JsonField field)
    {
        var before = new List<int>();
        var after = new List<int>();
        var texts = 0;
        foreach (var piece in field.Required("single").Items())
        {
            if (piece.Member("Sequence") is not null)
            {
                texts++;
                continue;
            }

            var name = piece.Required("SpecialToken").Required("id").String();
            var ids = field.Required("special_tokens").Required(name).Required("ids").Items();
            (texts == 0 ? before : after).AddRange(ids.Select(id => id.Int(0, TokenizerJson.MaxVocabulary - 1)));
        }

        return texts == 1 ? ([.. before], [.. after]) : throw new TokenizerException($"{field.Path}:single: expected one Sequence, found {texts}");
    }

    private static List<T> Steps<T>(JsonField list, Func<JsonField, T> read)
    {
        var steps = new List<T>();
        foreach (var item in list.Items())
        {
            steps.Add(read(item));
            if (steps.Count > MaxSteps)
            {
                throw new TokenizerException($"{list.Path}: more than {MaxSteps} steps");
            }
        }

        return steps;
    }

    private static Normalizer Replace(JsonField field)
    {
        var pattern = field.Required("pattern");
        var content = Content(field);
        if (pattern.Member("String") is { } literal)
        {
            return new Normalizer.ReplaceLiteral(Literal(literal), content);
        }

        var regex = pattern.Required("Regex").String();
        try
        {
            return new Normalizer.ReplaceRegex(new Regex(regex, RegexOptions.NonBacktracking | RegexOptions.CultureInvariant), content);
        }
        catch (Exception e) when (e is ArgumentException or NotSupportedException)
        {
            throw new TokenizerException($"{field.Path}: regular expression \"{regex}\" is not supported: {e.Message}", e);
        }
    }

    private static PreTokenizer.Split Regex(string runs, string singles, bool individual) =>
        new(SplitPattern.FromRegex(individual ? singles : runs), SplitBehavior.Isolated, invert: false);

    private static SplitPattern Pattern(JsonField field) =>
        field.Member("String") is { } literal ? SplitPattern.FromLiteral(Literal(literal)) : SplitPattern.FromRegex(field.Required("Regex").String());

    private static SplitBehavior Behavior(JsonField field) => field.String() switch
    {
        "Removed" or "removed" => SplitBehavior.Removed,
        "Isolated" or "isolated" => SplitBehavior.Isolated,
        "MergedWithPrevious" or "merged_with_previous" => SplitBehavior.MergedWithPrevious,
        "MergedWithNext" or "merged_with_next" => SplitBehavior.MergedWithNext,
        "Contiguous" or "contiguous" => SplitBehavior.Contiguous,
        _ => throw field.Unexpected("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous"),
    };

    private static char Mark(JsonField field) => field.Member("replacement")?.String() switch
    {
        null => '\u2581',
        { Length: 1 } mark => mark[0],
        _ => throw field.Required("replacement").Unexpected("one character"),
    };

    /// <summary>prepend_scheme, or the older add_prefix_space (default true).</summary>
    private static MetaspacePrepend Prepend(JsonField field) => field.Member("prepend_scheme")?.String() switch
    {
        null => field.Member("add_prefix_space")?.Bool() ?? true ? MetaspacePrepend.Always : MetaspacePrepend.Never,
        "always" => MetaspacePrepend.Always,
        "first" => MetaspacePrepend.First,
        "never" => MetaspacePrepend.Never,
        _ => throw field.Required("prepend_scheme").Unexpected("always, first or never"),
    };

    private static string Content(JsonField field) => Bounded(field.Required("content"));

    private static string Literal(JsonField field) => Bounded(field) is { Length: > 0 } text ? text : throw field.Unexpected("a non-empty string");

    private static string Bounded(JsonField field) =>
        field.String() is { Length: <= MaxLiteral } text ? text : throw new TokenizerException($"{field.Path}: longer than {MaxLiteral} characters");

    private static TokenizerException Unsupported(JsonField field, string type) => new($"{field.Path}: type \"{type}\" is not supported");
}
