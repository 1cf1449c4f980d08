using System.Globalization;
using System.Text;

namespace Sals.Engine.Evaluation;

/// <summary>Reports as Markdown: what was run, a table, and what its columns mean.</summary>
public static class EvalMarkdown
{
    public static string Perplexity(EvalSetup setup, IReadOnlyList<PerplexityRow> rows)
    {
        var text = Head("Decode perplexity", setup);
        Line(text, $"{rows[0].Windows} windows: {rows[0].PromptTokens} tokens are prefilled exactly, then {rows[0].ForcedTokens} more are forced one by one through decode rows, which read the compressed cache; only those count, the first after the prefill left out. This is decode perplexity: prefill is exact with every cache and would show no difference.");
        Line(text, $"The embedded model saw these books in training: its perplexity says nothing about the model, differences between caches do.");
        Line(text, $"");
        var first = rows[0];
        Header(text, "cache", "nats/token", "± error (windows)", "perplexity", $"minus {first.Cache}, nats (paired)", "sparse tokens %", "sparse (layer, token) %", "selected (layer, token) %", "bytes/token measured", "by PageLayout", "whole cache vs dense", "layer vs dense (16 bit)", "selected tokens", "reads vs dense", "tokens/s");
        foreach (var row in rows)
        {
            Row(text, row.Cache, Number($"{row.NatsPerToken:0.0000}"), row.StandardError is { } error ? Number($"{error:0.0000}") : "-", Number($"{row.Perplexity:0.00}"),
                first == row ? "" : Difference([.. row.WindowNats.Zip(first.WindowNats, (one, other) => one - other)], "0.0000"),
                Percent(row.Use.SparseTokenShare), Percent(row.Use.SparsePairShare), Percent(row.Use.ScoredPairShare), Number($"{row.Use.MeasuredBytesPerToken:#,0}"),
                Number($"{row.Use.ExpectedBytesPerToken:#,0}"), Number($"{row.Use.ModelRatio:0.000}"), Number($"{row.Use.LayerRatio:0.000} ({row.Use.LayerRatio16:0.000})"),
                Number($"{row.Use.MeanSelected:0.0}"), Number($"{row.Use.AccessRatio:0.000}"), Number($"{row.TokensPerSecond:#,0}"));
        }

        return Legend(text).ToString();
    }

    private static StringBuilder Head(string title, EvalSetup setup)
    {
        var text = new StringBuilder();
        Line(text, $"# {title}");
        Line(text, $"");
        Line(text, $"Model {setup.Model} on {setup.Backend}; text {setup.Text} ({setup.TextFingerprint}).");
        foreach (var cache in setup.Caches)
        {
            Line(text, $"- {cache}");
        }

        Line(text, $"");
        return text;
    }

    private static StringBuilder Legend(StringBuilder text)
    {
        Line(text, $"");
        Line(text, $"Sparse: decoded tokens, and (layer, token) pairs over all layers, that read compressed pages; selected: pairs in which the budget chose among them. Bytes: pages held by the finished sequences, with window, sinks, dense layers, reserved pages and page rounding, over their tokens; whole cache vs dense: those bytes over the dense cache's; layer vs dense: a latent token of one compressed layer, as stored (and with 16-bit latents and keys, as the paper counts); selected tokens: latent tokens that a compressed layer attended to, mean; reads vs dense: bytes of the cache that a decode step reads over those of the dense one. Errors are standard errors: binomial, over windows, or of paired differences.");
        return text;
    }

    private static string Difference(double[] differences, string format)
    {
        var mean = SampleMean.Of(differences);
        var error = differences.Length > 1 ? $" ± {mean.StandardError.ToString(format, CultureInfo.InvariantCulture)}" : "";
        return mean.Mean.ToString($"+{format};-{format};{format}", CultureInfo.InvariantCulture) + error;
    }

    private static void Header(StringBuilder text, params string[] cells)
    {
        Row(text, cells);
        Row(text, [.. cells.Select(_ => "---")]);
    }

    private static void Row(StringBuilder text, params string[] cells) => text.Append("| ").AppendJoin(" | ", cells).Append(" |\n");

    private static void Line(StringBuilder text, FormattableString line) => text.Append(line.ToString(CultureInfo.InvariantCulture)).Append('\n');

    private static string Percent(double share) => (100 * share).ToString("0.0", CultureInfo.InvariantCulture);

    private static string Number(FormattableString number) => number.ToString(CultureInfo.InvariantCulture);
}
