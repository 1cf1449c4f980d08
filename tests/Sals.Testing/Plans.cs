using Sals.Engine.Backends;
using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;

namespace Sals.Testing;

/// <summary>
/// Drives a backend without a scheduler: each slot gets pages of its own as it grows, never to be given back. Steps are built fluently
/// and run at once: <c>plans.Start(0, prompt).Prefill(0, prompt).Step()</c>.
/// </summary>
public sealed class Plans
{
    private readonly IStepBackend _backend;
    private readonly StepPlan _plan;
    private readonly StepResult _result;
    private readonly int[] _length;
    private readonly int[] _latent;
    private readonly long[] _next;
    private readonly Dictionary<(PoolKind Pool, int Slot, int Index), int> _pages = [];

    public Plans(IStepBackend backend)
    {
        _backend = backend;
        _plan = new StepPlan(backend.Info.SlotCount, backend.Info.MaxModelLength);
        _result = new StepResult(backend.Info.SlotCount);
        _length = new int[backend.Info.SlotCount];
        _latent = new int[backend.Info.SlotCount];
        // every pool takes slabs of its own: slab 1 onwards, round robin
        _next = [.. PoolKinds.All.Select(p => (1 + (int)p) * backend.Info.SlabBytes)];
    }

    public StepPlan Plan => _plan;

    /// <summary>Page of a slot, 0 when it has none.</summary>
    public int PageOf(PoolKind pool, int slot, int index) => _pages.GetValueOrDefault((pool, slot, index));

    /// <summary>A page that no slot owns.</summary>
    public int NewPage(PoolKind pool)
    {
        var info = _backend.Info;
        ref var next = ref _next[(int)pool];
        if (next / info.SlabBytes != (next + info.BytesOf(pool) - 1) / info.SlabBytes)
        {
            next = ((next / info.SlabBytes) + PoolKinds.Count) * info.SlabBytes;
        }

        var page = checked((int)(next / PageLayout.Unit));
        next += info.BytesOf(pool);
        if (next > info.CacheBytes)
        {
            throw new InvalidOperationException("The test's cache is too small.");
        }

        return page;
    }

    public Plans Start(int slot, int[] prompt, SamplingOptions? sampling = null)
    {
        _plan.Starts.Add(new SlotStart(slot, sampling ?? new SamplingOptions { Temperature = 0 }, prompt));
        _length[slot] = 0;
        _latent[slot] = 0;
        foreach (var key in _pages.Keys.Where(k => k.Slot == slot).ToArray())
        {
            _pages.Remove(key);
        }

        return this;
    }

    /// <summary>Names page <paramref name="index"/> of a slot; for sharing and for forks.</summary>
    public Plans Page(PoolKind pool, int slot, int index, int page)
    {
        _pages[(pool, slot, index)] = page;
        _plan.Edits.Add(new PageEdit(pool, slot, index, page));
        return this;
    }

    /// <summary>The whole prompt through all layers in one slice.</summary>
    public Plans Prefill(int slot, int[] prompt, bool samples = true, int lane = 0, int laneOffset = 0, int history = 0, int target = -1) =>
        Slice([slot], prompt, 0, _backend.Info.LayerCount, history, prompt.Length, samples, lane, laneOffset, history, target);

    /// <summary>One slice; the pages of the first slot are allocated as needed and the slots' lengths follow.</summary>
    public Plans Slice(
        int[] slots, int[] prompt, int firstLayer, int endLayer, int first, int end, bool samples = true, int lane = 0, int laneOffset = 0, int history = 0, int target = -1)
    {
        for (; _latent[slots[0]] < CacheTimeline.LatentPages(prompt.Length, _backend.Info.Spec); _latent[slots[0]]++)
        {
            if (PageOf(PoolKind.Latent, slots[0], _latent[slots[0]]) == 0)
            {
                Page(PoolKind.Latent, slots[0], _latent[slots[0]], NewPage(PoolKind.Latent));
            }
        }

        Grow(slots[0], prompt.Length);
        var last = endLayer == _backend.Info.LayerCount && end == prompt.Length;
        _plan.Prefills.Add(new PrefillSlice(lane, laneOffset, slots, prompt, history, firstLayer, endLayer, first, end, samples && last, target));
        foreach (var slot in slots)
        {
            _length[slot] = last ? prompt.Length : _length[slot];
        }

        return this;
    }

    public Plans Decode(int slot, int forced = -1, int target = -1)
    {
        Grow(slot, ++_length[slot]);
        for (; _latent[slot] < CacheTimeline.LatentPages(_length[slot], _backend.Info.Spec); _latent[slot]++)
        {
            var index = _latent[slot];
            var latent = NewPage(PoolKind.Latent);
            _plan.Flushes.Add(new PageFlush(slot, index, PageOf(PoolKind.Hot, slot, index), latent));
            Page(PoolKind.Latent, slot, index, latent);
            if (!CacheTimeline.NeedsHot(index, _length[slot], _backend.Info.Spec))
            {
                Page(PoolKind.Hot, slot, index, 0);
            }
        }

        _plan.Decodes.Add(new DecodeRow(slot, forced, target));
        return this;
    }

    public Plans Mask(int slot, uint[] bits)
    {
        _plan.Masks.Add(new SlotMask(slot, bits));
        return this;
    }

    public Plans Copy(PoolKind pool, int from, int to)
    {
        _plan.Copies.Add(new PageCopy(pool, from, to));
        return this;
    }

    /// <summary>Submits and collects. The result is reused by the next step.</summary>
    public StepResult Step()
    {
        try
        {
            _backend.Collect(_backend.Submit(_plan), _result);
        }
        finally
        {
            _plan.Clear();
        }

        return _result;
    }

    /// <summary>Greedy or sampled continuation of one slot whose prompt has just been prefilled and sampled.</summary>
    public int[] Generate(int slot, int first, int count)
    {
        var tokens = new int[count];
        tokens[0] = first;
        for (var i = 1; i < count; i++)
        {
            tokens[i] = Decode(slot).Step().Tokens[0];
        }

        return tokens;
    }

    private void Grow(int slot, int length)
    {
        foreach (var pool in PoolKinds.All)
        {
            if (pool == PoolKind.Latent || _backend.Info.BytesOf(pool) == 0)
            {
                continue;
            }

            for (var index = 0; index * PageLayout.PageSize < length; index++)
            {
                // a page that is already latent keeps a hot copy only where it holds sinks
                var wanted = pool == PoolKind.Dense || index >= _latent[slot] || CacheTimeline.NeedsHot(index, length, _backend.Info.Spec);
                if (wanted && PageOf(pool, slot, index) == 0)
                {
                    Page(pool, slot, index, NewPage(pool));
                }
            }
        }
    }
}
