using System.Runtime.InteropServices;
using Sals.Engine.Models;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.RandomFill;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>
/// Brings tensors into device memory as bf16: from mapped files through pinned buffers, several threads filling one while the device copies another;
/// random ones are made on the device.
/// </summary>
internal sealed class WeightUpload : IDisposable
{
    private const int BufferElements = 16 << 20;
    private const int Buffers = 3;

    /// <summary>Elements that one thread copies at a time.</summary>
    private const int PieceElements = 1 << 20;

    private readonly CudaStream _stream;
    private readonly Lazy<KernelModule> _module;
    private readonly PinnedBuffer<ushort>?[] _buffers = new PinnedBuffer<ushort>?[Buffers];
    private readonly CudaEvent[] _copied = [.. Enumerable.Range(0, Buffers).Select(_ => new CudaEvent())];
    private readonly Action<long, long>? _progress;
    private readonly long _total;
    private long _done;
    private int _next;

    /// <param name="total">Bytes of all tensors.</param>
    /// <param name="progress">Told bytes that have been sent and the total, some times a second at most.</param>
    public WeightUpload(CudaStream stream, CudaDevice device, KernelCache cache, long total, Action<long, long>? progress)
    {
        (_stream, _total, _progress) = (stream, total, progress);
        _module = new Lazy<KernelModule>(() => new KernelModule(cache.Get([RandomFillKernel.Program()], device.Architecture)[0]));
    }

    /// <summary>Enqueues a tensor's elements to <paramref name="destination"/> [rows, columns].</summary>
    public void Put(Tensor tensor, DevicePtr<ushort> destination)
    {
        if (tensor is RandomTensor random)
        {
            new RandomFillKernel(_module.Value).Launch(_stream, destination, random.ElementCount, random.Seed, random.Stream, random.Factor);
            Report(2 * random.ElementCount);
            return;
        }

        var rows = Math.Max(1, BufferElements / tensor.Columns);
        for (var first = 0; first < tensor.Rows; first += rows)
        {
            var count = Math.Min(rows, tensor.Rows - first);
            var buffer = _buffers[_next] ??= new PinnedBuffer<ushort>(Math.Max(BufferElements, tensor.Columns));
            _copied[_next].Wait();
            Fill(tensor, first, count, buffer);
            _stream.Upload(buffer, destination + ((long)first * tensor.Columns), count * tensor.Columns);
            _copied[_next].Record(_stream);
            _next = (_next + 1) % Buffers;
            Report(2L * count * tensor.Columns);
        }
    }

    public void Dispose()
    {
        // buffers and code must outlive what is enqueued
        _stream.Synchronize();
        foreach (var buffer in _buffers)
        {
            buffer?.Dispose();
        }

        foreach (var copied in _copied)
        {
            copied.Dispose();
        }

        if (_module.IsValueCreated)
        {
            _module.Value.Dispose();
        }
    }

    private static void Fill(Tensor tensor, int first, int count, PinnedBuffer<ushort> buffer)
    {
        var piece = Math.Max(1, PieceElements / tensor.Columns);
        Parallel.For(0, (count + piece - 1) / piece, p =>
        {
            var row = p * piece;
            var rows = Math.Min(piece, count - row);
            var target = buffer.Span.Slice(row * tensor.Columns, rows * tensor.Columns);
            if (tensor.Type == ElementType.BFloat16)
            {
                MemoryMarshal.Cast<byte, ushort>(tensor.RowBytes(first + row, rows)).CopyTo(target);
                return;
            }

            var values = new float[target.Length];
            tensor.Read(first + row, rows, values);
            for (var i = 0; i < values.Length; i++)
            {
                // to nearest even; checkpoints hold no NaN
                var bits = BitConverter.SingleToUInt32Bits(values[i]);
                target[i] = (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
            }
        });
    }

    private void Report(long bytes)
    {
        _done += bytes;
        _progress?.Invoke(_done, _total);
    }
}
