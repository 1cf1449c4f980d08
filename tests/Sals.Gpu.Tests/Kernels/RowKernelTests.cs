using Sals.Engine.Backends.Cpu.Reference;
using Sals.Kernels.Cuda.Kernels.EmbedTokens;
using Sals.Kernels.Cuda.Kernels.RmsNorm;
using Sals.Kernels.Cuda.Kernels.SiluMul;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

/// <summary>Kernels that treat each row alone: embedding, norm, gated activation.</summary>
public class RowKernelTests
{
    [GpuFact]
    public void Embedding_copies_rows_and_reads_row_0_for_ids_out_of_range()
    {
        const int hidden = 352, vocabulary = 37;
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        var table = inputs.Normal(vocabulary * hidden);
        int[] tokens = [36, 0, 5, 5, -1, 37];
        var x = gpu.Poisoned<ushort>(tokens.Length * hidden);
        new EmbedTokensKernel(gpu.Load(EmbedTokensKernel.Program(hidden, vocabulary)))
            .Launch(gpu.Stream, gpu.Upload<ushort>(Bf16.Narrow(table)), gpu.Upload<int>(tokens), x, tokens.Length);
        var actual = gpu.DownloadBf16(x, tokens.Length * hidden);
        for (var b = 0; b < tokens.Length; b++)
        {
            var row = tokens[b] is >= 0 and < vocabulary ? tokens[b] : 0;
            Close.Exactly(table.AsSpan(row * hidden, hidden), actual.AsSpan(b * hidden, hidden), $"row {b}, {inputs}");
        }
    }

    [GpuTheory]
    [InlineData(32, 1)]
    [InlineData(352, 3)]
    [InlineData(4096, 5)]
    [InlineData(8192, 2)]
    public void Norm_matches_reference(int hidden, int rows)
    {
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        var x = inputs.Normal(rows * hidden, 3);
        var gamma = inputs.Normal(hidden, 0.3f, 1);
        var y = gpu.Poisoned<ushort>(rows * hidden);
        new RmsNormKernel(gpu.Load(RmsNormKernel.Program(hidden)))
            .Launch(gpu.Stream, gpu.Upload<ushort>(Bf16.Narrow(x)), gpu.Upload<ushort>(Bf16.Narrow(gamma)), y, 1e-5f, rows);
        var expected = new float[rows * hidden];
        for (var b = 0; b < rows; b++)
        {
            RmsNorm.Run(x.AsSpan(b * hidden, hidden), gamma, 1e-5f, expected.AsSpan(b * hidden, hidden));
        }

        // one rounding to bf16: half a step is at most 2^-8 of the value
        Close.To(expected, gpu.DownloadBf16(y, rows * hidden), 1e-6, 1 / 255.0, $"norm, {inputs}");
    }

    [GpuFact]
    public void Silu_mul_matches_reference()
    {
        const int width = 1000, tokens = 3;
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        var gateUp = inputs.Normal(tokens * 2 * width, 4);
        var y = gpu.Poisoned<ushort>(tokens * width);
        new SiluMulKernel(gpu.Load(SiluMulKernel.Program(width)), width).Launch(gpu.Stream, gpu.Upload<ushort>(Bf16.Narrow(gateUp)), y, tokens);
        var actual = gpu.DownloadBf16(y, tokens * width);
        for (var t = 0; t < tokens; t++)
        {
            var gate = gateUp.AsSpan(t * 2 * width, width).ToArray();
            SiluMul.Run(gate, gateUp.AsSpan((t * 2 * width) + width, width).ToArray());
            Close.To(gate, actual.AsSpan(t * width, width), 1e-6, 1 / 255.0, $"token {t}, {inputs}");
        }
    }
}
