using Sals.Engine.Models;
using Sals.Engine.Paging;

namespace Sals.Engine.Backends.Cpu;

/// <summary>
/// Workspace of one prefill lane: hidden states of all its tokens and the exact keys and values of the layer in progress.
/// Keys and values lie as the panels that <see cref="Reference.MatMul"/> multiplies with, so that scores and weighted sums of a block of
/// queries are matrix products. Row numbers are lane rows: LaneOffset + position in the prompt.
/// </summary>
internal sealed class CpuLane
{
    private const int Width = PackedMatrix.PanelRows;

    private readonly float[] _keys;
    private readonly float[] _values;
    private readonly int _keyPanels;
    private readonly int _valuePanels;

    public CpuLane(ModelConfig model, int length)
    {
        Length = length;
        Model = model;
        _keyPanels = (length + Width - 1) / Width;
        _valuePanels = (model.HeadSize + Width - 1) / Width;
        Hidden = GC.AllocateUninitializedArray<float>(checked(length * model.HiddenSize));
        _keys = GC.AllocateUninitializedArray<float>(checked(model.KeyValueHeadCount * _keyPanels * model.HeadSize * Width));
        // zeroed: columns past DH in the last value panel are multiplied, though never stored
        _values = new float[checked(model.KeyValueHeadCount * _valuePanels * length * Width)];
    }

    /// <summary>Tokens.</summary>
    public int Length { get; }

    /// <summary>[Length, H]</summary>
    public float[] Hidden { get; }

    public long Bytes => ((long)Hidden.Length + _keys.Length + _values.Length) * sizeof(float);

    private ModelConfig Model { get; }

    /// <summary>Key panels of one KV head, [ceil(Length / 32)][DH, 32]: lane row t is column t % 32 of panel t / 32.</summary>
    public ReadOnlySpan<float> KeyPanel(int kvHead, int panel) =>
        _keys.AsSpan(((kvHead * _keyPanels) + panel) * Model.HeadSize * Width, Model.HeadSize * Width);

    /// <summary>Values of one KV head, channels 32 * panel onwards, from lane row <paramref name="row"/>: [.., 32].</summary>
    public ReadOnlySpan<float> ValuePanel(int kvHead, int panel, int row, int count) =>
        _values.AsSpan(((((kvHead * _valuePanels) + panel) * Length) + row) * Width, count * Width);

    /// <summary>Stores one token's keys and values, each [HK, DH].</summary>
    public void Store(int row, ReadOnlySpan<float> keys, ReadOnlySpan<float> values)
    {
        var size = Model.HeadSize;
        for (var head = 0; head < Model.KeyValueHeadCount; head++)
        {
            var key = _keys.AsSpan((((head * _keyPanels) + (row / Width)) * size * Width) + (row % Width));
            for (var i = 0; i < size; i++)
            {
                key[i * Width] = keys[(head * size) + i];
            }

            for (var panel = 0; panel < _valuePanels; panel++)
            {
                var count = Math.Min(Width, size - (panel * Width));
                values.Slice((head * size) + (panel * Width), count).CopyTo(_values.AsSpan(((((head * _valuePanels) + panel) * Length) + row) * Width));
            }
        }
    }

    /// <summary>Reads back what <see cref="Store"/> stored.</summary>
    public void Load(int row, Span<float> keys, Span<float> values)
    {
        var size = Model.HeadSize;
        for (var head = 0; head < Model.KeyValueHeadCount; head++)
        {
            var key = _keys.AsSpan((((head * _keyPanels) + (row / Width)) * size * Width) + (row % Width));
            for (var i = 0; i < size; i++)
            {
                keys[(head * size) + i] = key[i * Width];
            }

            for (var panel = 0; panel < _valuePanels; panel++)
            {
                var count = Math.Min(Width, size - (panel * Width));
                ValuePanel(head, panel, row, 1)[..count].CopyTo(values[((head * size) + (panel * Width))..]);
            }
        }
    }

    /// <summary>Copies tokens [0, count) of a layer, whole pages of a prefix hit, from the cache into rows offset onwards.</summary>
    public void ReadPages(CpuCache cache, PoolKind pool, int slot, int layer, int offset, int count)
    {
        Span<float> keys = stackalloc float[Model.KeyWidth], values = stackalloc float[Model.KeyWidth];
        for (var t = 0; t < count; t++)
        {
            cache.Load(pool, slot, layer, t, keys, values);
            Store(offset + t, keys, values);
        }
    }

    /// <summary>Writes tokens [first, end) of a layer, computed in rows offset + first onwards, to the slot's pages.</summary>
    public void WritePages(CpuCache cache, PoolKind pool, int slot, int layer, int offset, int first, int end)
    {
        Span<float> keys = stackalloc float[Model.KeyWidth], values = stackalloc float[Model.KeyWidth];
        for (var t = first; t < end; t++)
        {
            Load(offset + t, keys, values);
            cache.Store(pool, slot, layer, t, keys, values);
        }
    }
}
