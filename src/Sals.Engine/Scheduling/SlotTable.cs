namespace Sals.Engine.Scheduling;

/// <summary>Stable slot numbers. A slot is given back only when no step in flight names it; the smallest free number is used first.</summary>
public sealed class SlotTable
{
    private readonly bool[] _taken;

    public SlotTable(int count) => _taken = new bool[count];

    public int Free => _taken.Count(taken => !taken);

    public int Take()
    {
        var slot = Array.IndexOf(_taken, false);
        if (slot < 0)
        {
            throw new InvalidOperationException("No slot is free.");
        }

        _taken[slot] = true;
        return slot;
    }

    public void Return(int slot)
    {
        if (!_taken[slot])
        {
            throw new InvalidOperationException($"Slot {slot} was returned twice.");
        }

        _taken[slot] = false;
    }
}
