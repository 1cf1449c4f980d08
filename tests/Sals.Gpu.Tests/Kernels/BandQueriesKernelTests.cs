using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Kernels.Cuda.Kernels.BandQueries;
using Sals.Kernels.Cuda.Kernels.FlushPages;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class BandQueriesKernelTests
{
    [GpuTheory]
    [InlineData(128, 32, 8, 128)]
    [InlineData(128, 16, 16, 64)]
    [InlineData(128, 32, 32, 32)]
    [InlineData(64, 8, 4, 16)]
    public void Equals_the_bands_of_the_reference(int headSize, int queryHeads, int keyHeads, int scoreRank)
    {
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        var spec = new LatentCase { HeadSize = headSize, QueryHeads = queryHeads, KeyHeads = keyHeads, Rank = scoreRank, ScoreRank = scoreRank, Int8 = true, Critical = 20 };
        int[] lengths = [200, 64, 1300, 4096];
        var longest = lengths.Max();
        var rope = new RopeTable(spec.Model.Rope, headSize, longest);
        var bands = new ScoreBands(rope, CacheTimeline.LatentPages(longest, spec.Spec));
        var shape = spec.Shape(longest) with { ScoreBands = bands.Most };
        var kernel = new BandQueriesKernel(gpu.Load(BandQueriesKernel.Program(shape)), shape);
        var basis = spec.Basis(inputs);
        int rows = lengths.Length, width = (queryHeads + (2 * keyHeads)) * headSize, stride = width + scoreRank;
        var before = inputs.Normal(rows * stride, 2);
        var after = (float[])before.Clone();
        for (var row = 0; row < rows; row++)
        {
            Rope.Run(after.AsSpan(row * stride, queryHeads * headSize), rope.Cos(lengths[row] - 1), rope.Sin(lengths[row] - 1));
        }

        var packed = new ushort[2 * scoreRank * spec.Width];
        PackedProjection.Pack(basis.Vectors, spec.Width, packed);
        var pairs = rope.CosTable.ToArray().Zip(rope.SinTable.ToArray(), (cos, sin) => new[] { cos, sin }).SelectMany(pair => pair).ToArray();
        var device = new DeviceBasis(default, default, 0, default, gpu.Upload<float>(basis.Mean), gpu.Upload<float>(basis.Scale), default, default, default);
        float[] untouched = [.. Enumerable.Repeat(float.NaN, rows * bands.Most * scoreRank)], none = [.. Enumerable.Repeat(float.NaN, rows * bands.Most)];
        var (queries, biases) = (gpu.Upload<float>(untouched), gpu.Upload<float>(none));
        kernel.Launch(
            gpu.Stream, gpu.Upload<ushort>(Bf16.Narrow(after)), stride, new StepInputs(default, gpu.Upload<int>([.. lengths.Select(length => length - 1)]), default, default),
            gpu.Upload<float>(pairs), gpu.Upload<float>(bands.MeanRotations), gpu.Upload<ushort>(packed), device, queries, biases, rows);
        float[] found = gpu.Download(queries, untouched.Length), foundBiases = gpu.Download(biases, none.Length);
        for (var row = 0; row < rows; row++)
        {
            var pages = CacheTimeline.LatentPages(lengths[row], spec.Spec);
            var count = CacheTimeline.CandidateCount(lengths[row], spec.Spec) > spec.Spec.CriticalCount(lengths[row]) ? ScoreBands.Count(pages) : 0;
            float[] summed = new float[spec.Width], turned = new float[spec.Width], query = new float[scoreRank];
            ScoringQuery.SumGroups(before.AsSpan(row * stride, queryHeads * headSize), queryHeads / keyHeads, headSize, summed);

            // the bias is a sum of D terms of both signs, each off by at most 2^-9 of its size: ten times what that makes of it
            var biasBound = 0.01 * Math.Sqrt(summed.Zip(basis.Mean, (q, mean) => (double)q * q * mean * mean).Sum()) + 1e-3;
            for (var band = 0; band < bands.Most; band++)
            {
                var at = (row * bands.Most) + band;
                if (band >= count)
                {
                    Assert.True(float.IsNaN(foundBiases[at]) && found.AsSpan(at * scoreRank, scoreRank).ToArray().All(float.IsNaN), $"row {row}, band {band}: written, {inputs}");
                    continue;
                }

                var bias = bands.Query(band, pages, lengths[row] - 1, summed, basis, turned, query);
                var scaled = query.Zip(basis.Scale, (q, scale) => q * scale).ToArray();

                // of queries rounded to bf16 after rope, D channels of them
                var size = scaled.Max(MathF.Abs);
                Close.To(scaled, found.AsSpan(at * scoreRank, scoreRank), size / 50, 1 / 50.0, $"row {row}, band {band}, {inputs}");
                Assert.True(MathF.Abs(bias - foundBiases[at]) < biasBound, $"row {row}, band {band}: bias {foundBiases[at]}, expected {bias}, {inputs}");
            }
        }
    }
}
