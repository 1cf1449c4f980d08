using System.Runtime.InteropServices;
using Sals.Engine.Models;
using Xunit;

namespace Sals.Engine.Tests.Models;

public class SafetensorsWriterTests
{
    [Fact]
    public void What_is_written_is_read_back()
    {
        using var folder = new TemporaryFolder();
        var writer = new SafetensorsWriter();
        writer.Metadata["quote \" and é"] = "line\nbreak";
        writer.Add("matrix", SafetensorsType.F32, new float[] { 1, -2, 3, 4, 5, float.NegativeInfinity }, 2, 3);
        writer.Add("codes", SafetensorsType.U8, new byte[] { 1, 2, 255 }, 3);
        writer.Add("wide", SafetensorsType.F64, new double[] { Math.PI }, 1, 1, 1);
        writer.Add("scalar", SafetensorsType.I64, new long[] { -7 });
        writer.Add("nothing", SafetensorsType.F32, Array.Empty<float>(), 0, 5);
        writer.Write(folder["x.safetensors"]);

        using var file = new SafetensorsFile(folder["x.safetensors"]);
        Assert.Equal("line\nbreak", file.Metadata["quote \" and é"]);
        Assert.Equal([1, -2, 3, 4, 5, float.NegativeInfinity], MemoryMarshal.Cast<byte, float>(file.Bytes(file.Entry("matrix"))).ToArray());
        Assert.Equal([1, 2, 255], file.Bytes(file.Entry("codes")).ToArray());
        Assert.Equal([Math.PI], MemoryMarshal.Cast<byte, double>(file.Bytes(file.Entry("wide"))).ToArray());
        Assert.Equal([-7L], MemoryMarshal.Cast<byte, long>(file.Bytes(file.Entry("scalar"))).ToArray());
        Assert.Equal([0L, 5], file.Entry("nothing").Shape);
        float[] row = new float[3];
        file.Tensor("matrix").Read(1, 1, row);
        Assert.Equal([4, 5, float.NegativeInfinity], row);
        Assert.Equal(["x.safetensors"], Directory.GetFiles(folder.Path).Select(Path.GetFileName));
    }

    [Fact]
    public void The_same_content_gives_the_same_bytes()
    {
        using var folder = new TemporaryFolder();
        foreach (string[] order in new string[][] { ["a", "b"], ["b", "a"] })
        {
            var writer = new SafetensorsWriter();
            foreach (string key in order)
            {
                writer.Metadata[key] = key;
            }

            writer.Add("t", SafetensorsType.BF16, new ushort[] { 1, 2 }, 2);
            writer.Write(folder[order[0]]);
        }

        Assert.Equal(File.ReadAllBytes(folder["a"]), File.ReadAllBytes(folder["b"]));
    }

    [Fact]
    public void Half_and_bfloat_tensors_widen_exactly()
    {
        using var folder = new TemporaryFolder();
        var writer = new SafetensorsWriter();
        ushort[] every = [.. Enumerable.Range(0, 65536).Select(bits => (ushort)bits)];
        writer.Add("bf16", SafetensorsType.BF16, every, 257 - 1, 256);
        writer.Add("f16", SafetensorsType.F16, every, 65536);
        writer.Add("odd", SafetensorsType.BF16, every[16000..16003], 3);
        writer.Write(folder["x"]);

        using var file = new SafetensorsFile(folder["x"]);
        float[] values = new float[65536];
        file.Tensor("bf16").Read(0, 256, values);
        for (int bits = 0; bits < 65536; bits++)
        {
            Assert.Equal((uint)bits << 16, BitConverter.SingleToUInt32Bits(values[bits]));
        }

        file.Tensor("f16").Read(0, 1, values);
        for (int bits = 0; bits < 65536; bits++)
        {
            float expected = (float)BitConverter.UInt16BitsToHalf((ushort)bits);
            Assert.True(expected.Equals(values[bits]), $"half {bits:x4}");
        }

        file.Tensor("odd").Read(0, 1, values);
        Assert.Equal(16002u << 16, BitConverter.SingleToUInt32Bits(values[2]));
    }

    [Fact]
    public void Rows_outside_a_tensor_and_short_destinations_are_refused()
    {
        using var folder = new TemporaryFolder();
        var writer = new SafetensorsWriter();
        writer.Add("t", SafetensorsType.F32, new float[6], 2, 3);
        writer.Write(folder["x"]);
        using var file = new SafetensorsFile(folder["x"]);
        var tensor = file.Tensor("t");

        Assert.Equal(0, tensor.RowBytes(2, 0).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => tensor.RowBytes(1, 2).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => tensor.RowBytes(-1, 1).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => tensor.RowBytes(int.MaxValue, 2).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => tensor.RowBytes(0, -1).Length);
        Assert.Throws<ArgumentException>(() => tensor.Read(0, 2, new float[5]));
    }

    [Fact]
    public void A_shape_that_does_not_fit_or_a_name_twice_is_refused()
    {
        var writer = new SafetensorsWriter();
        writer.Add("t", SafetensorsType.F32, new float[6], 2, 3);

        Assert.Throws<ArgumentException>(() => writer.Add("t", SafetensorsType.F32, new float[1], 1));
        Assert.Throws<ArgumentException>(() => writer.Add("u", SafetensorsType.F32, new float[6], 2, 2));
        Assert.Throws<ArgumentException>(() => writer.Add("u", SafetensorsType.F32, new float[6], -2, -3));
        Assert.Throws<ArgumentException>(() => writer.Add("u", SafetensorsType.BF16, new float[6], 6));
        Assert.Throws<ArgumentException>(() => writer.Add("__metadata__", SafetensorsType.F32, new float[6], 6));
    }

    [Fact]
    public void A_failed_write_leaves_the_old_file_and_nothing_else()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["taken"]);
        var writer = new SafetensorsWriter();
        writer.Add("t", SafetensorsType.U8, new byte[1], 1);

        Assert.ThrowsAny<Exception>(() => writer.Write(folder["taken"]));

        Assert.Equal(["taken"], Directory.GetFileSystemEntries(folder.Path).Select(Path.GetFileName));
    }
}
