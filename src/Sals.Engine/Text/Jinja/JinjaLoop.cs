namespace Sals.Engine.Text.Jinja;

/// <summary>Where a loop stands.</summary>
internal sealed class LoopState(IReadOnlyList<JinjaValue> items, int depth)
{
    public int Index { get; set; }

    public JinjaValue? LastChanged { get; set; }

    public IReadOnlyList<JinjaValue> Items => items;

    public int Depth => depth;
}

/// <summary>The variable "loop"; calling it renders the loop for inner elements where the loop is recursive.</summary>
internal sealed class JinjaLoop(LoopState state, JinjaFunction? recurse) : JinjaValue
{
    public JinjaFunction? Recurse => recurse;

    public override string TypeName => "loop";

    public JinjaValue? Member(string name)
    {
        var count = state.Items.Count;
        return name switch
        {
            "index" => new JinjaInt(state.Index + 1),
            "index0" => new JinjaInt(state.Index),
            "revindex" => new JinjaInt(count - state.Index),
            "revindex0" => new JinjaInt(count - state.Index - 1),
            "first" => Of(state.Index == 0),
            "last" => Of(state.Index == count - 1),
            "length" => new JinjaInt(count),
            "depth" => new JinjaInt(state.Depth + 1),
            "depth0" => new JinjaInt(state.Depth),
            "previtem" => state.Index > 0 ? state.Items[state.Index - 1] : new JinjaUndefined("previtem"),
            "nextitem" => state.Index < count - 1 ? state.Items[state.Index + 1] : new JinjaUndefined("nextitem"),
            "cycle" => new JinjaFunction(name, (_, arguments) => arguments.Positional.Count == 0
                ? throw arguments.Error("needs at least one argument")
                : arguments.Positional[state.Index % arguments.Positional.Count]),
            "changed" => new JinjaFunction(name, (run, arguments) =>
            {
                var now = new JinjaList(arguments.Positional, isTuple: true);
                var changed = state.LastChanged is null || !Comparison.AreEqual(run, state.LastChanged, now);
                state.LastChanged = now;
                return Of(changed);
            }),
            _ => null,
        };
    }
}
