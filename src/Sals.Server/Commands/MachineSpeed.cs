using System.Diagnostics;
using System.Numerics;
using System.Numerics.Tensors;

namespace Sals.Server.Commands;

/// <summary>What this machine can do at this moment, on all of its cores: the ceiling that shares are of. Best of a few short runs.</summary>
public static class MachineSpeed
{
    private const int Rounds = 5;

    /// <summary>Reading memory that no cache holds.</summary>
    public static double ReadGigabytesPerSecond()
    {
        var threads = Environment.ProcessorCount;
        var parts = Enumerable.Range(0, threads).Select(_ =>
        {
            var part = new float[(256 << 20) / sizeof(float) / threads];
            Array.Fill(part, 1f);
            return part;
        }).ToArray();
        return Best(parts.Sum(part => (double)part.Length) * sizeof(float), part => TensorPrimitives.Sum(parts[part]));
    }

    /// <summary>float32 multiply-adds on registers, eight independent chains.</summary>
    public static double GigaflopsPerSecond()
    {
        const int steps = 4_000_000;
        const int chains = 8;
        return Best(2.0 * steps * chains * Vector<float>.Count * Environment.ProcessorCount, _ => Multiply(steps));
    }

    private static float Multiply(int steps)
    {
        Vector<float> a = Vector<float>.One, b = a, c = a, d = a, e = a, f = a, g = a, h = a;
        var x = new Vector<float>(0.999f);
        var y = new Vector<float>(0.001f);
        for (var i = 0; i < steps; i++)
        {
            a = Vector.FusedMultiplyAdd(a, x, y);
            b = Vector.FusedMultiplyAdd(b, x, y);
            c = Vector.FusedMultiplyAdd(c, x, y);
            d = Vector.FusedMultiplyAdd(d, x, y);
            e = Vector.FusedMultiplyAdd(e, x, y);
            f = Vector.FusedMultiplyAdd(f, x, y);
            g = Vector.FusedMultiplyAdd(g, x, y);
            h = Vector.FusedMultiplyAdd(h, x, y);
        }

        return Vector.Sum(a + b + c + d + e + f + g + h);
    }

    /// <param name="work">Units of one round over all threads.</param>
    private static double Best(double work, Func<int, float> run)
    {
        var best = 0.0;
        for (var round = 0; round < Rounds; round++)
        {
            var sums = new float[Environment.ProcessorCount];
            var start = Stopwatch.GetTimestamp();
            Parallel.For(0, sums.Length, new ParallelOptions { MaxDegreeOfParallelism = sums.Length }, i => sums[i] = run(i));
            best = Math.Max(best, work / Stopwatch.GetElapsedTime(start).TotalSeconds);
            GC.KeepAlive(sums);
        }

        return best / 1e9;
    }
}
