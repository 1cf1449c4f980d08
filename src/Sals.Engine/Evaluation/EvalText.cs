using System.Security.Cryptography;
using System.Text;
using Sals.Engine.Text;

namespace Sals.Engine.Evaluation;

/// <summary>A text that no calibration has seen, cut into documents at form feeds: the haystack of retrieval tasks and what perplexity is measured on.</summary>
public sealed class EvalText
{
    private readonly string[] _documents;

    /// <param name="text">Documents separated by form feeds; white space around them is dropped.</param>
    /// <exception cref="ArgumentException">There is no document.</exception>
    public EvalText(string text)
    {
        _documents = [.. text.Split('\f', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)];
        if (_documents.Length == 0)
        {
            throw new ArgumentException("The evaluation text is empty.", nameof(text));
        }

        Characters = _documents.Sum(document => (long)document.Length);
        Fingerprint = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)))[..16];
    }

    public IReadOnlyList<string> Documents => _documents;

    public long Characters { get; }

    /// <summary>Of the whole text, 16 hexadecimal digits, for reports.</summary>
    public string Fingerprint { get; }

    /// <summary>
    /// A passage of at least <paramref name="characters"/> that starts at a sentence, in a document drawn in proportion to its length; it runs on into the
    /// documents that follow, from the last to the first.
    /// </summary>
    /// <exception cref="ArgumentException">The whole text is shorter.</exception>
    public string Passage(Random random, int characters)
    {
        var at = random.NextInt64(Characters);
        var index = 0;
        for (; at >= _documents[index].Length; index++)
        {
            at -= _documents[index].Length;
        }

        var document = _documents[index];
        var sentence = document.IndexOf(". ", (int)at, StringComparison.Ordinal);
        var passage = new StringBuilder(document, sentence < 0 ? 0 : sentence + 2, document.Length - (sentence < 0 ? 0 : sentence + 2), characters + document.Length);
        for (var used = 1; passage.Length < characters; used++)
        {
            if (used > _documents.Length)
            {
                throw new ArgumentException($"The evaluation text has {Characters} characters; a passage of {characters} was asked for.", nameof(characters));
            }

            passage.Append("\n\n").Append(_documents[(index + used) % _documents.Length]);
        }

        return passage.ToString();
    }

    /// <summary>
    /// <paramref name="count"/> windows of <paramref name="length"/> tokens that do not overlap, spread evenly over the text: beginnings of documents that are long
    /// enough, or, where those are too few, pieces of all documents one after another. Each begins with the tokens that the tokenizer puts before a text, if any.
    /// </summary>
    /// <exception cref="ArgumentException">The text does not fill that many windows.</exception>
    public int[][] Windows(Tokenizer tokenizer, int count, int length)
    {
        List<int> prefix = tokenizer.Encode("", addSpecialTokens: true, parseSpecialTokens: false);
        var body = length - prefix.Count;
        var documents = _documents.Select(document => tokenizer.Encode(document, addSpecialTokens: false, parseSpecialTokens: false)).ToArray();
        List<int>[] whole = [.. documents.Where(document => document.Count >= body)];
        if (whole.Length < count)
        {
            var stream = documents.SelectMany(document => document).ToList();
            whole = [.. Enumerable.Range(0, stream.Count / body).Select(i => stream.GetRange(i * body, body))];
        }

        if (whole.Length < count)
        {
            throw new ArgumentException($"The evaluation text fills {whole.Length} windows of {length} tokens; {count} were asked for.", nameof(count));
        }

        return [.. Enumerable.Range(0, count).Select(i => (int[])[.. prefix, .. whole[(int)((long)i * whole.Length / count)].Take(body)])];
    }
}
