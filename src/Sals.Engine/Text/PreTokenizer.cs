using System.Text;

namespace Sals.Engine.Text;

/// <summary>Text cut into words: ranges of one string, in order.</summary>
internal sealed class Words(string text)
{
    public string Text { get; set; } = text;

    public List<(int Start, int Length)> Ranges { get; set; } = text.Length == 0 ? [] : [(0, text.Length)];
}

/// <summary>Cuts normalised text into words that merges do not cross; the types of tokenizer.json that BPE families use. Stateless.</summary>
internal abstract class PreTokenizer
{
    /// <param name="words">Cut further in place.</param>
    /// <param name="atStart">The text starts the input (no added token before it).</param>
    public abstract void Apply(Words words, bool atStart);

    internal sealed class Chain(IReadOnlyList<PreTokenizer> steps) : PreTokenizer
    {
        public override void Apply(Words words, bool atStart)
        {
            foreach (var step in steps)
            {
                step.Apply(words, atStart);
            }
        }
    }

    /// <summary>Cuts at the matches of a pattern.</summary>
    internal sealed class Split(SplitPattern pattern, SplitBehavior behavior, bool invert) : PreTokenizer
    {
        public override void Apply(Words words, bool atStart)
        {
            var matches = new List<(int Start, int Length)>();
            var pieces = new List<(int Start, int Length, bool IsMatch)>();
            var cut = new List<(int Start, int Length)>(words.Ranges.Count);
            foreach (var (start, length) in words.Ranges)
            {
                matches.Clear();
                pieces.Clear();
                pattern.FindAll(words.Text.AsSpan(start, length), matches);
                var done = 0;
                foreach (var match in matches)
                {
                    if (match.Start > done)
                    {
                        pieces.Add((start + done, match.Start - done, invert));
                    }

                    pieces.Add((start + match.Start, match.Length, !invert));
                    done = match.Start + match.Length;
                }

                if (done < length)
                {
                    pieces.Add((start + done, length - done, invert));
                }

                Join(pieces, behavior, cut);
            }

            words.Ranges = cut;
        }

        private static void Join(List<(int Start, int Length, bool IsMatch)> pieces, SplitBehavior behavior, List<(int Start, int Length)> cut)
        {
            var previousMatch = false;
            var open = false;
            foreach (var (start, length, isMatch) in pieces)
            {
                var joins = behavior switch
                {
                    SplitBehavior.MergedWithPrevious => open && isMatch && !previousMatch,
                    SplitBehavior.MergedWithNext => open && previousMatch && !isMatch,
                    SplitBehavior.Contiguous => open && previousMatch == isMatch,
                    _ => false,
                };
                if (behavior == SplitBehavior.Removed && isMatch)
                {
                    open = false;
                }
                else if (joins)
                {
                    cut[^1] = (cut[^1].Start, cut[^1].Length + length);
                }
                else
                {
                    cut.Add((start, length));
                    open = true;
                }

                previousMatch = isMatch;
            }
        }
    }

    /// <summary>Spells every word in the byte alphabet, after cutting by GPT-2's pattern when asked.</summary>
    internal sealed class ByteLevel(bool addPrefixSpace, bool useRegex) : PreTokenizer
    {
        private static readonly Split Gpt2 = new(
            SplitPattern.FromRegex(@"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"),
            SplitBehavior.Isolated,
            invert: false);

        public static string Spell(string text)
        {
            var spelled = new StringBuilder(text.Length + (text.Length / 8));
            Spell(text, spelled);
            return spelled.ToString();
        }

        public override void Apply(Words words, bool atStart)
        {
            if (addPrefixSpace)
            {
                Insert(words, ' ', (piece, _) => piece[0] != ' ');
            }

            if (useRegex)
            {
                Gpt2.Apply(words, atStart);
            }

            var spelled = new StringBuilder(words.Text.Length + (words.Text.Length / 8));
            for (var i = 0; i < words.Ranges.Count; i++)
            {
                var (start, length) = words.Ranges[i];
                var at = spelled.Length;
                Spell(words.Text.AsSpan(start, length), spelled);
                words.Ranges[i] = (at, spelled.Length - at);
            }

            words.Text = spelled.ToString();
        }

        private static void Spell(ReadOnlySpan<char> text, StringBuilder spelled)
        {
            Span<byte> utf8 = stackalloc byte[4];
            for (var i = 0; i < text.Length;)
            {
                if (text[i] < 128)
                {
                    spelled.Append(ByteAlphabet.Char((byte)text[i++]));
                    continue;
                }

                Rune.DecodeFromUtf16(text[i..], out var rune, out var units);
                var count = rune.EncodeToUtf8(utf8);
                for (var b = 0; b < count; b++)
                {
                    spelled.Append(ByteAlphabet.Char(utf8[b]));
                }

                i += units;
            }
        }
    }

    /// <summary>sentencepiece's way: spaces become a mark, a mark may be put in front, words start at marks.</summary>
    internal sealed class Metaspace(char mark, MetaspacePrepend prepend, bool split) : PreTokenizer
    {
        private readonly Split _split = new(SplitPattern.FromLiteral(mark.ToString()), SplitBehavior.MergedWithNext, invert: false);

        public override void Apply(Words words, bool atStart)
        {
            words.Text = words.Text.Replace(' ', mark);
            if (prepend != MetaspacePrepend.Never)
            {
                Insert(words, mark, (piece, first) => piece[0] != mark && (prepend == MetaspacePrepend.Always || (first && atStart)));
            }

            if (split)
            {
                _split.Apply(words, atStart);
            }
        }
    }

    /// <summary>Puts <paramref name="prefix"/> in front of the words for which <paramref name="wanted"/>(word, isFirst) holds.</summary>
    private static void Insert(Words words, char prefix, InsertCondition wanted)
    {
        var text = new StringBuilder(words.Text.Length + words.Ranges.Count);
        for (var i = 0; i < words.Ranges.Count; i++)
        {
            var (start, length) = words.Ranges[i];
            var at = text.Length;
            var piece = words.Text.AsSpan(start, length);
            if (length > 0 && wanted(piece, i == 0))
            {
                text.Append(prefix);
            }

            text.Append(piece);
            words.Ranges[i] = (at, text.Length - at);
        }

        words.Text = text.ToString();
    }

    private delegate bool InsertCondition(ReadOnlySpan<char> piece, bool first);
}

/// <summary>What becomes of the matches of a splitting pattern.</summary>
internal enum SplitBehavior
{
    Removed,
    Isolated,
    MergedWithPrevious,
    MergedWithNext,
    Contiguous,
}

internal enum MetaspacePrepend
{
    Never,
    First,
    Always,
}
