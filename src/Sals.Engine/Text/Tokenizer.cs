namespace Sals.Engine.Text;

/// <summary>
/// Text to token ids and back, equal to Hugging Face's tokenizers library for the same tokenizer.json. Thread-safe.
/// </summary>
public abstract class Tokenizer
{
    /// <summary>Largest id + 1 over vocabulary and added tokens.</summary>
    public abstract int VocabularySize { get; }

    /// <summary>Encodes <paramref name="text"/>.</summary>
    /// <param name="addSpecialTokens">Run the post-processor (BOS of Llama and the like).</param>
    /// <param name="parseSpecialTokens">False: text that looks like a special token is plain text (user content).</param>
    public abstract List<int> Encode(string text, bool addSpecialTokens, bool parseSpecialTokens);

    /// <summary>
    /// Encodes a rendered prompt: as one text, except that special tokens are only taken from what the template itself printed.
    /// A special token that overlaps message content, even by one character, is plain text.
    /// </summary>
    public virtual List<int> Encode(RenderedPrompt prompt, bool addSpecialTokens)
    {
        // without word boundaries that cross segments; BpeTokenizer is exact
        var ids = new List<int>();
        foreach (var (text, trusted) in prompt.Segments())
        {
            ids.AddRange(Encode(text, addSpecialTokens && ids.Count == 0, trusted));
        }

        return ids;
    }

    /// <summary>Decodes ids to text; incomplete UTF-8 becomes U+FFFD. Unknown ids decode to nothing.</summary>
    public abstract string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens);

    /// <summary>
    /// The bytes one id contributes when it is not the first of a text; special tokens give their text.
    /// Concatenating them is what <see cref="Detokenizer"/> does.
    /// </summary>
    public abstract ReadOnlySpan<byte> TokenBytes(int id);

    /// <summary>The token as written in the vocabulary; null for an unused id.</summary>
    public abstract string? TokenText(int id);

    /// <summary>The id of a vocabulary entry or added token; null when there is none.</summary>
    public abstract int? TokenId(string token);

    public abstract bool IsSpecial(int id);

    /// <summary>The first token of a text loses a leading space on decoding (sentencepiece style).</summary>
    public abstract bool StripsLeadingSpace { get; }
}
