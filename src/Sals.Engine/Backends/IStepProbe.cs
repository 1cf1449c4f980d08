namespace Sals.Engine.Backends;

/// <summary>
/// Receives intermediates of a step under names that both backends agree on, for tests: a failing comparison prints the first one that
/// differs. Names: "L03.hidden" (after layer 3, [H]), "L03.selected" (positions that a compressed layer chose, as the bits of 32-bit integers),
/// "logits" ([V], raw).
/// </summary>
public interface IStepProbe
{
    /// <param name="name">What the values are.</param>
    /// <param name="slot">Slot of the row; the first one of a prefill.</param>
    /// <param name="position">Position of the row's input token.</param>
    /// <param name="values">Valid during the call.</param>
    void Publish(string name, int slot, int position, ReadOnlySpan<float> values);
}
