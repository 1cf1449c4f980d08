using System.Text;

namespace Sals.Engine.Text;

/// <summary>
/// Tokens back to text, step by step as tokenizer.json lists them. A step sees all tokens at once, because some join
/// bytes across tokens and some treat the first token differently.
/// </summary>
internal abstract class Decoder
{
    /// <summary>Rewrites the list of token texts; their concatenation after the last step is the text.</summary>
    public abstract List<string> Apply(List<string> tokens);

    /// <summary>The bytes of one token in the middle of a text.</summary>
    public virtual byte[] MiddleBytes(string token) => Encoding.UTF8.GetBytes(token);

    /// <summary>A leading space of the whole text is dropped.</summary>
    public virtual bool StripsLeadingSpace => false;

    internal sealed class Chain(IReadOnlyList<Decoder> steps) : Decoder
    {
        public override bool StripsLeadingSpace => steps.Any(step => step.StripsLeadingSpace);

        public override List<string> Apply(List<string> tokens)
        {
            foreach (var step in steps)
            {
                tokens = step.Apply(tokens);
            }

            return tokens;
        }

        /// <summary>Steps that work on text run first to last; the first that yields bytes which are not text ends the chain.</summary>
        public override byte[] MiddleBytes(string token)
        {
            foreach (var step in steps)
            {
                var bytes = step.MiddleBytes(token);
                if (step is ByteLevel || (step is ByteFallback && ByteFallback.Value(token) >= 0))
                {
                    return bytes;
                }

                token = Encoding.UTF8.GetString(bytes);
            }

            return Encoding.UTF8.GetBytes(token);
        }
    }

    /// <summary>Tokens are written in the byte alphabet; one that is not stands for its own text.</summary>
    internal sealed class ByteLevel : Decoder
    {
        public override List<string> Apply(List<string> tokens)
        {
            var bytes = new List<byte>();
            foreach (var token in tokens)
            {
                bytes.AddRange(MiddleBytes(token));
            }

            return [Encoding.UTF8.GetString(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(bytes))];
        }

        public override byte[] MiddleBytes(string token) => ByteAlphabet.Bytes(token) ?? Encoding.UTF8.GetBytes(token);
    }

    internal sealed class Replace(string pattern, string content) : Decoder
    {
        public override List<string> Apply(List<string> tokens) => tokens.ConvertAll(Text);

        public override byte[] MiddleBytes(string token) => Encoding.UTF8.GetBytes(Text(token));

        private string Text(string token) => token.Replace(pattern, content, StringComparison.Ordinal);
    }

    /// <summary>Runs of &lt;0x00&gt; .. &lt;0xFF&gt; become text; a run that is not UTF-8 becomes one U+FFFD a byte.</summary>
    internal sealed class ByteFallback : Decoder
    {
        private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

        /// <summary>The byte that a token names; -1 when it is not a byte token.</summary>
        public static int Value(string token) =>
            token.Length == 6 && token.StartsWith("<0x", StringComparison.Ordinal) && token[5] == '>'
            && byte.TryParse(token.AsSpan(3, 2), System.Globalization.NumberStyles.AllowHexSpecifier, null, out var value)
                ? value
                : -1;

        public override byte[] MiddleBytes(string token) => Value(token) is >= 0 and var value ? [(byte)value] : Encoding.UTF8.GetBytes(token);

        public override List<string> Apply(List<string> tokens)
        {
            var texts = new List<string>(tokens.Count);
            var run = new List<byte>();
            foreach (var token in tokens)
            {
                var value = Value(token);
                if (value >= 0)
                {
                    run.Add((byte)value);
                    continue;
                }

                Flush(run, texts);
                texts.Add(token);
            }

            Flush(run, texts);
            return texts;
        }

        private static void Flush(List<byte> run, List<string> texts)
        {
            if (run.Count == 0)
            {
                return;
            }

            var bytes = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(run);
            if (System.Text.Unicode.Utf8.IsValid(bytes))
            {
                texts.Add(Strict.GetString(bytes));
            }
            else
            {
                texts.Add(new string('\uFFFD', run.Count));
            }

            run.Clear();
        }
    }

    internal sealed class Fuse : Decoder
    {
        public override List<string> Apply(List<string> tokens) => [string.Concat(tokens)];
    }

    /// <summary>Drops up to <paramref name="start"/> leading and <paramref name="stop"/> trailing characters of each element.</summary>
    internal sealed class Strip(char content, int start, int stop) : Decoder
    {
        public override bool StripsLeadingSpace => content == ' ' && start > 0;

        public override List<string> Apply(List<string> tokens) => tokens.ConvertAll(token =>
        {
            var from = 0;
            while (from < start && from < token.Length && token[from] == content)
            {
                from++;
            }

            var to = token.Length;
            while (token.Length - to < stop && to > from && token[to - 1] == content)
            {
                to--;
            }

            return token[from..to];
        });
    }

    internal sealed class Metaspace(char mark, bool stripsFirst) : Decoder
    {
        public override bool StripsLeadingSpace => stripsFirst;

        public override List<string> Apply(List<string> tokens)
        {
            var texts = new List<string>(tokens.Count);
            foreach (var token in tokens)
            {
                texts.Add(texts.Count == 0 && stripsFirst ? token.Replace(mark.ToString(), "", StringComparison.Ordinal) : token.Replace(mark, ' '));
            }

            return texts;
        }

        public override byte[] MiddleBytes(string token) => Encoding.UTF8.GetBytes(token.Replace(mark, ' '));
    }
}
