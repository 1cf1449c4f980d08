using Sals.Engine.Backends;
using Sals.Engine.Scheduling;
using static Sals.Testing.PlanRule;

namespace Sals.Testing;

/// <summary>How far each prompt in the lanes of a <see cref="FakeBackend"/> has come; requires that slices follow one another as the contract says.</summary>
internal sealed class FakeLanes(BackendInfo info)
{
    private readonly Dictionary<(int Lane, int Offset), Cursor> _cursors = [];

    /// <summary>Takes in a slice; true when it ends the prompt's last layer and so samples.</summary>
    public bool Advance(in PrefillSlice slice)
    {
        var key = (slice.Lane, slice.LaneOffset);
        var room = info.LaneLengths[slice.Lane] - slice.LaneOffset;
        Require(slice.PromptLength <= room, $"a prompt of {slice.PromptLength} tokens in the last {room} of lane {slice.Lane}");
        if (!_cursors.TryGetValue(key, out var cursor) || cursor.Owner != slice.Slots[0] || (slice.FirstLayer == 0 && slice.FirstToken == slice.HistoryLength))
        {
            cursor = new Cursor(slice.Slots[0], 0, slice.HistoryLength);
        }

        var whole = slice.FirstToken == slice.HistoryLength && slice.EndToken == slice.PromptLength;
        var ends = slice.EndToken == slice.PromptLength;
        var count = slice.EndToken - slice.FirstToken;
        Require(slice.FirstLayer == cursor.Layer && slice.FirstToken == cursor.Token, $"slice ({slice.FirstLayer}, {slice.FirstToken}) where ({cursor.Layer}, {cursor.Token}) is next");
        Require(slice.EndLayer == slice.FirstLayer + 1 || whole, $"a slice of layers {slice.FirstLayer} to {slice.EndLayer} that does not cover the prompt");
        Require(ends || count % info.PrefillChunk == 0, $"a slice of {count} tokens inside a prompt, not a multiple of the chunk {info.PrefillChunk}");
        cursor = ends ? cursor with { Layer = slice.EndLayer, Token = slice.HistoryLength } : cursor with { Token = slice.EndToken };
        Require(slice.Samples == (cursor.Layer == info.LayerCount), $"a slice to layer {cursor.Layer} of {info.LayerCount} {(slice.Samples ? "samples" : "does not sample")}");
        if (slice.Samples)
        {
            _cursors.Remove(key);
        }
        else
        {
            _cursors[key] = cursor;
        }

        return slice.Samples;
    }

    /// <summary>The next slice of a prompt begins at <c>Token</c> of <c>Layer</c>.</summary>
    private readonly record struct Cursor(int Owner, int Layer, int Token);
}
