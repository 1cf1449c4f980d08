using System.Globalization;
using System.Text.Json.Serialization;
using Sals.Engine.Evaluation.Reports;

namespace Sals.Engine.Evaluation.Analysis;

/// <summary>An analysis for people who did not write it: what each figure means stands beside it.</summary>
public static class AnalysisReport
{
    public static string Html(ModelAnalysis analysis)
    {
        var layers = analysis.Layers;
        double[] numbers = [.. layers.Select(layer => (double)layer.Layer)];
        string[] dense = [.. layers.Where(layer => layer.SuggestDense).Select(layer => layer.Layer.ToString(CultureInfo.InvariantCulture))];
        var html = new HtmlReport($"What a latent cache would keep of {analysis.Model}")
            .Paragraph(Text($"Spectra and bases come from {analysis.CalibrationTokens:#,0} tokens of {analysis.Data}. Attention was looked at in {analysis.Sequences} other sequences of {analysis.SequenceLength:#,0} tokens, {analysis.RowsPerSequence} query positions each, in their second halves. The model itself ran exactly. Cache: {analysis.Cache}."))
            .Heading("In short")
            .Paragraph(Text($"With {analysis.ScoreRank} scored coordinates, the selected tokens, sinks and window hold between {Percent(layers.Min(layer => layer.SumMass))} and {Percent(layers.Max(layer => layer.SumMass))} of the attention, depending on the layer; the best possible choice of as many tokens would hold {Percent(layers.Min(layer => layer.OracleMass))} to {Percent(layers.Max(layer => layer.OracleMass))}."))
            .Paragraph(dense.Length > 0
                ? $"Layers better kept exact (--sals dense_layers={string.Join(',', dense)}): {string.Join(", ", dense)}, where the selection holds under {Percent(ModelAnalysis.LeastMass)}."
                : $"No layer falls under {Percent(ModelAnalysis.LeastMass)} of retained attention; by this measure none needs to be kept exact.")
            .Paragraph(Text($"The bytes of rank {analysis.Rank} in every compressed layer, spent where the keys' energy is: --sals {analysis.LayerRanks}."));
        html.Heading("Attention on the selected tokens")
            .Paragraph("Share of the attention probability, mean over heads and query positions, that lies on what a decode step reads: the first tokens (sinks), the most recent ones (window) and the selected ones. Sum of logits is the paper's choice: one score a token, all heads' raw logits added, without rope. Best head scores every head by itself and takes the maximum of the standardised scores. Oracle takes the tokens with the largest true probability. Without selection: sinks and window alone.")
            .Plots(
                new SvgPlot
                {
                    Title = "Retained attention by layer",
                    XLabel = "layer",
                    YLabel = "share of probability",
                    XTicks = Every(numbers),
                    YRange = (Math.Min(0.5, Math.Floor(10 * layers.Min(layer => layer.FixedMass)) / 10), 1),
                    Series =
                    [
                        Line("oracle", layers, layer => layer.OracleMass), Line("best head", layers, layer => layer.HeadMass), Line("sum of logits", layers, layer => layer.SumMass),
                        Line("without selection", layers, layer => layer.FixedMass),
                    ],
                },
                new SvgPlot
                {
                    Title = "Retained attention by scored coordinates",
                    XLabel = "latent coordinates that scoring reads",
                    YLabel = "share of probability",
                    LogX = true,
                    XTicks = [.. analysis.SweepRanks.Select(rank => (double)rank)],
                    Series = [.. layers.Select(layer => new PlotSeries($"layer {layer.Layer}", [.. analysis.SweepRanks.Zip(layer.SweepMass, (rank, mass) => ((double)rank, mass))]))],
                });
        html.Heading("Spectra of the keys")
            .Paragraph("Eigenvalues of the second moment of all KV heads' keys together, over their sum, largest first. The faster a curve falls, the fewer coordinates are needed. Rope turns keys by their position and spreads them over more directions, which is why keys are compressed before it.")
            .Plots(Spectrum("Before rope", layers, layer => layer.SpectrumBeforeRope), Spectrum("After rope", layers, layer => layer.SpectrumAfterRope));
        html.Heading("Layers")
            .Paragraph(Text($"Energy: share of the keys' energy in the leading {analysis.Rank} coordinates before and after rope. Mean: share of it along the mean key, which tells tokens apart not at all (a centred basis leaves it out). Overlap: share of a step's selected tokens that the next step selects again. Rank: multiples of 16 for the compressed layers, together the bytes of rank {analysis.Rank} in each."))
            .Table(
                ["layer", "energy before rope", "energy after rope", "mean", "sum of logits", "best head", "oracle", "without selection", "overlap", "rank", "advice"],
                layers.Select(layer => new[]
                {
                    Text($"{layer.Layer}"), Percent(layer.Energy(analysis.Rank)), Percent(layer.SpectrumAfterRope.Take(analysis.Rank).Sum() / layer.SpectrumAfterRope.Sum()), Percent(layer.MeanEnergy),
                    Percent(layer.SumMass), Percent(layer.HeadMass), Percent(layer.OracleMass), Percent(layer.FixedMass), Percent(layer.Overlap), layer.SuggestedRank > 0 ? Text($"{layer.SuggestedRank}") : "exact",
                    layer.SuggestDense ? "keep exact" : "compress",
                }));
        return html.ToString();
    }

    private static SvgPlot Spectrum(string title, LayerAnalysis[] layers, Func<LayerAnalysis, double[]> spectrum) => new()
    {
        Title = title,
        XLabel = "coordinate",
        YLabel = "share of energy",
        LogY = true,
        YRange = (1e-6, 1),
        Height = 360,
        Series = [.. layers.Select(layer => new PlotSeries($"layer {layer.Layer}", Shares(spectrum(layer))))],
    };

    private static (double, double)[] Shares(double[] spectrum)
    {
        var sum = spectrum.Sum();
        return [.. spectrum.Select((value, i) => (i + 1.0, Math.Max(value, 0) / sum))];
    }

    private static PlotSeries Line(string name, LayerAnalysis[] layers, Func<LayerAnalysis, double> value) => new(name, [.. layers.Select(layer => ((double)layer.Layer, value(layer)))]);

    private static double[] Every(double[] numbers) => [.. numbers.Where((_, i) => i % Math.Max(1, (numbers.Length + 15) / 16) == 0)];

    private static string Percent(double share) => Text($"{100 * share:0.0}%");

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

/// <summary>What --json writes: <see cref="ModelAnalysis"/> in snake_case.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true)]
[JsonSerializable(typeof(ModelAnalysis))]
public sealed partial class AnalysisJson : JsonSerializerContext;
