using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Interop;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Gpu.Tests;

/// <summary>The device all tests share, and typed buffers on it. A test takes a <see cref="Scope"/> and gives it back.</summary>
internal static class Gpu
{
    private static readonly Lazy<CudaDevice> Opened = new(() => new CudaDevice(0));

    /// <summary>Where tests keep compiled kernels: the same few models are built dozens of times, and every test again under each sanitizer.</summary>
    public static string KernelFolder { get; } = Path.Combine(Path.GetTempPath(), "sals-gpu-tests");

    private static readonly KernelCache Cache = new(KernelFolder);

    /// <summary>Why there is nothing to test on; null when there is a usable GPU.</summary>
    public static string? Missing { get; } = Explain();

    public static Scope Open()
    {
        // tests run on whichever thread is free
        Opened.Value.MakeCurrent();
        return new Scope(Opened.Value);
    }

    private static string? Explain()
    {
        var probe = NativeLibraries.Probe();
        return probe.Usable
            ? null
            : "No usable GPU: " + string.Join(' ', new[] { probe.Problem }.Concat(probe.Libraries.Select(l => l.Problem?.Split('\n')[0])).Where(p => p is not null));
    }

    internal sealed class Scope(CudaDevice device) : IDisposable
    {
        private readonly List<IDisposable> _owned = [];

        public CudaDevice Device => device;

        public CudaStream Stream { get; } = new();

        public KernelModule Load(KernelProgram program) => Own(new KernelModule(Cache.Get(program, device.Architecture)));

        public DeviceArena Arena(long bytes) => Own(new DeviceArena("test", bytes));

        /// <summary>A buffer of its own allocation, filled with 0xFF bytes: NaN as float or bf16, -1 as int.</summary>
        public DevicePtr<T> Poisoned<T>(long count)
            where T : unmanaged
        {
            var arena = Arena(Math.Max(1, DeviceArena.SizeOf<T>(count)));
            var pointer = arena.Take<T>(count);
            if (count > 0)
            {
                Stream.Fill(pointer, count, 0xFF);
            }

            return pointer;
        }

        public WorkList PoisonedList(int rows, int entries) => new(Poisoned<WorkItem>(entries), Poisoned<int>(1), Poisoned<int>(rows), entries);

        /// <param name="pieces">[B], entries of each row.</param>
        /// <param name="lengths">[B]</param>
        /// <param name="slots">[B]; empty = row b has slot b.</param>
        public WorkList UploadList(ReadOnlySpan<int> pieces, ReadOnlySpan<int> lengths, ReadOnlySpan<int> slots = default)
        {
            List<WorkItem> entries = [];
            List<int> first = [];
            for (var row = 0; row < pieces.Length; row++)
            {
                first.Add(pieces[row] > 0 ? entries.Count : -1);
                for (var i = 0; i < pieces[row]; i++)
                {
                    entries.Add(new WorkItem(row, i, lengths[row], slots.IsEmpty ? row : slots[row]));
                }
            }

            return new(Upload<WorkItem>([.. entries]), Upload<int>([entries.Count]), Upload<int>([.. first]), entries.Count);
        }

        public DevicePtr<T> Upload<T>(ReadOnlySpan<T> values)
            where T : unmanaged
        {
            var pointer = Poisoned<T>(values.Length);
            Stream.Upload(values, pointer);
            return pointer;
        }

        public T[] Download<T>(DevicePtr<T> pointer, int count)
            where T : unmanaged
        {
            var values = new T[count];
            Stream.DownloadNow(pointer, values.AsSpan());
            return values;
        }

        public float[] DownloadBf16(DevicePtr<ushort> pointer, int count) => Bf16.Widen(Download(pointer, count));

        public T Own<T>(T resource)
            where T : IDisposable
        {
            _owned.Add(resource);
            return resource;
        }

        public void Dispose()
        {
            Stream.Synchronize();
            for (var i = _owned.Count - 1; i >= 0; i--)
            {
                _owned[i].Dispose();
            }

            Stream.Dispose();
        }
    }
}

/// <summary>bf16 on the host, as its bits.</summary>
internal static class Bf16
{
    public const ushort NaN = 0x7FC0;

    public static ushort Narrow(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    public static float Widen(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);

    public static ushort[] Narrow(ReadOnlySpan<float> values)
    {
        var result = new ushort[values.Length];
        for (var i = 0; i < result.Length; i++)
        {
            result[i] = Narrow(values[i]);
        }

        return result;
    }

    public static float[] Widen(ReadOnlySpan<ushort> values)
    {
        var result = new float[values.Length];
        for (var i = 0; i < result.Length; i++)
        {
            result[i] = Widen(values[i]);
        }

        return result;
    }
}

/// <summary>Random inputs that bf16 represents exactly, from a seed that failures print.</summary>
internal sealed class Inputs
{
    private readonly Random _random;

    public Inputs()
        : this(Random.Shared.Next())
    {
    }

    public Inputs(int seed)
    {
        Seed = seed;
        _random = new Random(seed);
    }

    public int Seed { get; }

    public int Next(int end) => _random.Next(end);

    /// <summary>Normally distributed around <paramref name="mean"/>.</summary>
    public float[] Normal(int count, float scale = 1, float mean = 0)
    {
        var values = new float[count];
        for (var i = 0; i < count; i++)
        {
            var radius = Math.Sqrt(-2 * Math.Log(1 - _random.NextDouble()));
            values[i] = Bf16.Widen(Bf16.Narrow(mean + (scale * (float)(radius * Math.Cos(2 * Math.PI * _random.NextDouble())))));
        }

        return values;
    }

    public override string ToString() => $"seed {Seed}";
}
