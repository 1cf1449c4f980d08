using System.Diagnostics;
using Sals.Engine.Models;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.ScatterWords;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>
/// Turns a plan into the work of one step on the stream: has it staged in one of two pinned sets that alternate, and enqueues copies, prefill slices and
/// the decode graph. Nothing here waits for the device but the reuse of a set.
/// </summary>
internal sealed class StepQueue : IDisposable
{
    private readonly ModelConfig _model;
    private readonly CudaStream _stream;
    private readonly CudaCache _cache;
    private readonly CudaSlots _slots;
    private readonly CudaKernels _kernels;
    private readonly StepArena _arena;
    private readonly CudaForward _forward;
    private readonly DecodeGraphs _graphs;
    private readonly StepStaging[] _staging;
    private readonly CudaEvent[] _sampled;
    private readonly (CudaEvent Start, CudaEvent End)[] _prefill;
    private readonly bool[] _prefilled = new bool[Depth];
    private readonly PlanStaging _plans;
    private readonly MaskStaging _masks;

    /// <param name="words">Scattered words of a step.</param>
    public StepQueue(
        ModelConfig model, CudaStream stream, CudaCache cache, CudaSlots slots, CudaKernels kernels, StepArena arena, CudaForward forward, DecodeGraphs graphs, int words)
    {
        _model = model;
        _stream = stream;
        _cache = cache;
        _slots = slots;
        _kernels = kernels;
        _arena = arena;
        _forward = forward;
        _graphs = graphs;
        _masks = new MaskStaging(stream, arena, StepArena.MaskWords(model));
        _plans = new PlanStaging(model.LayerCount, cache, slots, arena, graphs);
        var flushes = forward.Sparse is { } sparse ? SparseArena.MaxFlushes(sparse.Arena.Shape, arena.Slots) : 0;
        _staging = [.. Enumerable.Range(0, Depth).Select(_ => new StepStaging(arena.Slots, StepArena.MaskWords(model), arena.Lanes.Sum(l => l.Length), words, flushes))];
        _sampled = [.. Enumerable.Range(0, Depth).Select(_ => new CudaEvent())];
        _prefill = [.. Enumerable.Range(0, Depth).Select(_ => (new CudaEvent(timing: true), new CudaEvent(timing: true)))];
    }

    /// <summary>Steps that may be outstanding.</summary>
    public const int Depth = 2;

    public CudaSlots Slots => _slots;

    public DecodeGraphs Graphs => _graphs;

    /// <summary>Stopwatch ticks that <see cref="Read"/> and <see cref="Enqueue"/> have waited for the device.</summary>
    public long WaitedTicks { get; private set; }

    /// <summary>Runs every decode step with rows of no slot, and captures it if asked.</summary>
    public void WarmUp(bool capture)
    {
        var rows = _staging[0].Rows;
        rows.Span.Fill(_plans.Padding);
        _stream.Upload(rows, _arena.StepRows, rows.Length);
        _graphs.WarmUp(capture);
        _stream.Synchronize();
    }

    /// <summary>Waits for the samples of the step last enqueued with this set and reads them.</summary>
    /// <exception cref="CudaException">A kernel faulted.</exception>
    public void Read(int set, StepResult result)
    {
        Wait(_sampled[set]);
        _staging[set].Read(result);
        result.PrefillMilliseconds = _prefilled[set] ? _prefill[set].End.MillisecondsSince(_prefill[set].Start) : 0;
    }

    public void Dispose()
    {
        Array.ForEach(_sampled, e => e.Dispose());
        foreach (var (start, end) in _prefill)
        {
            start.Dispose();
            end.Dispose();
        }

        Array.ForEach(_staging, s => s.Dispose());
    }

    /// <param name="set">0 .. <see cref="Depth"/> - 1; its last step has been read.</param>
    /// <exception cref="InvalidOperationException">The plan names pages or slots that do not exist.</exception>
    public void Enqueue(StepPlan plan, int set)
    {
        var staging = _staging[set];
        Wait(staging.Finished);
        staging.Begin();
        foreach (ref readonly var start in plan.Starts.Items)
        {
            _slots.Start(_stream, start);
            _cache.Clear(_stream, start.Slot);
        }

        foreach (ref readonly var edit in plan.Edits.Items)
        {
            _cache.Set(edit);
        }

        foreach (ref readonly var edit in plan.Edits.Items)
        {
            var (address, value) = _cache.Entry(edit);
            staging.Add(address, value);
        }

        Scatter(staging, 0);
        foreach (ref readonly var copy in plan.Copies.Items)
        {
            _cache.Copy(_stream, copy);
        }

        Flush(plan, staging);

        var kinds = _plans.StageDecodes(plan, staging);
        var finals = _plans.StagePrefills(plan, staging);
        _masks.Stage(plan, staging);

        // prompts first: were they behind the decode rows, the rows of a step whose prompts end would wait for two steps' slices
        _prefilled[set] = plan.Prefills.Count > 0;
        if (_prefilled[set])
        {
            _prefill[set].Start.Record(_stream);
            Prefill(plan, staging);
            _prefill[set].End.Record(_stream);
        }

        Decode(plan, staging, kinds);
        SampleFinals(plan, staging, finals);
        _sampled[set].Record(_stream);
        staging.Finished.Record(_stream);
    }

