using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Tests.Models;
using Xunit;

namespace Sals.Engine.Tests.Latent;

public class CovarianceSetTests
{
    private static readonly Dictionary<string, string> NoMetadata = [];

    [Fact]
    public void Three_keys_by_hand()
    {
        var set = new CovarianceSet(2, 2);
        set.Add(1, [1, 2, 3, 4, 5, 9]);

        Assert.Equal((0, 3), (set.Count(0), set.Count(1)));
        Assert.Equal([3, 5], set.Mean(1));
        Assert.Equal([35 / 3.0, 59 / 3.0, 59 / 3.0, 101 / 3.0], set.Covariance(1, centred: false));
        AssertClose([8 / 3.0, 14 / 3.0, 14 / 3.0, 26 / 3.0], set.Covariance(1, centred: true), 1e-14);
        Assert.Throws<InvalidOperationException>(() => set.Mean(0));
        Assert.Throws<InvalidOperationException>(() => set.Covariance(0, centred: true));
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(37, 5)]
    [InlineData(200, 33)]
    [InlineData(67, 64)]
    public void Equal_to_a_plain_double_loop(int keys, int width)
    {
        float[] values = RandomKeys(keys, width, seed: keys);
        var set = new CovarianceSet(1, width);
        set.Add(0, values);

        double[] expected = new double[width * width];
        for (int t = 0; t < keys; t++)
        {
            for (int i = 0; i < width; i++)
            {
                for (int j = 0; j < width; j++)
                {
                    expected[i * width + j] += (double)values[t * width + i] * values[t * width + j] / keys;
                }
            }
        }

        AssertClose(expected, set.Covariance(0, centred: false), 1e-11);
    }

    [Fact]
    public void How_keys_are_divided_into_calls_does_not_change_a_bit()
    {
        const int Width = 21;
        const int Keys = 300;
        float[] values = RandomKeys(Keys, Width, seed: 1);
        var whole = new CovarianceSet(1, Width);
        whole.Add(0, values);

        foreach (int step in new[] { 1, 2, 3, 5, 63, 64, 65, 299 })
        {
            var parts = new CovarianceSet(1, Width);
            for (int first = 0; first < Keys; first += step)
            {
                int count = Math.Min(step, Keys - first);
                parts.Add(0, values.AsSpan(first * Width, count * Width));
            }

            Assert.Equal(whole.Covariance(0, centred: true), parts.Covariance(0, centred: true));
            Assert.Equal(whole.Mean(0), parts.Mean(0));
        }
    }

    [Fact]
    public void Interrupted_saved_and_resumed_is_the_same_to_the_bit()
    {
        using var folder = new TemporaryFolder();
        float[] values = RandomKeys(100, 16, seed: 2);
        var whole = new CovarianceSet(3, 16);
        var first = new CovarianceSet(3, 16);
        for (int layer = 0; layer < 3; layer++)
        {
            whole.Add(layer, values);
            first.Add(layer, values.AsSpan(0, (30 + layer) * 16));
        }

        first.Save(folder["state"], new Dictionary<string, string> { ["sequences"] = "7" });
        var second = CovarianceSet.Load(folder["state"], out var metadata);
        for (int layer = 0; layer < 3; layer++)
        {
            second.Add(layer, values.AsSpan((30 + layer) * 16));
            Assert.Equal(100, second.Count(layer));
            Assert.Equal(whole.Covariance(layer, centred: true), second.Covariance(layer, centred: true));
            Assert.Equal(whole.Mean(layer), second.Mean(layer));
        }

        Assert.Equal("7", metadata["sequences"]);
        Assert.Single(Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void Merging_adds_counts_and_sums()
    {
        float[] values = RandomKeys(90, 8, seed: 4);
        var whole = new CovarianceSet(1, 8);
        whole.Add(0, values);
        var left = new CovarianceSet(1, 8);
        left.Add(0, values.AsSpan(0, 400));
        var right = new CovarianceSet(1, 8);
        right.Add(0, values.AsSpan(400));

        left.Merge(right);

        Assert.Equal(90, left.Count(0));
        AssertClose(whole.Covariance(0, centred: true), left.Covariance(0, centred: true), 1e-12);
        Assert.Throws<ArgumentException>(() => left.Merge(new CovarianceSet(1, 9)));
        Assert.Throws<ArgumentException>(() => left.Merge(new CovarianceSet(2, 8)));
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void Keys_that_are_not_finite_are_refused_and_nothing_is_added(float bad)
    {
        var set = new CovarianceSet(1, 4);
        float[] keys = RandomKeys(9, 4, seed: 5);
        keys[30] = bad;

        var e = Assert.Throws<ArgumentException>(() => set.Add(0, keys));

        Assert.Contains("layer 0: key 7 has a value that is not finite", e.Message, StringComparison.Ordinal);
        Assert.Equal(0, set.Count(0));
        Assert.Throws<ArgumentException>(() => set.Add(0, new float[5]));
    }

    [Fact]
    public void Files_of_another_kind_or_shape_are_refused()
    {
        using var folder = new TemporaryFolder();
        new CovarianceSet(1, 4).Save(folder["good"], NoMetadata);
        CovarianceSet.Load(folder["good"], out _);

        Refused(GoldenFolders.Micro("llama2-mha") + "/model.safetensors", "__metadata__.format: expected sals-covariance-1, found pt");
        Refused(folder["none"], "expected a file, found nothing");
        Refused(Changed("counts", SafetensorsType.I64, new long[] { -1 }, 1), "layer 0: expected a count of at least 0");
        Refused(Changed("counts", SafetensorsType.I64, new long[] { 1, 1 }, 2), "layers.1.sum: expected a tensor, found nothing");
        Refused(Changed("counts", SafetensorsType.F64, new double[] { 1 }, 1), "counts: expected I64 [1], found F64 [1]");
        Refused(Changed("layers.0.sum", SafetensorsType.F64, new double[] { 1, 2, 3 }, 3), "layers.0.moment: expected F64 [3, 3], found F64 [4, 4]");
        Refused(Changed("layers.0.moment", SafetensorsType.F64, Enumerable.Repeat(double.NaN, 16).ToArray(), 4, 4), "layer 0: expected a count of at least 0 and finite sums");

        void Refused(string path, string expected)
        {
            var e = Assert.Throws<ModelLoadException>(() => CovarianceSet.Load(path, out _));
            Assert.Contains(expected, e.Message, StringComparison.Ordinal);
        }

        string Changed<T>(string name, SafetensorsType type, T[] values, params long[] shape)
            where T : unmanaged
        {
            var writer = new SafetensorsWriter();
            writer.Metadata["format"] = "sals-covariance-1";
            writer.Add(name, type, values, shape);
            Keep("counts", SafetensorsType.I64, new long[1], 1);
            Keep("layers.0.sum", SafetensorsType.F64, new double[4], 4);
            Keep("layers.0.moment", SafetensorsType.F64, new double[16], 4, 4);
            writer.Write(folder["changed"]);
            return folder["changed"];

            void Keep<TKept>(string kept, SafetensorsType keptType, TKept[] keptValues, params long[] keptShape)
                where TKept : unmanaged
            {
                if (kept != name)
                {
                    writer.Add(kept, keptType, keptValues, keptShape);
                }
            }
        }
    }

    private static float[] RandomKeys(int keys, int width, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, keys * width).Select(_ => (float)(random.NextDouble() * 4 - 1))];
    }

    private static void AssertClose(double[] expected, double[] actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], actual[i], tolerance);
        }
    }
}
