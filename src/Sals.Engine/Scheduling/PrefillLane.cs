namespace Sals.Engine.Scheduling;

/// <summary>
/// The token rows of one backend lane: prompts take a contiguous region each, so short prompts share a lane side by side.
/// </summary>
public sealed class PrefillLane
{
    // regions in use, ascending by offset
    private readonly List<(int Offset, int Length)> _regions = [];

    public PrefillLane(int number, int length)
    {
        Number = number;
        Length = length;
    }

    public int Number { get; }

    /// <summary>Capacity in tokens.</summary>
    public int Length { get; }

    /// <summary>Rows that prompts hold.</summary>
    public int UsedTokens
    {
        get
        {
            var tokens = 0;
            foreach (var region in _regions)
            {
                tokens += region.Length;
            }

            return tokens;
        }
    }

    /// <summary>First offset with <paramref name="length"/> free rows, or -1.</summary>
    public int TryTake(int length)
    {
        var offset = 0;
        var at = 0;
        while (at < _regions.Count && _regions[at].Offset - offset < length)
        {
            offset = _regions[at].Offset + _regions[at].Length;
            at++;
        }

        if (offset + length > Length)
        {
            return -1;
        }

        _regions.Insert(at, (offset, length));
        return offset;
    }

    /// <summary>Steps run in order, so a region may be taken again as soon as its last slice is planned.</summary>
    public void Return(int offset) => _regions.RemoveAt(_regions.FindIndex(region => region.Offset == offset));
}
