using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Backends.Reference;

/// <summary>Each operation of the CPU backend against a plain loop in double precision.</summary>
public class OperationTests
{
    [Theory]
    [InlineData(1, 1, 1, ElementType.Float32)]
    [InlineData(3, 31, 17, ElementType.Float32)]
    [InlineData(7, 33, 64, ElementType.BFloat16)]
    [InlineData(8, 64, 100, ElementType.BFloat16)]
    [InlineData(19, 96, 129, ElementType.Float32)]
    [InlineData(5, 40, 48, ElementType.Float16)]
    public void MatMul_of_any_shape(int rows, int n, int k, ElementType type)
    {
        using var team = new WorkerTeam(1);
        var tensor = new ArrayTensor("w", n, k, type, Values(n * k, 1));
        var w = new float[n * k];
        tensor.Read(0, n, w);
        var packed = new PackedMatrix(team, tensor);
        var stride = k + 3;
        var x = Values(rows * stride, 2);
        var before = Values(rows * n, 3);
        foreach (var add in new[] { false, true })
        {
            float[] y = [.. before];
            for (var panel = 0; panel < packed.PanelCount; panel++)
            {
                MatMul.Run(x, stride, rows, packed, panel, y, n, add);
            }

            var expected = new float[rows * n];
            for (var m = 0; m < rows; m++)
            {
                for (var i = 0; i < n; i++)
                {
                    double sum = add ? before[(m * n) + i] : 0;
                    for (var j = 0; j < k; j++)
                    {
                        sum += (double)x[(m * stride) + j] * w[(i * k) + j];
                    }

                    expected[(m * n) + i] = (float)sum;
                }
            }

            // k roundings of partial sums that stay below 32
            Close.To(expected, y, k * 32 * MathF.Pow(2, -25), 1e-5);
        }

        var row = new float[k];
        packed.ReadRow(n - 1, row);
        Close.Exactly(w.AsSpan((n - 1) * k), row);
    }

