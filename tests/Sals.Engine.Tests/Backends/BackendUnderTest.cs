using Sals.Engine.Backends;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Testing;

namespace Sals.Engine.Tests.Backends;

/// <summary>What the contracts must know of a backend to test it, and how they drive it: prompts, greedy and random sampling, runs of one slot.</summary>
public abstract class BackendUnderTest
{
    protected const int Slots = 6;

    /// <summary>Longest sequence; more than two prefill chunks, so that slices have something to cut.</summary>
    protected virtual int MaxLength => 320;

    /// <summary>The model of every fact, V 300.</summary>
    protected virtual ModelWeights Model() => TinyModel.Build();

    /// <summary>How far log-probabilities of one sequence may differ between prefill, which is exact, and decode.</summary>
    protected virtual double Tolerance => 1e-4;

    /// <summary>Of exact keys and values in the cache.</summary>
    protected abstract ElementType ExactType { get; }

    /// <summary>A backend with <see cref="Slots"/> slots for sequences of <see cref="MaxLength"/>; ids from sampleable on are padding.</summary>
    protected abstract IStepBackend Create(ModelWeights weights, int? sampleable = null);

    /// <summary>Fills cache memory, all pages of all pools, with a NaN pattern.</summary>
    protected abstract void PoisonCache(IStepBackend backend);

    /// <summary>Fills tokens [first, 64) of every layer in a dense or hot page with NaN.</summary>
    protected abstract void PoisonTokens(IStepBackend backend, PoolKind pool, int page, int first);

    /// <summary>Whether every byte of a page is still the pattern.</summary>
    protected abstract bool IsPoison(IStepBackend backend, PoolKind pool, int page);

    protected static SamplingOptions Greedy { get; } = new() { Temperature = 0, LogProbabilities = 5 };

    protected static SamplingOptions Sampled(ulong seed) => new() { Temperature = 1.5f, TopP = 0.95f, Seed = seed, LogProbabilities = 5 };

    protected static int[] Prompt(int seed, int length)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => random.Next(300))];
    }

    /// <summary>Starts a slot, prefills its prompt and decodes until <paramref name="count"/> tokens are sampled.</summary>
    protected static RowSample[] Run(Plans plans, int slot, int[] prompt, int count, SamplingOptions sampling)
    {
        var first = new RowSample(plans.Start(slot, prompt, sampling).Prefill(slot, prompt).Step(), 0);
        return [first, .. Continue(plans, slot, count - 1)];
    }

    protected static RowSample[] Continue(Plans plans, int slot, int count) =>
        [.. Enumerable.Range(0, count).Select(_ => new RowSample(plans.Decode(slot).Step(), 0))];
}
