using System.Text;
using System.Text.RegularExpressions;

namespace Sals.Engine.Text;

/// <summary>Rewrites text before it is split into words; the types of tokenizer.json that BPE families use. Stateless.</summary>
internal abstract class Normalizer
{
    /// <summary>
    /// Every output character but the first <see cref="Prepended"/> stands at its input position:
    /// what is plain text before is known to be plain text after.
    /// </summary>
    public virtual bool KeepsPositions => false;

    /// <summary>Characters put in front of a non-empty text.</summary>
    public virtual int Prepended => 0;

    public abstract string Apply(string text);

    internal sealed class Chain(IReadOnlyList<Normalizer> steps) : Normalizer
    {
        public override bool KeepsPositions => steps.All(step => step.KeepsPositions);

        public override int Prepended => steps.Sum(step => step.Prepended);

        public override string Apply(string text)
        {
            foreach (var step in steps)
            {
                text = step.Apply(text);
            }

            return text;
        }
    }

    internal sealed class Prepend(string prefix) : Normalizer
    {
        public override bool KeepsPositions => true;

        public override int Prepended => prefix.Length;

        public override string Apply(string text) => text.Length == 0 ? text : prefix + text;
    }

    internal sealed class ReplaceLiteral(string pattern, string content) : Normalizer
    {
        public override bool KeepsPositions => pattern.Length == 1 && content.Length == 1;

        public override string Apply(string text) => pattern.Length == 0 ? text : text.Replace(pattern, content, StringComparison.Ordinal);
    }

    internal sealed class ReplaceRegex(Regex pattern, string content) : Normalizer
    {
        public override string Apply(string text) => pattern.Replace(text, _ => content);
    }

    internal sealed class Lowercase : Normalizer
    {
        // the one letter whose full lower case is longer
        public override string Apply(string text) => text.Replace("\u0130", "i\u0307", StringComparison.Ordinal).ToLowerInvariant();
    }

    internal sealed class Strip(bool left, bool right) : Normalizer
    {
        public override string Apply(string text)
        {
            text = left ? text.TrimStart() : text;
            return right ? text.TrimEnd() : text;
        }
    }

    internal sealed class Canonical(bool compose) : Normalizer
    {
        public override string Apply(string text) => compose ? CanonicalForm.Compose(text) : CanonicalForm.Decompose(text);
    }

    internal sealed class StripAccents : Normalizer
    {
        private static readonly CharClass Marks = new([new ClassItem(ClassItemKind.Categories, CategoryMask: CategoryNames.Mask("Mn"))], negated: false);

        public override string Apply(string text)
        {
            var kept = new StringBuilder(text.Length);
            for (var i = 0; i < text.Length; i++)
            {
                var units = Marks.Match(text, i);
                if (units == 0)
                {
                    kept.Append(text[i]);
                }
                else
                {
                    i += units - 1;
                }
            }

            return kept.ToString();
        }
    }

    internal sealed class Bytes : Normalizer
    {
        public override string Apply(string text) => PreTokenizer.ByteLevel.Spell(text);
    }

    /// <summary>sentencepiece's remove_extra_whitespaces: none at the ends, one between words.</summary>
    internal sealed class CollapseSpaces : Normalizer
    {
        public override string Apply(string text) => string.Join(' ', text.Split(' ', StringSplitOptions.RemoveEmptyEntries));
    }
}
