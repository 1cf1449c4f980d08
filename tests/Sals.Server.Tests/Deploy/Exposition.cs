using System.Text.RegularExpressions;

namespace Sals.Server.Tests.Deploy;

/// <summary>The series of a scrape by name, each with its labels and value.</summary>
internal sealed partial class Exposition
{
    private readonly ILookup<string, Dictionary<string, string>> _series;
    private readonly Dictionary<string, double> _sums;

    /// <param name="text">Prometheus's text format.</param>
    public Exposition(string text)
    {
        var lines = text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => line[0] != '#').Select(line => Series().Match(line)).ToArray();
        _series = lines.ToLookup(match => match.Groups["name"].Value, match => Labels(match.Groups["labels"].Value));
        _sums = lines.GroupBy(match => match.Groups["name"].Value).ToDictionary(
            group => group.Key, group => group.Sum(match => double.Parse(match.Groups["value"].Value, System.Globalization.CultureInfo.InvariantCulture)));
    }

    /// <summary>Of all series of the name.</summary>
    public double Sum(string metric) => _sums[metric];

    public bool Has(string metric) => _series.Contains(metric);

    public bool HasLabel(string metric, string label) => _series[metric].Any() && _series[metric].All(labels => labels.ContainsKey(label));

    public bool HasValue(string metric, string label, string value) => _series[metric].Any(labels => labels.GetValueOrDefault(label) == value);

    private static Dictionary<string, string> Labels(string text) =>
        Label().Matches(text).ToDictionary(match => match.Groups["name"].Value, match => match.Groups["value"].Value);

    [GeneratedRegex(@"^(?<name>[^ {]+)(\{(?<labels>.*)\})? (?<value>\S+)$")]
    private static partial Regex Series();

    [GeneratedRegex("""(?<name>\w+)="(?<value>[^"]*)"(,|$)""")]
    private static partial Regex Label();
}
