using System.Globalization;
using System.Text;
using Sals.Engine.Text;
using Xunit;

namespace Sals.Engine.Tests.Text.Oracles;

public class NormalizationOracleTests
{
    [Fact]
    public void Canonical_forms_equal_the_reference_for_every_decomposition_and_random_mark_sequences()
    {
        var random = new Random(11);
        var entries = CanonicalData.Decompositions.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)
            .Select(entry => entry.TrimStart('!').Split('=', '+').Select(hex => int.Parse(hex, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture)).ToArray())
            .ToList();
        var pool = entries.SelectMany(entry => entry).Concat(Enumerable.Range(0x300, 0x70)).Concat([0x61, 0x20, 0x1100, 0x1161, 0x11A8, 0xAC00, 0xAC01, 0x5B0, 0x94D]).ToArray();
        var lines = entries.Select(entry => new Rune(entry[0]).ToString()).ToList();
        lines.AddRange(entries.Select(entry => string.Concat(entry.Skip(1).Select(point => new Rune(point).ToString()))));
        lines.AddRange(Enumerable.Range(0, 20_000).Select(_ => string.Concat(Enumerable.Range(0, random.Next(1, 8)).Select(_ => new Rune(pool[random.Next(pool.Length)]).ToString()))));
        using var answer = NodeOracle.Run("normalize.mjs", lines);
        var nfc = answer.RootElement.GetProperty("nfc").EnumerateArray().Select(text => text.GetString()!).ToList();
        var nfd = answer.RootElement.GetProperty("nfd").EnumerateArray().Select(text => text.GetString()!).ToList();
        for (var i = 0; i < lines.Count; i++)
        {
            Assert.True(nfc[i] == CanonicalForm.Compose(lines[i]) && nfd[i] == CanonicalForm.Decompose(lines[i]),
                $"{string.Join(' ', lines[i].EnumerateRunes().Select(rune => $"U+{rune.Value:X4}"))}");
        }
    }
}