    [Fact]
    public void MatMul_of_a_row_is_the_same_in_every_tile()
    {
        using var team = new WorkerTeam(1);
        var packed = new PackedMatrix(team, new ArrayTensor("w", 70, 50, ElementType.BFloat16, Values(70 * 50, 4)));
        var x = Values(15 * 50, 5);
        var together = Multiply(x, 15);
        for (var m = 0; m < 15; m++)
        {
            Close.Exactly(together.AsSpan(m * 70, 70), Multiply(x[(m * 50)..((m + 1) * 50)], 1));
        }

        float[] Multiply(float[] rows, int count)
        {
            var y = new float[count * 70];
            for (var panel = 0; panel < packed.PanelCount; panel++)
            {
                MatMul.Run(rows, 50, count, packed, panel, y, 70);
            }

            return y;
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(15)]
    [InlineData(48)]
    [InlineData(130)]
    public void RmsNorm_of_any_length(int n)
    {
        var x = Values(n, 6);
        var gamma = Values(n, 7);
        var y = new float[n];
        RmsNorm.Run(x, gamma, 1e-5f, y);
        var scale = 1 / Math.Sqrt((x.Sum(v => (double)v * v) / n) + 1e-5);
        Close.To([.. x.Zip(gamma, (a, g) => (float)(a * scale * g))], y, 1e-6, 1e-5);
    }

    [Fact]
    public void Rope_turns_halves_against_each_other()
    {
        var x = Values(3 * 20, 8);
        var cos = Values(10, 9);
        var sin = Values(10, 10);
        float[] y = [.. x];
        Rope.Run(y, cos, sin);
        for (var i = 0; i < x.Length; i++)
        {
            var j = i % 20;
            double expected = j < 10 ? ((double)x[i] * cos[j]) - ((double)x[i + 10] * sin[j]) : ((double)x[i] * cos[j - 10]) + ((double)x[i - 10] * sin[j - 10]);
            Assert.Equal(expected, y[i], 1e-5);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(37)]
    public void SiluMul_of_any_length(int n)
    {
        var gate = Values(n, 11);
        var up = Values(n, 12);
        float[] y = [.. gate];
        SiluMul.Run(y, [.. up]);
        Close.To([.. gate.Zip(up, (g, u) => (float)(g / (1 + Math.Exp(-(double)g)) * u))], y, 1e-6, 1e-5);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    [InlineData(100)]
    public void Softmax_does_not_overflow(int n)
    {
        float[] x = [.. Values(n, 13).Select(v => v * 400)];
        float[] y = [.. x];
        var sum = Softmax.Run(y, 0.5f);
        Close.To([.. x.Select(v => (float)Math.Exp(0.5 * ((double)v - x.Max())))], y, 1e-6, 1e-4);
        Assert.Equal(y.Sum(v => (double)v), sum, 1e-4);
    }

    [Theory]
    [InlineData(1, 16, false)]
    [InlineData(64, 64, false)]
    [InlineData(67, 40, false)]
    [InlineData(200, 128, false)]
    [InlineData(1, 64, true)]
    [InlineData(67, 40, true)]
    [InlineData(200, 128, true)]
    public void DenseAttend_over_pages(int length, int headSize, bool int8)
    {
        var config = TinyModel.Config() with { HeadSize = headSize, LayerCount = 2 };
        var layout = new PageLayout(config, LatentSpec.Dense(2) with { DenseInt8 = int8 }, ElementType.Float32);
        var cache = new CpuCache(layout, 2, 256, 64 << 20);
        var (keys, values) = (Values(length * config.KeyWidth, 14), Values(length * config.KeyWidth, 15));
        for (var page = 0; page * 64 < length; page++)
        {
            // pages in descending order, in the second slot: neither is the identity
            cache.Apply(new PageEdit(PoolKind.Dense, 1, page, (int)((10 - page) * layout.DensePageBytes / PageLayout.Unit)));
            Poison.Fill(cache.Page(PoolKind.Dense, cache.Table(PoolKind.Dense, 1)[page]));
        }

        for (var t = 0; t < length; t++)
        {
            var key = keys.AsSpan(t * config.KeyWidth, config.KeyWidth);
            var value = values.AsSpan(t * config.KeyWidth, config.KeyWidth);
            cache.Store(PoolKind.Dense, 1, 1, t, key, value);

            // codes are judged apart: attention is over what they stand for
            cache.Load(PoolKind.Dense, 1, 1, t, key, value);
        }

        var q = Values(config.QueryWidth, 16);
        var o = new float[config.QueryWidth];
        var group = config.GroupSize * headSize;
        for (var kv = 0; kv < config.KeyValueHeadCount; kv++)
        {
            DenseAttend.Run(
                q.AsSpan(kv * group, group), cache, PoolKind.Dense, 1, 1, kv, headSize, length, new float[config.GroupSize * length], o.AsSpan(kv * group, group));
        }

        Close.To(Attend(config, q, keys, values, length), o, 1e-5, 1e-5);
    }

    [Theory]
    [InlineData(16, 0)]
    [InlineData(64, 5)]
    [InlineData(40, 45)]
    public void PrefillAttend_is_causal_and_reads_only_its_prompt(int headSize, int offset)
    {
        const int length = 75;
        var config = TinyModel.Config() with { HeadSize = headSize };
        var lane = new CpuLane(config, 130);
        var (keys, values) = (Values(length * config.KeyWidth, 17), Values(length * config.KeyWidth, 18));
        var nan = Enumerable.Repeat(float.NaN, config.KeyWidth).ToArray();
        for (var row = 0; row < lane.Length; row++)
        {
            lane.Store(row, nan, nan);
        }

        for (var t = 0; t < length; t++)
        {
            lane.Store(offset + t, keys.AsSpan(t * config.KeyWidth, config.KeyWidth), values.AsSpan(t * config.KeyWidth, config.KeyWidth));
        }

        var q = Values(length * config.QueryWidth, 19);
        var o = new float[q.Length];
        var work = new float[PrefillAttend.WorkspaceSize(8, lane.Length)];
        Poison.Fill(work);
        for (var first = 0; first < length; first += 8)
        {
            for (var head = 0; head < config.HeadCount; head++)
            {
                var at = (first * config.QueryWidth) + (head * headSize);
                PrefillAttend.Run(
                    q.AsSpan(at), config.QueryWidth, Math.Min(8, length - first), lane, head / config.GroupSize, headSize, offset, first, work, o.AsSpan(at), config.QueryWidth);
            }
        }

        for (var t = 0; t < length; t++)
        {
            var expected = Attend(config, q.AsSpan(t * config.QueryWidth, config.QueryWidth), keys, values, t + 1);
            Close.To(expected, o.AsSpan(t * config.QueryWidth, config.QueryWidth), 1e-5, 1e-5, $"token {t}");
        }
    }

    /// <summary>All heads of one query against tokens [0, length), in doubles.</summary>
    private static float[] Attend(ModelConfig config, ReadOnlySpan<float> q, float[] keys, float[] values, int length)
    {
        var size = config.HeadSize;
        var o = new float[config.QueryWidth];
        for (var head = 0; head < config.HeadCount; head++)
        {
            var kv = head / config.GroupSize * size;
            var scores = new double[length];
            for (var t = 0; t < length; t++)
            {
                for (var i = 0; i < size; i++)
                {
                    scores[t] += (double)q[(head * size) + i] * keys[(t * config.KeyWidth) + kv + i] / Math.Sqrt(size);
                }
            }

            var max = scores.Max();
            var total = scores.Sum(s => Math.Exp(s - max));
            for (var i = 0; i < size; i++)
            {
                double sum = 0;
                for (var t = 0; t < length; t++)
                {
                    sum += Math.Exp(scores[t] - max) / total * values[(t * config.KeyWidth) + kv + i];
                }

                o[(head * size) + i] = (float)sum;
            }
        }

        return o;
    }

    private static float[] Values(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (random.NextSingle() * 4) - 2)];
    }
}
