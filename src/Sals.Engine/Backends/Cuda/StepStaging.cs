using System.Runtime.InteropServices;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Kernels.FlushPages;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.ScatterWords;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>
/// Pinned host side of one step: what it uploads and where its results arrive. Two of them alternate, and each is written again only after
/// <see cref="Finished"/>: a copy in flight must not see the next step's numbers.
/// </summary>
internal sealed class StepStaging : IDisposable
{
    private readonly int _capacity;

    /// <param name="capacity">Rows of a step: the slots.</param>
    /// <param name="maskWords">Words of an allowed-token bitmap.</param>
    /// <param name="tokens">Tokens of all lanes.</param>
    /// <param name="words">Scattered words of a step.</param>
    /// <param name="flushes">Pages that a step compresses at most.</param>
    public StepStaging(int capacity, int maskWords, int tokens, int words, int flushes)
    {
        _capacity = capacity;
        Rows = new PinnedBuffer<StepRow>(2 * capacity);
        Masks = new PinnedBuffer<int>(2 * capacity);
        Bitmaps = new PinnedBuffer<uint>(checked(capacity * maskWords));
        Words = new PinnedBuffer<ScatteredWord>(words);
        Tokens = new PinnedBuffer<int>(tokens);
        Result = new PinnedBuffer<int>(capacity * StepArena.ResultInts);
        Flushes = new PinnedBuffer<FlushedPage>(Math.Max(1, flushes));
        Slots = new int[capacity];
        SparseLayers = new int[capacity];
        ScoredLayers = new int[capacity];
        SelectedTokens = new int[capacity];
    }

    /// <summary>As <see cref="StepArena.StepRows"/></summary>
    public PinnedBuffer<StepRow> Rows { get; }

    /// <summary>As <see cref="StepArena.Masks"/></summary>
    public PinnedBuffer<int> Masks { get; }

    /// <summary>[SLOTS, ceil(V / 32)]</summary>
    public PinnedBuffer<uint> Bitmaps { get; }

    public PinnedBuffer<ScatteredWord> Words { get; }

    public PinnedBuffer<int> Tokens { get; }

    public PinnedBuffer<FlushedPage> Flushes { get; }

    /// <summary>As <see cref="StepArena.Result"/></summary>
    public PinnedBuffer<int> Result { get; }

    /// <summary>Words written so far.</summary>
    public int WordCount { get; private set; }

    /// <summary>Tokens written so far.</summary>
    public int TokenCount { get; private set; }

    /// <summary>Passed when the device no longer reads or writes this set.</summary>
    public CudaEvent Finished { get; } = new();

    /// <summary>Slots of the sampled rows, in result order.</summary>
    public int[] Slots { get; }

    public int ResultCount { get; set; }

    /// <summary>[SLOTS], of the sampled rows: layers that read latent pages.</summary>
    public int[] SparseLayers { get; }

    /// <summary>[SLOTS], of the sampled rows: layers whose tokens were chosen by score.</summary>
    public int[] ScoredLayers { get; }

    /// <summary>[SLOTS], of the sampled rows: latent tokens attended to, all layers.</summary>
    public int[] SelectedTokens { get; }

    /// <summary>Starts over, once <see cref="Finished"/> has passed.</summary>
    public void Begin()
    {
        (WordCount, TokenCount, ResultCount) = (0, 0, 0);
        SparseLayers.AsSpan().Clear();
        ScoredLayers.AsSpan().Clear();
        SelectedTokens.AsSpan().Clear();
    }

    public void Add(DevicePtr<uint> address, uint value) => Words.Span[WordCount++] = new ScatteredWord(address, value);

    /// <summary>Appends token ids and returns where they begin.</summary>
    public int Add(ReadOnlySpan<int> tokens)
    {
        var first = TokenCount;
        tokens.CopyTo(Tokens.Span[first..]);
        TokenCount += tokens.Length;
        return first;
    }

    /// <summary>Copies what has been downloaded.</summary>
    public void Read(StepResult result)
    {
        var count = ResultCount;
        var all = Result.Span;
        var floats = MemoryMarshal.Cast<int, float>(all);
        result.Count = count;
        Slots.AsSpan(0, count).CopyTo(result.Slots);
        all[..count].CopyTo(result.Tokens);
        floats.Slice(_capacity, count).CopyTo(result.LogProbabilities);
        floats.Slice(2 * _capacity, count).CopyTo(result.TargetLogProbabilities);
        all.Slice(3 * _capacity, count * StepResult.MaxTop).CopyTo(result.TopIds);
        floats.Slice((3 + StepResult.MaxTop) * _capacity, count * StepResult.MaxTop).CopyTo(result.TopLogProbabilities);
        SparseLayers.AsSpan(0, count).CopyTo(result.SparseLayers);
        ScoredLayers.AsSpan(0, count).CopyTo(result.ScoredLayers);
        SelectedTokens.AsSpan(0, count).CopyTo(result.SelectedTokens);
    }

    public void Dispose()
    {
        Finished.Dispose();
        Rows.Dispose();
        Masks.Dispose();
        Bitmaps.Dispose();
        Words.Dispose();
        Tokens.Dispose();
        Result.Dispose();
        Flushes.Dispose();
    }
}
