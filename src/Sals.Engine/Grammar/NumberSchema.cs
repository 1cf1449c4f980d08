using System.Text.Json;

namespace Sals.Engine.Grammar;

/// <summary>Schemas of numbers: bounds.</summary>
internal static class NumberSchema
{
    public static Expression Read(JsonElement schema, string path, bool integer)
    {
        var (low, lowExcluded) = Limit(schema, path, "minimum", "exclusiveMinimum", double.NegativeInfinity);
        var (high, highExcluded) = Limit(schema, path, "maximum", "exclusiveMaximum", double.PositiveInfinity);
        if (double.IsInfinity(low) && double.IsInfinity(high))
        {
            return integer ? JsonNumbers.Integer : JsonNumbers.Number;
        }

        try
        {
            return JsonNumbers.Between(low, lowExcluded, high, highExcluded, integer);
        }
        catch (GrammarException exception)
        {
            throw new GrammarException(path, exception.Message);
        }
    }

    private static (double Value, bool Excluded) Limit(JsonElement schema, string path, string name, string exclusive, double none)
    {
        var inclusive = Number(name);
        var strict = Number(exclusive);
        return strict is { } bound && (inclusive is null || (none < 0 ? bound >= inclusive : bound <= inclusive)) ? (bound, true) : (inclusive ?? none, false);

        double? Number(string keyword) => !schema.TryGetProperty(keyword, out var value) ? null
            : value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && double.IsFinite(number) ? number
            : throw new GrammarException($"{path}.{keyword}", "expected a number");
    }
}
