using System.Text;

namespace Sals.Engine.Tests.Text.Oracles;

/// <summary>Varied lines from a fixed seed: prose, code, scripts, emoji, white space, digits, control characters, and mixtures.</summary>
internal static class LineCorpus
{
    private static readonly string[] Words =
    [
        "the", "Hello", "world", "don't", "I'll", "WE'RE", "you've", "it's", "naïve", "Straße", "Ünïcödé", "e\u0301te\u0301", "co-operate", "e.g.", "foo_bar", "camelCase",
        "HTTP/1.1", "3.14159", "1,234,567", "0x1F", "2026-11-21", "$99.99", "100%", "C#", "x86_64", "a@b.org", "https://example.org/p?q=1&r=2#f",
        "Привет", "мир", "Ελληνικά", "שלום", "مرحبا", "नमस्ते", "ไทย", "你好世界", "こんにちは", "カタカナ", "한국어", "𝔘𝔫𝔦", "ǅ", "ﬁ", "½", "Ⅷ", "٣٤٥", "१२३",
        "🙂", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "❤️", "①", "™", "…", "—", "«quote»", "“q”", "‘s", "\u2019s", "\u00A0", "\u200B", "\u200D", "\u3000", "\uFEFFx"[1..], "\uFFFD", "▁", "▁▁x", "Ġ", "Ċ",
        "<s>", "</s>", "<unk>", "<0x0A>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>", "<|", "|>", "<|im_", "[INST]", "[/INST]", "<<SYS>>",
    ];

    private static readonly string[] Code =
    [
        "def f(x):\n    return x ** 2  # square", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }", "if err != nil {\n\t\treturn nil, err\n\t}", "SELECT * FROM t WHERE id = 'x''y';",
        "{\"key\": [1, 2.5e-3, null, true]}", "<div class=\"a b\">&nbsp;</div>", "x=$((y+1)); echo \"${z:-}\" | sed -e 's/a/b/g'", "\\frac{a}{b} \\sum_{i=0}^{\\infty}", "#include <stdio.h>\r\n\r\nint main(void)",
        "let s = &mut *v; // ===== !!", "    \t  indented\n\n\n\n        more", "| a | b |\n|---|---|\n| 1 | 2 |", "- [ ] todo\n- [x] done\n", "***bold*** __init__ ~~~", "\n", " ", "  ", "\t", "\r\n", "\n \n",
    ];

    /// <summary><paramref name="count"/> lines; never empty, no unpaired surrogates.</summary>
    public static List<string> Lines(int count, int seed)
    {
        var random = new Random(seed);
        var lines = new List<string>(count);
        while (lines.Count < count)
        {
            var kind = lines.Count % 8;
            var line = kind switch
            {
                0 or 1 => Mixture(random),
                2 => Sentence(random),
                3 => Code[random.Next(Code.Length)] + (random.Next(2) == 0 ? Sentence(random) : Code[random.Next(Code.Length)]),
                4 => Runs(random),
                5 => Block(random),
                6 => Ascii(random),
                _ => Digits(random),
            };
            if (line.Length > 0)
            {
                lines.Add(line);
            }
        }

        return lines;
    }

    private static string Sentence(Random random) =>
        string.Join(random.Next(6) == 0 ? "  " : " ", Enumerable.Range(0, random.Next(1, 14)).Select(_ => Words[random.Next(Words.Length)]));

    private static string Mixture(Random random)
    {
        var text = new StringBuilder();
        for (var n = random.Next(1, 12); n > 0; n--)
        {
            text.Append(Words[random.Next(Words.Length)]);
            text.Append(random.Next(7) switch { 0 => "", 1 => "\n", 2 => ", ", 3 => "  ", 4 => "'s ", 5 => ".\n\n", _ => " " });
        }

        return text.ToString();
    }

    private static string Runs(Random random)
    {
        var text = new StringBuilder();
        string[] units = [" ", "\n", "\t", "\r\n", "a", "=", "-", "🙂", "é", "你", ".", "0", "!", "▁", " \n", "ab", "\u00A0", "A"];
        for (var n = random.Next(1, 5); n > 0; n--)
        {
            text.Insert(text.Length, units[random.Next(units.Length)], random.Next(1, random.Next(2, 90)));
        }

        return text.ToString();
    }

    /// <summary>Random letters of one script, all assigned in every Unicode version in use.</summary>
    private static string Block(Random random)
    {
        (int First, int Last)[] blocks =
        [
            (0x20, 0x7E), (0xA1, 0xFF), (0x100, 0x17F), (0x391, 0x3A1), (0x410, 0x44F), (0x5D0, 0x5EA), (0x627, 0x63A), (0x905, 0x939), (0xE01, 0xE30), (0x10D0, 0x10F0),
            (0x1100, 0x1112), (0x1E00, 0x1EFF), (0x2010, 0x2027), (0x20A0, 0x20B9), (0x2190, 0x21FF), (0x2200, 0x22FF), (0x2500, 0x257F), (0x3041, 0x3096), (0x30A1, 0x30FA),
            (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0xFF01, 0xFF5E), (0x10330, 0x1034A), (0x1D400, 0x1D454), (0x1F300, 0x1F5FF), (0x1F600, 0x1F64F), (0x20000, 0x2A6D6), (0x1, 0x1F), (0x7F, 0x7F), (0xE000, 0xE010),
        ];
        var text = new StringBuilder();
        for (var n = random.Next(1, 4); n > 0; n--)
        {
            var (first, last) = blocks[random.Next(blocks.Length)];
            for (var k = random.Next(1, 24); k > 0; k--)
            {
                text.Append(random.Next(6) == 0 ? " " : new Rune(random.Next(first, last + 1)).ToString());
            }
        }

        return text.ToString();
    }

    private static string Ascii(Random random) => string.Concat(Enumerable.Range(0, random.Next(1, 60)).Select(_ => (char)random.Next(0x20, 0x7F)));

    private static string Digits(Random random) =>
        string.Join(" +-.,:/"[random.Next(7)], Enumerable.Range(0, random.Next(1, 8)).Select(_ => random.NextInt64(0, (long)Math.Pow(10, random.Next(1, 15)))));
}
