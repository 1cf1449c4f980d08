using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Kernels.Cuda.Kernels.FlushPages;
using Sals.Kernels.Cuda.Kernels.ScoringQuery;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class ScoringQueryKernelTests
{
    [GpuTheory]
    [InlineData(128, 32, 8, 128)]
    [InlineData(128, 4, 4, 64)]
    [InlineData(64, 3, 1, 16)]
    public void Equals_the_projection_of_the_normed_query(int headSize, int queryHeads, int keyHeads, int scoreRank)
    {
        using var gpu = Gpu.Open();
        const int rows = 3;
        const float epsilon = 1e-6f;
        var inputs = new Inputs();
        var spec = new LatentCase { HeadSize = headSize, QueryHeads = queryHeads, KeyHeads = keyHeads, Rank = scoreRank, ScoreRank = scoreRank };
        var shape = spec.Shape(4096);
        var kernel = new ScoringQueryKernel(gpu.Load(ScoringQueryKernel.Program(shape)), shape);
        var basis = spec.Basis(inputs);
        int width = (queryHeads + (2 * keyHeads)) * headSize, stride = width + scoreRank + 16;
        float[] qkv = inputs.Normal(rows * stride, 2), gamma = inputs.Normal(headSize, 0.2f, 1);
        var packed = new ushort[2 * scoreRank * spec.Width];
        PackedProjection.Pack(basis.Vectors, spec.Width, packed);
        var device = gpu.Upload<ushort>(Bf16.Narrow(qkv));
        kernel.Launch(gpu.Stream, device, stride, gpu.Upload<ushort>(Bf16.Narrow(gamma)), epsilon, gpu.Upload<ushort>(packed), rows);
        var found = gpu.DownloadBf16(device, rows * stride);
        for (var row = 0; row < rows; row++)
        {
            var normed = new float[queryHeads * headSize];
            for (var head = 0; head < queryHeads; head++)
            {
                RmsNorm.Run(qkv.AsSpan((row * stride) + (head * headSize), headSize), gamma, epsilon, normed.AsSpan(head * headSize, headSize));
            }

            float[] summed = new float[spec.Width], score = new float[scoreRank];
            ScoringQuery.SumGroups(normed, queryHeads / keyHeads, headSize, summed);
            ScoringQuery.Project(summed, basis, score);

            // rounded once to bf16; the projection's own 11 bits average out
            Close.To(score, found.AsSpan((row * stride) + width, scoreRank), 4e-3, 1 / 200.0, $"row {row}, {inputs}");
            Close.Exactly(qkv.AsSpan(row * stride, width), found.AsSpan(row * stride, width), $"queries of row {row}, {inputs}");
            Close.Exactly(qkv.AsSpan((row * stride) + width + scoreRank, 16), found.AsSpan((row * stride) + width + scoreRank, 16), $"what follows row {row}, {inputs}");
        }
    }
}
