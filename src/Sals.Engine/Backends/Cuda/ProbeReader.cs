using System.Runtime.InteropServices;
using Sals.Engine.Paging;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>Fetches intermediates of a step for tests, waiting for the device each time; steps run eagerly while a probe is set.</summary>
internal sealed class ProbeReader(CudaStream stream, CudaCache cache)
{
    // slot, position of the input, row of the logits
    private readonly List<(int Slot, int Position, int Row)> _rows = [];

    /// <summary>Null outside tests.</summary>
    public IStepProbe? Probe { get; set; }

    /// <summary>Notes whose rows are about to run, if a probe is set.</summary>
    /// <param name="lengths">[SLOTS], the rows' own tokens included</param>
    public void Name(ReadOnlySpan<StepRow> rows, ReadOnlySpan<int> lengths)
    {
        _rows.Clear();
        for (var i = 0; Probe is not null && i < rows.Length; i++)
        {
            _rows.Add((rows[i].Slot, lengths[rows[i].Slot] - 1, rows[i].LogitsRow));
        }
    }

    /// <param name="hidden">[rows, H] bf16</param>
    public void Hidden(int layer, DevicePtr<ushort> hidden, int width)
    {
        foreach (var (slot, position, row) in _rows)
        {
            var bits = Read(hidden + ((long)row * width), width);
            Probe!.Publish($"L{layer:00}.hidden", slot, position, Array.ConvertAll(bits, b => BitConverter.UInt32BitsToSingle((uint)b << 16)));
        }
    }

    /// <param name="selected">[rows, stride], of the rows that need scores.</param>
    public void Selected(int layer, DevicePtr<SelectedToken> selected, int stride)
    {
        var spec = cache.Layout.Spec;
        foreach (var (slot, position, row) in _rows)
        {
            var (candidates, count) = (CacheTimeline.CandidateCount(position + 1, spec), CacheTimeline.SelectedCount(position + 1, spec));
            var first = CacheTimeline.SinkCount(position + 1, spec);
            var positions = candidates > count
                ? Array.ConvertAll(Read(selected + ((long)row * stride), count), token => token.Position)
                : [.. Enumerable.Range(first, count)];
            Probe!.Publish($"L{layer:00}.selected", slot, position, MemoryMarshal.Cast<int, float>(positions));
        }
    }

    /// <param name="logits">[rows, V]</param>
    public void Logits(DevicePtr<float> logits, int vocabulary)
    {
        foreach (var (slot, position, row) in _rows)
        {
            Probe!.Publish("logits", slot, position, Read(logits + ((long)row * vocabulary), vocabulary));
        }
    }

    private T[] Read<T>(DevicePtr<T> source, int count)
        where T : unmanaged
    {
        var values = new T[count];
        stream.DownloadNow(source, values.AsSpan());
        return values;
    }
}
