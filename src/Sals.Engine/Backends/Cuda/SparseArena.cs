using Sals.Engine.Paging;
using Sals.Kernels.Cuda.Kernels.FlushPages;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.ScoreSelect;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Kernels.SparseAttend;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>Every buffer of the compressed layers, at an address fixed at start-up; all layers use them in turn.</summary>
internal sealed class SparseArena : IDisposable
{
    private readonly DeviceArena _arena;

    /// <param name="multiprocessors">Of the device.</param>
    public SparseArena(CudaStream stream, LatentShape shape, int slots, int multiprocessors)
    {
        Shape = shape;
        _arena = new DeviceArena("compressed layers", Bytes(shape, slots));
        var items = ItemCount(shape, slots);
        Items = WorkList.Take(_arena, stream, slots, items);
        ExactRuns = WorkList.Take(_arena, stream, slots, RunCount(shape, slots));
        Selected = _arena.Take<SelectedToken>((long)slots * shape.SelectedStride);
        Flushes = _arena.Take<FlushedPage>(MaxFlushes(shape, slots));
        ScoreParts = ScoreParts.Take(_arena, stream, multiprocessors);
        Scores = ScoreSelectKernel.Workspace.Take(_arena, stream, slots, shape.MaxPages);
        BandQueries = _arena.Take<float>((long)slots * shape.ScoreBands * shape.ScoreRank);
        BandBiases = _arena.Take<float>((long)slots * shape.ScoreBands);
        BandMeans = _arena.Take<float>(BandMeanCount(shape));
        Parts = SparseAttendKernel.Workspace.Take(_arena, shape, items);
    }

    public LatentShape Shape { get; }

    /// <summary>As <see cref="StepInputs.Items"/></summary>
    public WorkList Items { get; }

    /// <summary>As <see cref="StepInputs.ExactRuns"/>; their partial results lie in <see cref="StepArena.Attention"/></summary>
    public WorkList ExactRuns { get; }

    /// <summary>[SLOTS, YMAX], tokens that the layer in progress chose, of rows that need scores</summary>
    public DevicePtr<SelectedToken> Selected { get; }

    /// <summary>[<see cref="MaxFlushes"/>]</summary>
    public DevicePtr<FlushedPage> Flushes { get; }

    /// <summary>As <see cref="StepInputs.Parts"/></summary>
    public ScoreParts ScoreParts { get; }

    public ScoreSelectKernel.Workspace Scores { get; }

    /// <summary>[SLOTS, BANDS, RS]; empty without bands, as the following</summary>
    public DevicePtr<float> BandQueries { get; }

    /// <summary>[SLOTS, BANDS]</summary>
    public DevicePtr<float> BandBiases { get; }

    /// <summary>[levels, DH / 2, 2], <see cref="Latent.ScoreBands.MeanRotations"/></summary>
    public DevicePtr<float> BandMeans { get; }

    public SparseAttendKernel.Workspace Parts { get; }

    public static long Bytes(LatentShape shape, int slots)
    {
        var items = ItemCount(shape, slots);
        return WorkList.Bytes(slots, items)
            + WorkList.Bytes(slots, RunCount(shape, slots))
            + DeviceArena.SizeOf<SelectedToken>((long)slots * shape.SelectedStride)
            + DeviceArena.SizeOf<FlushedPage>(MaxFlushes(shape, slots))
            + ScoreParts.Bytes
            + ScoreSelectKernel.Workspace.Bytes(slots, shape.MaxPages)
            + DeviceArena.SizeOf<float>((long)slots * shape.ScoreBands * shape.ScoreRank)
            + DeviceArena.SizeOf<float>((long)slots * shape.ScoreBands)
            + DeviceArena.SizeOf<float>(BandMeanCount(shape))
            + SparseAttendKernel.Workspace.Bytes(shape, items);
    }

    /// <summary>Flushes of a step at most, as many as a plan holds.</summary>
    public static int MaxFlushes(LatentShape shape, int slots) => shape.MaxPages + slots + 64;

    public void Dispose() => _arena.Dispose();

    private static int BandMeanCount(LatentShape shape) => Latent.ScoreBands.Levels(shape.ScoreBands) * shape.HeadSize;

    private static int ItemCount(LatentShape shape, int slots) => checked(slots * AttendItems.Most(shape, shape.MaxPages * PageLayout.PageSize));

    private static int RunCount(LatentShape shape, int slots) => slots * DenseRuns.Most(shape.MaxPages * PageLayout.PageSize);
}
