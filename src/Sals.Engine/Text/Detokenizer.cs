using System.Text;

namespace Sals.Engine.Text;

/// <summary>
/// Ids of one generation to text as they arrive. Bytes of an incomplete character wait for the next token, so a character is never split;
/// what can never become UTF-8 is U+FFFD, one per maximal broken stretch. One owner, not thread-safe.
/// </summary>
public sealed class Detokenizer
{
    private readonly Tokenizer _tokenizer;
    private readonly bool _skipSpecialTokens;
    private readonly IReadOnlySet<int> _kept;
    private readonly System.Text.Decoder _utf8 = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false).GetDecoder();
    private char[] _chars = new char[64];
    private bool _stripSpace;

    /// <param name="tokenizer">Gives the bytes of each id.</param>
    /// <param name="skipSpecialTokens">Special tokens yield no text.</param>
    /// <param name="atTextStart">
    /// The first id starts a text: sentencepiece vocabularies drop its leading space then. False for what follows a prompt.
    /// </param>
    /// <param name="kept">Special tokens that yield their text all the same; null = none.</param>
    public Detokenizer(Tokenizer tokenizer, bool skipSpecialTokens, bool atTextStart = false, IReadOnlySet<int>? kept = null)
    {
        _kept = kept ?? new HashSet<int>();
        _tokenizer = tokenizer;
        _skipSpecialTokens = skipSpecialTokens;
        _stripSpace = atTextStart && tokenizer.StripsLeadingSpace;
    }

    /// <summary>Text that is complete now that <paramref name="id"/> is known; often one word, possibly empty.</summary>
    public string Append(int id)
    {
        if (_skipSpecialTokens && _tokenizer.IsSpecial(id) && !_kept.Contains(id))
        {
            return "";
        }

        return Convert(_tokenizer.TokenBytes(id), flush: false);
    }

    /// <summary>The end: a character that is still incomplete becomes U+FFFD. The detokenizer can be used again afterwards.</summary>
    public string Flush() => Convert([], flush: true);

    private string Convert(ReadOnlySpan<byte> bytes, bool flush)
    {
        if (_stripSpace && bytes.Length > 0)
        {
            _stripSpace = false;
            bytes = bytes[0] == (byte)' ' ? bytes[1..] : bytes;
        }

        // at most one char a byte, three held-back bytes included
        if (_chars.Length < bytes.Length + 4)
        {
            _chars = new char[bytes.Length + 64];
        }

        var count = _utf8.GetChars(bytes, _chars, flush);
        return count == 0 ? "" : new string(_chars, 0, count);
    }
}
