using System.Text.RegularExpressions;

namespace Sals.Server.Tests.Deploy;

/// <summary>
/// What a PromQL expression asks of an exposition. It is no parser (promtool is that): it finds names and labels, and says what it
/// does not know.
/// </summary>
internal static partial class PromQuery
{
    /// <summary>Labels that Prometheus itself gives a series, from the scraped target.</summary>
    private static readonly string[] TargetLabels = ["job", "instance"];

    private static readonly string[] Words = ["sum", "max", "rate", "changes", "histogram_quantile", "and"];

    /// <summary>The metrics an expression asks for.</summary>
    public static IEnumerable<string> Metrics(string expression) => Selector().Matches(expression).Select(match => match.Groups["metric"].Value);

    /// <summary>One sentence for each metric, label or label value that <paramref name="exposition"/> lacks; empty = all there.</summary>
    /// <param name="legend">Legend of a panel: its {{label}} must exist too.</param>
    public static IEnumerable<string> Problems(string expression, Exposition exposition, string legend = "")
    {
        var metrics = new List<string>();
        var rest = Selector().Replace(expression, match =>
        {
            metrics.Add(match.Value);
            return " ";
        });
        // what the server never counts: whether it was reached
        var own = metrics.Select(text => Selector().Match(text)).Where(match => match.Groups["metric"].Value != "up").ToArray();
        foreach (var match in own)
        {
            var metric = match.Groups["metric"].Value;
            if (!exposition.Has(metric))
            {
                yield return $"{metric} is not exported";
                continue;
            }

            foreach (Match label in Matcher().Matches(match.Groups["labels"].Value))
            {
                var (name, value) = (label.Groups["label"].Value, label.Groups["value"].Value);
                if (TargetLabels.Contains(name))
                {
                    continue;
                }

                if (!exposition.HasLabel(metric, name))
                {
                    yield return $"{metric} has no label {name}";
                }
                else if (label.Groups["operator"].Value == "=" && !exposition.HasValue(metric, name, value))
                {
                    yield return $"{metric} has no {name}=\"{value}\"";
                }
            }
        }

        var grouped = Grouping().Matches(rest).SelectMany(match => match.Groups["labels"].Value.Split(',', StringSplitOptions.TrimEntries));
        foreach (var label in grouped.Concat(LegendLabel().Matches(legend).Select(match => match.Groups["label"].Value)).Except(TargetLabels))
        {
            if (own.FirstOrDefault(match => !exposition.HasLabel(match.Groups["metric"].Value, label)) is { } lacks)
            {
                yield return $"{lacks.Groups["metric"].Value} has no label {label} to group by";
            }
        }

        rest = Duration().Replace(Grouping().Replace(rest, " "), " ");
        foreach (var word in Word().Matches(rest).Select(match => match.Value).Except(Words))
        {
            yield return $"'{word}' is neither a metric nor a function known to this test";
        }
    }

    [GeneratedRegex(@"\b(?<metric>(vllm|sals):\w+|process_\w+|up)\b(\{(?<labels>[^}]*)\})?")]
    private static partial Regex Selector();

    [GeneratedRegex("""(?<label>\w+)\s*(?<operator>=~|!~|!=|=)\s*"(?<value>[^"]*)["]""")]
    private static partial Regex Matcher();

    [GeneratedRegex(@"\b(by|ignoring|on|without)\s*\((?<labels>[^)]*)\)")]
    private static partial Regex Grouping();

    [GeneratedRegex(@"\{\{\s*(?<label>\w+)\s*\}\}")]
    private static partial Regex LegendLabel();

    [GeneratedRegex(@"\[[^\]]*\]")]
    private static partial Regex Duration();

    [GeneratedRegex(@"[A-Za-z_:][\w:]*")]
    private static partial Regex Word();
}