    private void Wait(CudaEvent passed)
    {
        var start = Stopwatch.GetTimestamp();
        passed.Wait();
        WaitedTicks += Stopwatch.GetTimestamp() - start;
    }

    /// <summary>Compresses pages that the decode rows of this step already read as latent ones.</summary>
    private void Flush(StepPlan plan, StepStaging staging)
    {
        if (plan.Flushes.Count == 0)
        {
            return;
        }

        var sparse = _forward.Sparse ?? throw new InvalidOperationException("A flush was planned, but no layer is compressed.");
        _plans.StageFlushes(plan, staging);
        sparse.Flush(staging.Flushes, plan.Flushes.Count);
    }

    private void Decode(StepPlan plan, StepStaging staging, RowKinds kinds)
    {
        var count = plan.Decodes.Count;
        if (count == 0)
        {
            return;
        }

        _stream.Upload(staging.Rows, _arena.StepRows, _graphs.BucketOf(count));
        _forward.Reader.Name(staging.Rows.Span[..count], _slots.Lengths);
        _graphs.Run(count, kinds);
        Download(staging, 0, count);
    }

    private void Prefill(StepPlan plan, StepStaging staging)
    {
        _stream.Upload(staging.Tokens, _arena.Tokens, staging.TokenCount);
        var words = staging.WordCount;
        int tokens = 0, final = 0, done = 0;
        for (var i = 0; i < plan.Prefills.Count; i++)
        {
            if (i == done)
            {
                var pack = PromptPack.Count(plan.Prefills.Items[i..], CudaBackend.Chunk);
                _forward.Prefill(plan.Prefills.Items.Slice(i, pack), _arena.Tokens + tokens, final);
                done += pack;
            }

            ref readonly var slice = ref plan.Prefills[i];
            tokens += slice.FirstLayer == 0 ? slice.EndToken - slice.FirstToken : 0;
            if (slice.EndLayer == _model.LayerCount && slice.EndToken == slice.PromptLength)
            {
                foreach (var slot in slice.Slots)
                {
                    staging.Add((_slots.State.Length + slot).As<uint>(), (uint)slice.PromptLength);
                }

                final += slice.Samples ? 1 : 0;
            }
        }

        Scatter(staging, words);
    }

    private void SampleFinals(StepPlan plan, StepStaging staging, int finals)
    {
        var first = plan.Decodes.Count;
        var count = staging.ResultCount - first;
        if (count > 0)
        {
            _stream.Upload<StepRow>(staging.Rows.Span.Slice(_arena.Slots, count), _arena.StepRows + _arena.Slots);
            _forward.Reader.Name(staging.Rows.Span.Slice(_arena.Slots, count), _slots.Lengths);
            _forward.SampleFinals(finals, first, count);
            Download(staging, first, count);
        }
    }

    /// <summary>Writes the staged words from <paramref name="first"/> on.</summary>
    private void Scatter(StepStaging staging, int first)
    {
        var count = staging.WordCount - first;
        if (count > 0)
        {
            _stream.Upload<ScatteredWord>(staging.Words.Span.Slice(first, count), _arena.Words + first);
            _kernels.ScatterWords.Launch(_stream, _arena.Words + first, count);
        }
    }

    /// <summary>Fetches rows [first, first + count) of the result: three numbers each, and the alternatives.</summary>
    private void Download(StepStaging staging, int first, int count)
    {
        var slots = _arena.Slots;
        for (var i = 0; i < 3; i++)
        {
            _stream.Download(_arena.Result + ((i * slots) + first), staging.Result, (i * slots) + first, count);
        }

        for (var i = 0; i < 2; i++)
        {
            var at = (3 * slots) + (((i * slots) + first) * StepResult.MaxTop);
            _stream.Download(_arena.Result + at, staging.Result, at, count * StepResult.MaxTop);
        }
    }
}
