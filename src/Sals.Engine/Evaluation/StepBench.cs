using System.Diagnostics;
using Sals.Engine.Backends;
using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;

namespace Sals.Engine.Evaluation;

/// <summary>
/// Times a backend's own steps, without scheduler and server: prefill of one prompt and greedy decoding of a batch. Drives the
/// dense and hot pools; sequences must stay short enough that no page becomes latent.
/// </summary>
public sealed class StepBench
{
    private readonly IStepBackend _backend;
    private readonly StepPlan _plan;
    private readonly StepResult _result;
    private readonly int[] _length;
    private readonly long[] _next;

    /// <param name="backend">A backend that nothing else uses; every slot is taken over.</param>
    public StepBench(IStepBackend backend)
    {
        _backend = backend;
        _plan = new StepPlan(backend.Info.SlotCount, backend.Info.MaxModelLength);
        _result = new StepResult(backend.Info.SlotCount);
        _length = new int[backend.Info.SlotCount];
        _next = new long[PoolKinds.Count];
    }

    /// <summary>Runs until the figures no longer come from cold code: each is the median of <paramref name="repeats"/>.</summary>
    /// <param name="promptLength">Tokens of the prompt that is prefilled.</param>
    /// <param name="context">Prompt of each decoding sequence.</param>
    /// <param name="steps">Tokens decoded after it.</param>
    /// <param name="batch">Rows of the batch that is compared with one stream; at most the slots.</param>
    /// <exception cref="ArgumentException">The sequences do not fit the backend's length, slots or cache.</exception>
    public StepBenchResult Run(int promptLength = 1024, int context = 128, int steps = 64, int batch = 8, int repeats = 5)
    {
        var info = _backend.Info;
        if (Math.Max(promptLength, context + steps) > info.MaxModelLength || batch > info.SlotCount)
        {
            throw new ArgumentException(
                $"{batch} sequences of {Math.Max(promptLength, context + steps)} tokens; the backend has {info.SlotCount} slots of {info.MaxModelLength}.");
        }

        Prefill(0, promptLength);
        Decode(1, context, steps);
        var prefill = Median(repeats, () => Prefill(0, promptLength));
        var one = Median(repeats, () => Decode(1, context, steps));
        var many = Median(repeats, () => Decode(batch, context, steps));
        return new StepBenchResult(promptLength, prefill, context, steps, one / steps, batch, many / steps);
    }

    private static double Median(int repeats, Func<double> run)
    {
        var times = new double[repeats];
        for (var i = 0; i < repeats; i++)
        {
            times[i] = run();
        }

        Array.Sort(times);
        return times[repeats / 2];
    }

    /// <summary>Seconds for a prompt of random ids through all layers and its first token.</summary>
    private double Prefill(int slot, int length)
    {
        if (slot == 0)
        {
            Reset();
        }

        var random = new Random(slot);
        var prompt = new int[length];
        for (var i = 0; i < length; i++)
        {
            prompt[i] = random.Next(_backend.Info.VocabularySize);
        }

        _plan.Starts.Add(new SlotStart(slot, new SamplingOptions { Temperature = 0 }, prompt));
        AddPages(slot, 0, length);
        _plan.Prefills.Add(new PrefillSlice(0, 0, [slot], prompt, 0, 0, _backend.Info.LayerCount, 0, length, Samples: true));
        _length[slot] = length;
        return Step();
    }

    /// <summary>Seconds for all steps of a batch; each sequence has a prompt of its own.</summary>
    private double Decode(int rows, int context, int steps)
    {
        for (var slot = 0; slot < rows; slot++)
        {
            Prefill(slot, context);
        }

        double seconds = 0;
        for (var step = 0; step < steps; step++)
        {
            for (var slot = 0; slot < rows; slot++)
            {
                AddPages(slot, _length[slot], ++_length[slot]);
                _plan.Decodes.Add(new DecodeRow(slot));
            }

            seconds += Step();
        }

        return seconds;
    }

    private double Step()
    {
        var start = Stopwatch.GetTimestamp();
        _backend.Collect(_backend.Submit(_plan), _result);
        var seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        _plan.Clear();
        return seconds;
    }

    // pools take slabs in turn from slab 1 on: nobody else uses the arena
    private void Reset()
    {
        for (var pool = 0; pool < PoolKinds.Count; pool++)
        {
            _next[pool] = (1 + pool) * _backend.Info.SlabBytes;
        }
    }

    private void AddPages(int slot, int from, int to)
    {
        var first = (from + PageLayout.PageSize - 1) / PageLayout.PageSize;
        for (var index = first; index * PageLayout.PageSize < to; index++)
        {
            foreach (var pool in PoolKinds.All)
            {
                if (pool != PoolKind.Latent && _backend.Info.BytesOf(pool) > 0)
                {
                    _plan.Edits.Add(new PageEdit(pool, slot, index, NewPage(pool)));
                }
            }
        }
    }

    private int NewPage(PoolKind pool)
    {
        var slab = _backend.Info.SlabBytes;
        var size = _backend.Info.BytesOf(pool);
        ref var next = ref _next[(int)pool];
        if (next / slab != (next + size - 1) / slab)
        {
            next = ((next / slab) + PoolKinds.Count) * slab;
        }

        var page = checked((int)(next / PageLayout.Unit));
        next += size;
        return next <= _backend.Info.CacheBytes
            ? page
            : throw new ArgumentException($"The benchmark's sequences do not fit a cache of {_backend.Info.CacheBytes >> 20} MiB.");
    }
}

/// <summary>Seconds measured by <see cref="StepBench"/>.</summary>
/// <param name="PromptLength">Tokens prefilled.</param>
/// <param name="PrefillSeconds">Of the prompt and its first token: the time to first token without a queue.</param>
/// <param name="Context">Tokens before the decoded ones.</param>
/// <param name="Steps">Tokens decoded per sequence.</param>
/// <param name="StepSeconds">One step of one stream.</param>
/// <param name="Batch">Rows of the batch.</param>
/// <param name="BatchStepSeconds">One step of the batch.</param>
public sealed record StepBenchResult(
    int PromptLength, double PrefillSeconds, int Context, int Steps, double StepSeconds, int Batch, double BatchStepSeconds)
{
    public double PrefillTokensPerSecond => PromptLength / PrefillSeconds;

    public double DecodeTokensPerSecond => 1 / StepSeconds;

    public double BatchTokensPerSecond => Batch / BatchStepSeconds;

    /// <summary>How many times one stream's rate the batch reaches.</summary>
    public double BatchSpeedup => BatchTokensPerSecond / DecodeTokensPerSecond;
}
