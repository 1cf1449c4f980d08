using System.Numerics;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Tests.Latent;
using Xunit;

namespace Sals.Engine.Tests.Backends.Reference;

public class LatentCodecTests
{
    [Fact]
    public void Int4_keeps_two_coordinates_a_byte_within_half_a_step_and_clips()
    {
        var random = new Random(4);
        var basis = RandomBasis.Create(random, 64, 16, centred: true);
        var steps = basis.Scale.Select(scale => scale * LatentCodec.Int4Step).ToArray();
        Assert.All(Enumerable.Range(0, 16), i => Assert.Equal(2.5 * Math.Sqrt(basis.Eigenvalues[i]) / 7, steps[i], 1e-6));
        var values = Enumerable.Range(0, 16).Select(i => i % 5 == 0 ? -100f : 14 * steps[i] * (random.NextSingle() - 0.5f)).ToArray();
        var stored = new byte[8];
        var loaded = new float[16];
        LatentCodec.Store(values, LatentFormat.Int4, basis, 0, stored);
        LatentCodec.Load(stored, LatentFormat.Int4, basis, 0, loaded);
        for (var i = 0; i < 16; i++)
        {
            Assert.Equal(loaded[i] / steps[i], LatentCodec.Nibble(stored, i), 1e-5);
            Assert.Equal(Math.Max(values[i], -7 * steps[i]), loaded[i], (0.5 * steps[i]) + 1e-6);
        }

        // the second half alone, as the rest plane is stored
        LatentCodec.Load(stored.AsSpan(4), LatentFormat.Int4, basis, 8, loaded.AsSpan(0, 8));
        Assert.Equal(Enumerable.Range(8, 8).Select(i => LatentCodec.Nibble(stored, i) * LatentCodec.Int4Step * basis.Scale[i]), loaded[..8]);

        // a score is the query times the codes, whatever their width
        var codes = Enumerable.Range(0, 16).Select(_ => random.Next(-1000, 1000)).ToArray();
        var keys = new uint[1];
        ScoreSelect.Score(new float[16], codes, stored, LatentFormat.Int4, basis, keys);
        Assert.Equal(ScoreSelect.OrderedKey(Enumerable.Range(0, 16).Sum(i => codes[i] * LatentCodec.Nibble(stored, i))), keys[0]);
    }

    [Fact]
    public void Rotated_values_are_each_head_times_the_hadamard_matrix_which_undoes_itself()
    {
        var random = new Random(6);
        var values = Enumerable.Range(0, 96).Select(_ => random.NextSingle()).ToArray();
        var turned = (float[])values.Clone();
        ValueRotation.Run(turned, 32);
        for (var i = 0; i < 96; i++)
        {
            var head = i / 32 * 32;
            var expected = Enumerable.Range(0, 32).Sum(j => (BitOperations.PopCount((uint)(i & 31 & j)) % 2 == 0 ? 1 : -1) * values[head + j]) / Math.Sqrt(32);
            Assert.Equal(expected, turned[i], 1e-5);
        }

        ValueRotation.Run(turned, 32);
        Assert.All(values.Zip(turned), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
    }
}
