using Sals.Engine.Backends;

namespace Sals.Testing;

/// <summary>Keeps what a backend published: the values by (name, slot, position).</summary>
public sealed class LogitProbe : IStepProbe
{
    private readonly Dictionary<(string Name, int Slot, int Position), float[]> _values = [];

    public void Publish(string name, int slot, int position, ReadOnlySpan<float> values) => _values[(name, slot, position)] = values.ToArray();

    /// <summary>Raw logits [V] of the row whose input was the token at <paramref name="position"/>.</summary>
    public float[] Logits(int slot, int position) => _values[("logits", slot, position)];

    public float[] Values(string name, int slot, int position) => _values[(name, slot, position)];
}
