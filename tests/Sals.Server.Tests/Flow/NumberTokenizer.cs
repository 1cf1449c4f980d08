using System.Globalization;
using System.Text;
using Sals.Engine.Text;

namespace Sals.Server.Tests.Flow;

/// <summary>
/// A vocabulary of 1,000 numbers: id 12 is the text " 12". Encoding reads numbers back and turns every other character into its code.
/// Enough to say exactly what text a fake backend's ids make.
/// </summary>
public sealed class NumberTokenizer : Tokenizer
{
    public const int EndToken = 7;

    private static readonly byte[][] Texts = [.. Enumerable.Range(0, 1000).Select(id => Encoding.UTF8.GetBytes($" {id}"))];

    public override int VocabularySize => 1000;

    public override bool StripsLeadingSpace => false;

    public static string TextOf(IEnumerable<int> ids) => string.Concat(ids.Select(id => $" {id}"));

    public override List<int> Encode(string text, bool addSpecialTokens, bool parseSpecialTokens)
    {
        var ids = new List<int>();
        for (var i = 0; i < text.Length;)
        {
            var end = i + 1;
            while (text[i] == ' ' && end < text.Length && char.IsAsciiDigit(text[end]))
            {
                end++;
            }

            if (end > i + 1 && int.TryParse(text.AsSpan(i + 1, end - i - 1), NumberStyles.None, CultureInfo.InvariantCulture, out var id) && id < 1000)
            {
                ids.Add(id);
                i = end;
            }
            else
            {
                ids.Add(text[i++] % 1000);
            }
        }

        return ids;
    }

    public override string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens) => TextOf(ids.ToArray());

    public override ReadOnlySpan<byte> TokenBytes(int id) => Texts[id];

    public override string? TokenText(int id) => $" {id}";

    public override int? TokenId(string token) => int.TryParse(token, out var id) ? id : null;

    public override bool IsSpecial(int id) => false;
}
