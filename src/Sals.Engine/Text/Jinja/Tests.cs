namespace Sals.Engine.Text.Jinja;

/// <summary>What may follow "is".</summary>
internal static class Tests
{
    public delegate bool Test(Rendering run, JinjaValue value, Arguments arguments);

    public static IReadOnlyDictionary<string, Test> All { get; } = new Dictionary<string, Test>(StringComparer.Ordinal)
    {
        ["defined"] = (_, value, _) => value is not JinjaUndefined,
        ["undefined"] = (_, value, _) => value is JinjaUndefined,
        ["none"] = (_, value, _) => value is JinjaNone,
        ["boolean"] = (_, value, _) => value is JinjaBool,
        ["true"] = (_, value, _) => value is JinjaBool { Value: true },
        ["false"] = (_, value, _) => value is JinjaBool { Value: false },
        ["integer"] = (_, value, _) => value is JinjaInt,
        ["float"] = (_, value, _) => value is JinjaFloat,
        ["number"] = (_, value, _) => value is JinjaInt or JinjaFloat or JinjaBool,
        ["string"] = (_, value, _) => value is JinjaString,
        ["mapping"] = (_, value, _) => value is JinjaDict,
        ["sequence"] = (_, value, _) => value is JinjaList or JinjaString or JinjaDict or JinjaUndefined,
        ["iterable"] = (_, value, _) => value is JinjaList or JinjaString or JinjaDict or JinjaUndefined,
        ["callable"] = (_, value, _) => value is JinjaFunction,
        ["odd"] = (run, value, _) => Integer(run, value) % 2 != 0,
        ["even"] = (run, value, _) => Integer(run, value) % 2 == 0,
        ["divisibleby"] = (run, value, arguments) => arguments.Int(0, "num", 1) is var by && by != 0
            ? Integer(run, value) % by == 0
            : throw arguments.Error("division by zero"),
        ["lower"] = (run, value, _) => PythonText.Str(run, value).Text is var text && text.Any(char.IsLower) && !text.Any(char.IsUpper),
        ["upper"] = (run, value, _) => PythonText.Str(run, value).Text is var text && text.Any(char.IsUpper) && !text.Any(char.IsLower),
        ["in"] = (run, value, arguments) => Comparison.Contains(run, arguments.Required(0, "seq"), value),
        ["sameas"] = (_, value, arguments) => SameAs(value, arguments.Required(0, "other")),
        ["filter"] = (run, value, _) => Filters.All.ContainsKey(PythonText.Str(run, value).Text),
        ["test"] = (run, value, _) => All!.ContainsKey(PythonText.Str(run, value).Text),
        ["eq"] = Comparing("=="),
        ["equalto"] = Comparing("=="),
        ["=="] = Comparing("=="),
        ["ne"] = Comparing("!="),
        ["!="] = Comparing("!="),
        ["lt"] = Comparing("<"),
        ["lessthan"] = Comparing("<"),
        ["<"] = Comparing("<"),
        ["le"] = Comparing("<="),
        ["<="] = Comparing("<="),
        ["gt"] = Comparing(">"),
        ["greaterthan"] = Comparing(">"),
        [">"] = Comparing(">"),
        ["ge"] = Comparing(">="),
        [">="] = Comparing(">="),
    };

    /// <summary>Calls a test by name.</summary>
    public static bool Apply(Rendering run, string name, JinjaValue value, Arguments arguments)
    {
        run.ChargeRead(value);
        return All.TryGetValue(name, out var test) ? test(run, value, arguments) : throw run.Error($"unknown test '{name}'");
    }

    private static Test Comparing(string name) => (run, value, arguments) => Comparison.Holds(run, name, value, arguments.Required(0, "other"));

    private static long Integer(Rendering run, JinjaValue value) =>
        Comparison.Integer(value) ?? throw run.Error($"expected an integer, found {value.TypeName}");

    private static bool SameAs(JinjaValue value, JinjaValue other) => (value, other) switch
    {
        (JinjaBool a, JinjaBool b) => a.Value == b.Value,
        (JinjaNone, JinjaNone) => true,
        _ => ReferenceEquals(value, other),
    };
}
