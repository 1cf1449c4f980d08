using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Gemm;
using Sals.Kernels.Cuda.Kernels.DenseAttend;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.SampleToken;
using Sals.Kernels.Cuda.Kernels.ScatterWords;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>One prefill lane: hidden states of all its tokens and the exact keys and values of the layer in progress, bf16.</summary>
/// <param name="Length">Tokens.</param>
/// <param name="Hidden">[Length, H]</param>
/// <param name="Keys">[Length, HK, DH]</param>
/// <param name="Values">[Length, HK, DH]</param>
internal sealed record CudaLane(int Length, DevicePtr<ushort> Hidden, DevicePtr<ushort> Keys, DevicePtr<ushort> Values);

/// <summary>
/// Every buffer of a step, at an address fixed at start-up: what a captured graph refers to, and the reason that nothing can run out of
/// memory after "ready". Decode and prefill of a step follow each other on one stream and share the activations.
/// </summary>
internal sealed class StepArena : IDisposable
{
    private readonly DeviceArena _arena;

    /// <param name="chunk">Tokens of a prefill chunk.</param>
    /// <param name="words">Scattered words of a step.</param>
    /// <param name="scoreRank">RS, behind every decode row of queries, keys and values; 0 without compressed layers.</param>
    public StepArena(CudaStream stream, ModelConfig model, int slots, int maxPages, int chunk, int[] laneLengths, int words, int scoreRank)
    {
        _arena = new DeviceArena("activations", Bytes(model, slots, maxPages, chunk, laneLengths, words, scoreRank));

        // padding rows are computed and dropped; numbers keep them from being slow or alarming in a debugger
        stream.Fill(_arena.Start, _arena.Bytes, 0);
        var (rows, work, qkv) = (Rows(slots, chunk), Work(slots, maxPages), QueryKeyValues(model, slots, chunk, scoreRank));
        Slots = slots;
        StepRows = _arena.Take<StepRow>(2L * slots);
        Masks = _arena.Take<int>(2L * slots);
        Bitmaps = _arena.Take<uint>((long)slots * MaskWords(model));
        Words = _arena.Take<ScatteredWord>(words);
        Tokens = _arena.Take<int>(laneLengths.Sum());
        Result = _arena.Take<int>(slots * ResultInts);
        stream.Fill(Masks, 2L * slots, 0xFF);
        Rope = _arena.Take<float>((long)maxPages * PageLayout.PageSize * model.HeadSize);
        Hidden = _arena.Take<ushort>((long)PaddedSlots(slots) * model.HiddenSize);
        Finals = _arena.Take<ushort>((long)PaddedSlots(slots) * model.HiddenSize);
        Normed = _arena.Take<ushort>((long)rows * model.HiddenSize);
        QueryKeyValue = _arena.Take<ushort>(qkv);
        Attended = _arena.Take<ushort>((long)rows * model.QueryWidth);
        GateUp = _arena.Take<ushort>((long)rows * 2 * model.IntermediateSize);
        Activated = _arena.Take<ushort>((long)rows * model.IntermediateSize);
        Logits = _arena.Take<float>((long)slots * model.VocabularySize);
        AdjustedLogits = _arena.Take<float>((long)slots * model.VocabularySize);
        Inputs = new StepInputs(
            _arena.Take<int>(slots), _arena.Take<int>(slots), _arena.Take<int>(slots), WorkList.Take(_arena, stream, slots, work));
        Attention = DenseAttendKernel.Workspace.Take(_arena, stream, work, model.HeadSize, model.HeadCount);
        Gemm = _arena.Take<byte>(GemmPlanCache.WorkspaceBytes);
        Lanes = [.. laneLengths.Select(l => new CudaLane(l, _arena.Take<ushort>((long)l * model.HiddenSize), _arena.Take<ushort>((long)l * model.KeyWidth), _arena.Take<ushort>((long)l * model.KeyWidth)))];
    }

    /// <summary>Numbers a sampled row reports: token, two log-probabilities, ids and log-probabilities of the alternatives.</summary>
    public static int ResultInts => 3 + (2 * StepResult.MaxTop);

    public int Slots { get; }

    /// <summary>[2, SLOTS]: decode rows padded to the bucket, then the rows that prefills sample</summary>
    public DevicePtr<StepRow> StepRows { get; }

    /// <summary>[2, SLOTS], index of the row's bitmap; -1 but in a step with masks</summary>
    public DevicePtr<int> Masks { get; }

    /// <summary>[SLOTS, ceil(V / 32)]</summary>
    public DevicePtr<uint> Bitmaps { get; }

    public DevicePtr<ScatteredWord> Words { get; }

    /// <summary>[tokens of all lanes]</summary>
    public DevicePtr<int> Tokens { get; }

    /// <summary>[<see cref="ResultInts"/>, SLOTS], the alternatives [SLOTS, MaxTop] each</summary>
    public DevicePtr<int> Result { get; }

