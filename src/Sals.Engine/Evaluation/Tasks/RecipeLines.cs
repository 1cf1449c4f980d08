namespace Sals.Engine.Evaluation.Tasks;

/// <summary>The recipe's lines and kv_uuid: nothing but lines of key and value; one value is asked for. Every line is a distractor.</summary>
public sealed class RecipeLines : EvalTask
{
    private readonly bool _uuids;

    /// <param name="uuids">Values like 3f2a-9c1b instead of numbers of seven digits.</param>
    public RecipeLines(string name, bool uuids) => (Name, _uuids) = (name, uuids);

    public override string Name { get; }

    public override string Metric => "exact";

    public override bool IsMultiKey => true;

    public override int LeastUnits => 2;

    public override TaskDraft Make(Random random, int units)
    {
        var keys = Keys(random, units);
        string[] values = [.. keys.Select(_ => _uuids ? $"{random.Next(0x10000):x4}-{random.Next(0x10000):x4}" : Number(random))];
        var asked = random.Next(keys.Length);
        return new TaskDraft(
            $"Below are lines with keys and values.\n\n{string.Join('\n', keys.Zip(values, (key, value) => $"{key}: {value}"))}\n\nWhat is the value of {keys[asked]}?",
            "",
            [$"The value of {keys[asked]} is {values[asked]}."]);
    }
}
