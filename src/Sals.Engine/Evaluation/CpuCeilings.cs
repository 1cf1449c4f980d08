using System.Diagnostics;
using System.Numerics.Tensors;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Models;

namespace Sals.Engine.Evaluation;

/// <summary>What this machine's processors can do at the moment of measurement, so that a figure can be given as a share of it.</summary>
/// <param name="ReadBytesPerSecond">Reading an array far larger than the private caches, all threads.</param>
/// <param name="FlopsPerSecond">The backend's own register tile on operands in the first-level cache, all threads: two operations per multiply-add.</param>
public sealed record CpuCeilings(double ReadBytesPerSecond, double FlopsPerSecond)
{
    private const int StreamFloats = 24 << 20;
    private const int Chunks = 64;
    private const int Depth = 128;

    /// <summary>Takes about a quarter of a second and 96 MiB.</summary>
    public static CpuCeilings Measure(int threads)
    {
        using var team = new WorkerTeam(threads);
        var stream = new float[StreamFloats];
        stream.AsSpan().Fill(1);
        var sums = new float[Chunks];
        var read = Best(6, () => team.Run(Chunks, (chunk, _) =>
            sums[chunk] = TensorPrimitives.Sum(stream.AsSpan(chunk * (StreamFloats / Chunks), StreamFloats / Chunks))));

        // x [8, 128] and one panel [128, 32] are 20 KiB
        var x = new float[MatMul.TileRows * Depth];
        var panel = new PackedMatrix(team, new Ones(MatMul.Width, Depth));
        var y = Enumerable.Range(0, threads).Select(_ => new float[MatMul.TileRows * MatMul.Width]).ToArray();
        const int tiles = 400;
        var multiply = Best(20, () => team.Run(Chunks, (_, worker) =>
        {
            for (var i = 0; i < tiles; i++)
            {
                MatMul.Run(x, Depth, MatMul.TileRows, panel, 0, y[worker], MatMul.Width);
            }
        }));
        return new CpuCeilings((double)StreamFloats * sizeof(float) / read, 2.0 * Chunks * tiles * x.Length * MatMul.Width / multiply);
    }

    private static double Best(int repeats, Action run)
    {
        var best = double.MaxValue;
        for (var i = 0; i < repeats; i++)
        {
            var start = Stopwatch.GetTimestamp();
            run();
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return best;
    }

    private sealed class Ones : Models.Tensor
    {
        [System.Diagnostics.CodeAnalysis.SetsRequiredMembers]
        public Ones(int rows, int columns) => (Name, Type, Rows, Columns) = ("ones", ElementType.Float32, rows, columns);

        public override ReadOnlySpan<byte> RowBytes(int first, int count) => throw new NotSupportedException();

        public override void Read(int first, int count, Span<float> destination) => destination[..(count * Columns)].Fill(1);
    }
}
