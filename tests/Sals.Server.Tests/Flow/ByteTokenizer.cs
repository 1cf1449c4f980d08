using System.Text;
using Sals.Engine.Text;

namespace Sals.Server.Tests.Flow;

/// <summary>A vocabulary of all bytes, an end token and the marks of the families as special tokens: any text can be scripted, and any grammar held.</summary>
public sealed class ByteTokenizer : Tokenizer
{
    public const int EndToken = 256;

    private static readonly string[] Specials = ["<end>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "<|other|>"];

    private static readonly byte[][] Texts =
        [.. Enumerable.Range(0, 256).Select(value => new[] { (byte)value }), .. Specials.Select(Encoding.UTF8.GetBytes)];

    public override int VocabularySize => Texts.Length;

    public override bool StripsLeadingSpace => false;

    public override List<int> Encode(string text, bool addSpecialTokens, bool parseSpecialTokens)
    {
        var ids = new List<int>();
        for (var i = 0; i < text.Length;)
        {
            var special = parseSpecialTokens ? Array.FindIndex(Specials, name => text.AsSpan(i).StartsWith(name)) : -1;
            if (special >= 0)
            {
                ids.Add(256 + special);
                i += Specials[special].Length;
            }
            else
            {
                var width = char.IsHighSurrogate(text[i]) ? 2 : 1;
                ids.AddRange(Encoding.UTF8.GetBytes(text.Substring(i, width)).Select(value => (int)value));
                i += width;
            }
        }

        return ids;
    }

    public override string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens) =>
        Encoding.UTF8.GetString([.. ids.ToArray().Where(id => !skipSpecialTokens || !IsSpecial(id)).SelectMany(id => Texts[id])]);

    public override ReadOnlySpan<byte> TokenBytes(int id) => Texts[id];

    public override string? TokenText(int id) => id < Texts.Length ? Encoding.Latin1.GetString(Texts[id]) : null;

    public override int? TokenId(string token) => Array.IndexOf(Specials, token) is var at && at >= 0 ? 256 + at : null;

    public override bool IsSpecial(int id) => id >= 256;
}
