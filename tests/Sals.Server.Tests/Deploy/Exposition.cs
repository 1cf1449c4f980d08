using System.Text.RegularExpressions;

namespace Sals.Server.Tests.Deploy;

/// <summary>The series of a scrape by name, each with its labels; values are left out.</summary>
internal sealed partial class Exposition
{
    private readonly ILookup<string, Dictionary<string, string>> _series;

    /// <param name="text">Prometheus's text format.</param>
    public Exposition(string text) => _series = text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => line[0] != '#')
        .Select(line => Series().Match(line)).ToLookup(match => match.Groups["name"].Value, match => Labels(match.Groups["labels"].Value));

    public bool Has(string metric) => _series.Contains(metric);

    public bool HasLabel(string metric, string label) => _series[metric].Any() && _series[metric].All(labels => labels.ContainsKey(label));

    public bool HasValue(string metric, string label, string value) => _series[metric].Any(labels => labels.GetValueOrDefault(label) == value);

    private static Dictionary<string, string> Labels(string text) =>
        Label().Matches(text).ToDictionary(match => match.Groups["name"].Value, match => match.Groups["value"].Value);

    [GeneratedRegex(@"^(?<name>[^ {]+)(\{(?<labels>.*)\})? \S+$")]
    private static partial Regex Series();

    [GeneratedRegex("""(?<name>\w+)="(?<value>[^"]*)"(,|$)""")]
    private static partial Regex Label();
}
