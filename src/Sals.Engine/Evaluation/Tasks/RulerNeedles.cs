using System.Globalization;

namespace Sals.Engine.Evaluation.Tasks;

/// <summary>What surrounds the needles.</summary>
public enum RulerHaystack
{
    /// <summary>The same five sentences again and again.</summary>
    Noise,

    /// <summary>Real text.</summary>
    Essay,

    /// <summary>Needles with other keys.</summary>
    Needles,
}

public enum KeyKind
{
    Words,
    Numbers,
    Uuids,
}

/// <summary>
/// RULER's needles in a haystack (arXiv 2404.06654, section 3.1; settings and wordings of its synthetic.yaml and constants.py, Apache-2.0, with which scores
/// are comparable): sentences that give values to keys, and the question for all values of some of the keys. Scored by the share of values that are said.
/// </summary>
public sealed class RulerNeedles : EvalTask
{
    internal const string NoiseSentences = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

    /// <summary>Needles of a text lie at some of this many evenly spaced depths.</summary>
    private const int Depths = 40;

    private readonly RulerHaystack _haystack;
    private readonly KeyKind _keyKind;
    private readonly KeyKind _valueKind;
    private readonly int _keys;
    private readonly int _values;
    private readonly int _asked;
    private readonly EvalText _text;

    /// <param name="keys">Keys that needles are made of; those of a haystack of needles come on top.</param>
    /// <param name="values">Values of a key, each a needle.</param>
    /// <param name="asked">Keys that are asked for.</param>
    public RulerNeedles(string name, RulerHaystack haystack, KeyKind keyKind, KeyKind valueKind, int keys, int values, int asked, EvalText text)
    {
        (Name, _haystack, _keyKind, _valueKind, _keys, _values, _asked, _text) = (name, haystack, keyKind, valueKind, keys, values, asked, text);
    }

    public override string Name { get; }

    // of one value the same, and right or wrong
    public override string Metric => _asked * _values == 1 ? "match_part" : "match_all";

    public override int? MostTokens => 128;

    public override bool IsMultiKey => _keys > 1 || _haystack == RulerHaystack.Needles;

    public override int LeastUnits => _haystack == RulerHaystack.Essay ? 50 : _keys * _values;

    public override TaskDraft Make(Random random, int units)
    {
        var kind = _valueKind == KeyKind.Uuids ? "uuids" : "numbers";
        string[] keys = [.. Enumerable.Range(0, _keys).Select(_ => Draw(random, _keyKind))];
        string[][] values = [.. keys.Select(_ => Enumerable.Range(0, _values).Select(_ => Draw(random, _valueKind)).ToArray())];
        string[] needles = [.. keys.SelectMany((key, i) => values[i].Select(value => Needle(kind, key, value)))];
        random.Shuffle(needles);
        var context = _haystack == RulerHaystack.Essay ? InEssay(random, units, needles) : InSentences(random, units, needles, kind);
        var asked = Sample(random, _keys, _asked);
        var query = Join([.. asked.Select(i => keys[i])], ", and ");
        string[] answers = [.. asked.SelectMany(i => values[i])];

        // one value: the singular, as RULER's generator words it
        return _asked * _values == 1
            ? new TaskDraft(
                $"A special magic {kind[..^1]} is hidden within the following text. Make sure to memorize it. I will quiz you about the {kind[..^1]} afterwards.\n{context}\nWhat is the special magic {kind[..^1]} for {query} mentioned in the provided text?",
                $" The special magic {kind[..^1]} for {query} mentioned in the provided text is",
                answers)
            : new TaskDraft(
                $"Some special magic {kind} are hidden within the following text. Make sure to memorize it. I will quiz you about the {kind} afterwards.\n{context}\nWhat are all the special magic {kind} for {query} mentioned in the provided text?",
                $" The special magic {kind} for {query} mentioned in the provided text are",
                answers);
    }

    private string InEssay(Random random, int words, string[] needles)
    {
        // a passage is cut after a number of words; RULER repeats its essays where they are too few, here passages follow each other
        var text = new List<string>(words);
        while (text.Count < words)
        {
            text.AddRange(_text.Passage(random, (int)Math.Min(8L * words, _text.Characters / 2)).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        }

        var sentences = Sentences(string.Join(' ', text.Take(words)));
        int[] depths = [.. Sample(random, Depths, needles.Length).Order()];
        var context = new List<string>(sentences.Count + needles.Length);
        var last = 0;
        for (var i = 0; i < needles.Length; i++)
        {
            var at = (int)(sentences.Count * Math.Round(100.0 * depths[i] / (Depths - 1)) / 100);
            context.AddRange(sentences.GetRange(last, at - last));
            context.Add(needles[i]);
            last = at;
        }

        context.AddRange(sentences.GetRange(last, sentences.Count - last));
        return string.Join(' ', context);
    }

    private string InSentences(Random random, int count, string[] needles, string kind)
    {
        List<string> sentences = _haystack == RulerHaystack.Noise
            ? [.. Enumerable.Repeat(NoiseSentences, count)]
            : [.. Enumerable.Range(0, count).Select(_ => Needle(kind, Draw(random, _keyKind), Draw(random, _valueKind)))];
        foreach (var (at, needle) in Sample(random, count, needles.Length).OrderDescending().Zip(needles))
        {
            sentences.Insert(at, needle);
        }

        return string.Join('\n', sentences);
    }

    /// <summary>Cut behind ". ", "! " and "? ".</summary>
    internal static List<string> Sentences(string text)
    {
        List<string> sentences = [];
        var start = 0;
        for (var i = 0; i + 1 < text.Length; i++)
        {
            if (text[i] is '.' or '!' or '?' && text[i + 1] == ' ')
            {
                sentences.Add(text[start..(i + 1)]);
                start = i + 2;
            }
        }

        sentences.Add(text[start..]);
        return sentences;
    }

    private static string Needle(string kind, string key, string value) => $"One of the special magic {kind} for {key} is: {value}.";

    private static string Draw(Random random, KeyKind kind) => kind switch
    {
        KeyKind.Words => NeedleWords.Key(random),
        KeyKind.Numbers => Number(random),
        _ => Uuid(random),
    };

    /// <summary>A version 4 UUID of drawn bits.</summary>
    private static string Uuid(Random random)
    {
        Span<byte> bytes = stackalloc byte[16];
        random.NextBytes(bytes);
        bytes[6] = (byte)((bytes[6] & 0x0F) | 0x40);
        bytes[8] = (byte)((bytes[8] & 0x3F) | 0x80);
        return new Guid(bytes, bigEndian: true).ToString("D", CultureInfo.InvariantCulture);
    }
}
