using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Sals.Engine.Text;

namespace Sals.Engine.Latent;

/// <summary>Token sequences for calibration, the same for the same text, tokenizer and sizes.</summary>
/// <param name="Sequences">Ids; each begins with the tokens that the tokenizer puts before a text (BOS), if any.</param>
/// <param name="Fingerprint">Of all ids, 16 hexadecimal digits.</param>
public sealed record CalibrationText(IReadOnlyList<int[]> Sequences, string Fingerprint)
{
    public long TokenCount => Sequences.Sum(s => (long)s.Length);

    /// <summary>
    /// Splits the texts into documents at form feeds, visits them in an order that spreads over all of them, and cuts the stream of their tokens into sequences
    /// until there are enough or no documents are left (then there are fewer).
    /// </summary>
    /// <param name="count">Sequences wanted, at least 1.</param>
    /// <param name="length">Tokens of a sequence.</param>
    /// <exception cref="ArgumentException">The texts do not fill one sequence.</exception>
    public static CalibrationText Cut(IEnumerable<string> texts, Tokenizer tokenizer, int count, int length)
    {
        string[] documents = [.. texts.SelectMany(t => t.Split('\f')).Select(t => t.Trim()).Where(t => t.Length > 0)];
        List<int> prefix = tokenizer.Encode("", addSpecialTokens: true, parseSpecialTokens: false);
        var sequences = new List<int[]>();
        var stream = new List<int>();
        var body = length - prefix.Count;
        ArgumentOutOfRangeException.ThrowIfLessThan(body, 1, nameof(length));
        var stride = Stride(documents.Length);
        for (long i = 0; i < documents.Length && sequences.Count < count; i++)
        {
            stream.AddRange(tokenizer.Encode(documents[(int)(i * stride % documents.Length)], addSpecialTokens: false, parseSpecialTokens: false));
            var used = 0;
            for (; stream.Count - used >= body && sequences.Count < count; used += body)
            {
                sequences.Add([.. prefix, .. CollectionsMarshal.AsSpan(stream).Slice(used, body)]);
            }

            stream.RemoveRange(0, used);
        }

        if (sequences.Count == 0)
        {
            throw new ArgumentException($"The calibration text gives {stream.Count + prefix.Count} tokens, expected at least one sequence of {length}.");
        }

        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var sequence in sequences)
        {
            hash.AppendData(BitConverter.GetBytes(sequence.Length));
            hash.AppendData(MemoryMarshal.AsBytes(sequence.AsSpan()));
        }

        return new CalibrationText(sequences, Convert.ToHexStringLower(hash.GetHashAndReset())[..16]);
    }

    /// <summary>A step near the golden section of <paramref name="count"/> that visits every index once.</summary>
    private static int Stride(int count)
    {
        var stride = Math.Max(1, (int)(count * 0.618));
        while (Gcd(stride, count) > 1)
        {
            stride++;
        }

        return stride;
    }

    private static int Gcd(int a, int b) => b == 0 ? a : Gcd(b, a % b);
}
