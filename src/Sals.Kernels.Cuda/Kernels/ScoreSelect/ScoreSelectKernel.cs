using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.ScoreSelect;

/// <summary>
/// Launcher of score_select.cu: scores the latent tokens of each row and lists the best. Blocks of a launch wait for each other, so two launches must
/// not run at the same time: one stream of a device uses it.
/// </summary>
public sealed class ScoreSelectKernel
{
    private const int Threads = 512;
    private readonly Kernel _few;
    private readonly Kernel _many;

    public ScoreSelectKernel(KernelModule module)
    {
        _few = module.Get("score_select");
        _many = module.Get("score_select_many");
    }

    /// <param name="shape">RS at most 1,024.</param>
    public static KernelProgram Program(LatentShape shape) => KernelProgram.Create<Arguments>("score_select.cu", shape.Defines());

    /// <param name="qkv">[B, stride] bf16; scoring query [RS] at element (HQ + 2 HK) DH</param>
    /// <param name="stride">Elements of a row, a multiple of 8.</param>
    /// <param name="inputs">Position, slot and parts as plan_step left them for as many rows.</param>
    /// <param name="latentTable">[SLOTS + 1, MAXP]</param>
    /// <param name="pages">Cache arena.</param>
    /// <param name="layerOffset">Byte offset of the layer's score plane in a latent page.</param>
    /// <param name="basis">Its scale (int8 only), latent mean and variance are read.</param>
    /// <param name="workspace">Sized by <see cref="Workspace.Bytes"/>, at least <paramref name="rows"/> rows.</param>
    /// <param name="bandQueries">[B, BANDS, RS], of shapes with bands: as band_queries left them.</param>
    /// <param name="bandBiases">[B, BANDS]</param>
    /// <param name="selected">[B, YMAX]; rows in which every candidate is selected are not written</param>
    public void Launch(
        CudaStream stream,
        DevicePtr<ushort> qkv,
        int stride,
        StepInputs inputs,
        DevicePtr<uint> latentTable,
        DevicePtr<byte> pages,
        long layerOffset,
        in DeviceBasis basis,
        Workspace workspace,
        DevicePtr<SelectedToken> selected,
        int rows,
        DevicePtr<float> bandQueries = default,
        DevicePtr<float> bandBiases = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(rows, PlanStepKernel.MaxRows);
        ArgumentOutOfRangeException.ThrowIfNotEqual(stride % 8, 0);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(inputs.Parts.Blocks);
        var arguments = new Arguments
        {
            Qkv = qkv,
            Position = inputs.Position,
            Slot = inputs.Slot,
            Parts = inputs.Parts.Entries,
            Table = latentTable,
            Pages = pages,
            Scale = basis.Scale,
            Mean = basis.LatentMean,
            Variance = basis.LatentVariance,
            BandQueries = bandQueries,
            BandBiases = bandBiases,
            Keys = workspace.Keys,
            Bins = workspace.Bins,
            Mask = workspace.Mask,
            Counts = workspace.Counts,
            Listed = workspace.Listed,
            Launches = workspace.Launches,
            Selected = selected,
            LayerOffset = layerOffset,
            QkvStride = stride,
            Rows = rows,
        };
        var kernel = inputs.Parts.HaveFew(rows) ? _few : _many;
        kernel.Launch(stream, new Extent(inputs.Parts.Blocks), new Extent(Threads), 0, arguments, overlap: true);
    }

    /// <summary>Scores of a step, and what blocks tell each other. One serves all layers, and one kernel: its launches are counted.</summary>
    /// <param name="Keys">[B, MAXP * 64], order-preserving integers of the scores</param>
    /// <param name="Bins">[B, MAXP * 64], the bin of each score</param>
    /// <param name="Mask">[B, MAXP * 2]</param>
    /// <param name="Counts">[2 * <see cref="ScoreParts.MaxBlocks"/>, 21, 4]</param>
    /// <param name="Listed">[<see cref="ScoreParts.MaxBlocks"/>, 1,536, 4]</param>
    /// <param name="Launches">[1], times the blocks of a launch</param>
    public readonly record struct Workspace(
        DevicePtr<uint> Keys, DevicePtr<byte> Bins, DevicePtr<uint> Mask, DevicePtr<uint> Counts, DevicePtr<uint> Listed, DevicePtr<ulong> Launches)
    {
        private const int PageTokens = 64;
        private const long CountWords = 2 * ScoreParts.MaxBlocks * 21 * 4;
        private const long ListedWords = ScoreParts.MaxBlocks * 1536 * 4;

        /// <summary>Bytes in an arena for steps of at most <paramref name="rows"/> rows.</summary>
        public static long Bytes(int rows, int maxPages) =>
            DeviceArena.SizeOf<uint>((long)rows * maxPages * PageTokens)
            + DeviceArena.SizeOf<byte>((long)rows * maxPages * PageTokens)
            + DeviceArena.SizeOf<uint>(2L * rows * maxPages)
            + DeviceArena.SizeOf<uint>(CountWords)
            + DeviceArena.SizeOf<uint>(ListedWords)
            + DeviceArena.SizeOf<ulong>(1);

        /// <summary>Takes it from an arena and clears what carries the number of a launch.</summary>
        public static Workspace Take(DeviceArena arena, CudaStream stream, int rows, int maxPages)
        {
            var workspace = new Workspace(
                arena.Take<uint>((long)rows * maxPages * PageTokens),
                arena.Take<byte>((long)rows * maxPages * PageTokens),
                arena.Take<uint>(2L * rows * maxPages),
                arena.Take<uint>(CountWords),
                arena.Take<uint>(ListedWords),
                arena.Take<ulong>(1));
            stream.Fill(workspace.Counts, CountWords, 0);
            stream.Fill(workspace.Listed, ListedWords, 0);
            stream.Fill(workspace.Launches, 1, 0);
            return workspace;
        }
    }

    private struct Arguments
    {
        public DevicePtr<ushort> Qkv;
        public DevicePtr<int> Position;
        public DevicePtr<int> Slot;
        public DevicePtr<ScorePart> Parts;
        public DevicePtr<uint> Table;
        public DevicePtr<byte> Pages;
        public DevicePtr<float> Scale;
        public DevicePtr<float> Mean;
        public DevicePtr<float> Variance;
        public DevicePtr<float> BandQueries;
        public DevicePtr<float> BandBiases;
        public DevicePtr<uint> Keys;
        public DevicePtr<byte> Bins;
        public DevicePtr<uint> Mask;
        public DevicePtr<uint> Counts;
        public DevicePtr<uint> Listed;
        public DevicePtr<ulong> Launches;
        public DevicePtr<SelectedToken> Selected;
        public long LayerOffset;
        public int QkvStride;
        public int Rows;
    }
}