    /// <summary>[positions, DH / 2] of (cos, sin)</summary>
    public DevicePtr<float> Rope { get; }

    /// <summary>[SLOTS, H], rows of the decode step</summary>
    public DevicePtr<ushort> Hidden { get; }

    /// <summary>[SLOTS, H], last hidden states of prompts whose prefill ends in this step</summary>
    public DevicePtr<ushort> Finals { get; }

    /// <summary>[rows, H]</summary>
    public DevicePtr<ushort> Normed { get; }

    /// <summary>[rows, (HQ + 2 HK) DH], in decode of compressed layers [SLOTS, (HQ + 2 HK) DH + RS]</summary>
    public DevicePtr<ushort> QueryKeyValue { get; }

    /// <summary>[rows, HQ DH]</summary>
    public DevicePtr<ushort> Attended { get; }

    /// <summary>[rows, 2 F]</summary>
    public DevicePtr<ushort> GateUp { get; }

    /// <summary>[rows, F]</summary>
    public DevicePtr<ushort> Activated { get; }

    /// <summary>[SLOTS, V]</summary>
    public DevicePtr<float> Logits { get; }

    /// <summary>[SLOTS, V]</summary>
    public DevicePtr<float> AdjustedLogits { get; }

    public StepInputs Inputs { get; }

    public DenseAttendKernel.Workspace Attention { get; }

    /// <summary>[GemmPlanCache.WorkspaceBytes]</summary>
    public DevicePtr<byte> Gemm { get; }

    public CudaLane[] Lanes { get; }

    public long Size => _arena.Bytes;

    public static long Bytes(ModelConfig model, int slots, int maxPages, int chunk, int[] laneLengths, int words, int scoreRank)
    {
        var (rows, work, qkv) = (Rows(slots, chunk), Work(slots, maxPages), QueryKeyValues(model, slots, chunk, scoreRank));
        return DeviceArena.SizeOf<StepRow>(2L * slots)
            + DeviceArena.SizeOf<int>(2L * slots)
            + DeviceArena.SizeOf<uint>((long)slots * MaskWords(model))
            + DeviceArena.SizeOf<ScatteredWord>(words)
            + DeviceArena.SizeOf<int>(laneLengths.Sum())
            + DeviceArena.SizeOf<int>(slots * ResultInts)
            + DeviceArena.SizeOf<float>((long)maxPages * PageLayout.PageSize * model.HeadSize)
            + (2 * DeviceArena.SizeOf<ushort>((long)PaddedSlots(slots) * model.HiddenSize))
            + DeviceArena.SizeOf<ushort>((long)rows * model.HiddenSize)
            + DeviceArena.SizeOf<ushort>(qkv)
            + DeviceArena.SizeOf<ushort>((long)rows * model.QueryWidth)
            + DeviceArena.SizeOf<ushort>((long)rows * 2 * model.IntermediateSize)
            + DeviceArena.SizeOf<ushort>((long)rows * model.IntermediateSize)
            + (2 * DeviceArena.SizeOf<float>((long)slots * model.VocabularySize))
            + (3 * DeviceArena.SizeOf<int>(slots))
            + WorkList.Bytes(slots, work)
            + DenseAttendKernel.Workspace.Bytes(work, model.HeadSize, model.HeadCount)
            + DeviceArena.SizeOf<byte>(GemmPlanCache.WorkspaceBytes)
            + laneLengths.Sum(l => DeviceArena.SizeOf<ushort>((long)l * model.HiddenSize) + (2 * DeviceArena.SizeOf<ushort>((long)l * model.KeyWidth)));
    }

    public static int MaskWords(ModelConfig model) => (model.VocabularySize + 31) / 32;

    /// <summary>Where the results of rows from <paramref name="first"/> on go.</summary>
    public SampledTokens ResultsFrom(int first)
    {
        var tops = Result + (3L * Slots);
        return new SampledTokens(
            Result + first,
            (Result + (Slots + first)).As<float>(),
            (Result + ((2L * Slots) + first)).As<float>(),
            tops + ((long)first * StepResult.MaxTop),
            (tops + ((Slots + (long)first) * StepResult.MaxTop)).As<float>());
    }

    public void Dispose() => _arena.Dispose();

    // the skinny product reads whole blocks of rows
    private static int PaddedSlots(int slots) => Math.Max(64, slots);

    private static int Rows(int slots, int chunk) => Math.Max(PaddedSlots(slots), chunk);

    private static int Work(int slots, int maxPages) => slots * DenseRuns.Most(maxPages * PageLayout.PageSize);

    private static long QueryKeyValues(ModelConfig model, int slots, int chunk, int scoreRank)
    {
        var width = model.QueryWidth + (2 * model.KeyWidth);
        return Math.Max((long)Rows(slots, chunk) * width, (long)PaddedSlots(slots) * (width + scoreRank));
    }
}
