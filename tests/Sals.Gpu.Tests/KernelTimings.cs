using System.Globalization;
using Sals.Kernels.Cuda.Gemm;
using Sals.Kernels.Cuda.Kernels.DenseAttend;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.PrefillAttend;
using Sals.Kernels.Cuda.Kernels.RmsNorm;
using Sals.Kernels.Cuda.Kernels.SampleToken;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Kernels.SkinnyGemm;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Gpu.Tests;

/// <summary>
/// Times of single kernels beside ceilings measured in the same run: not a test, run it by name (-explicit only). Each figure is the
/// median of 20 graph replays of 10 launches over rotating buffers that together exceed L2; data are random.
/// </summary>
public class KernelTimings
{
    private const int Launches = 10;
    private const int Replays = 20;

    [GpuFact(Explicit = true)]
    public void Print()
    {
        using var gpu = Gpu.Open();
        Line($"{gpu.Device.Name}, driver {gpu.Device.DriverVersion}, {gpu.Device.Multiprocessors} multiprocessors");
        var noise = gpu.Poisoned<ushort>(3L << 30);
        var random = gpu.Upload<ushort>(Bf16.Narrow(new Inputs().Normal(1 << 22, 0.5f)));
        for (var i = 0; i < 3 << 8; i++)
        {
            gpu.Stream.Copy(random, noise + ((long)i << 22), 1 << 22);
        }

        var copy = Time(gpu, i => gpu.Stream.Copy(noise + (i % 2 * (1L << 29)), noise + (1L << 30) + (i % 2 * (1L << 29)), 1L << 28));
        var ceiling = 2.0 * (1L << 29) / copy;
        Line($"copy {ceiling / 1e9:F2} TB/s, read and written");
        Skinny(gpu, noise, ceiling);
        Attend(gpu, noise, ceiling);
        Products(gpu, noise);
        Prefill(gpu, noise);
        Small(gpu, noise);
    }

    private static void Skinny(Gpu.Scope gpu, DevicePtr<ushort> noise, double ceiling)
    {
        var kernel = new SkinnyGemmKernel(gpu.Load(SkinnyGemmKernel.Program()), gpu.Device.Multiprocessors);
        var y = gpu.Poisoned<float>(64 * 32768);
        var x = noise + (1L << 31);
        foreach (var (name, n, k) in (ReadOnlySpan<(string, int, int)>)[("qkv", 6144, 4096), ("o", 4096, 4096), ("gate_up", 28672, 4096), ("down", 4096, 14336), ("head", 32000, 4096)])
        {
            foreach (var rows in (int[])[1, 8, 16, 32, 64])
            {
                var copies = (int)Math.Max(1, (1L << 31) / ((long)n * k) / 2);
                var time = Time(gpu, i =>
                {
                    var weight = noise + (i % copies * (long)n * k);
                    switch (name)
                    {
                        case "gate_up":
                            kernel.LaunchSwiglu(gpu.Stream, weight, x, default, y.As<ushort>(), n / 2, k, rows);
                            break;
                        case "head":
                            kernel.LaunchFloat(gpu.Stream, weight, x, y, n, k, rows);
                            break;
                        case "qkv":
                            kernel.LaunchStore(gpu.Stream, weight, x, default, y.As<ushort>(), n, k, rows);
                            break;
                        default:
                            kernel.LaunchAdd(gpu.Stream, weight, x, default, y.As<ushort>(), n, k, rows);
                            break;
                    }
                });
                var rate = 2.0 * n * k / time;
                Line($"skinny_gemm {name} {n}x{k} rows {rows}: {time * 1e3:F1} us, {rate / 1e9:F2} TB/s of weights, {rate / ceiling:P0} of copy");
            }
        }
    }

    private static void Attend(Gpu.Scope gpu, DevicePtr<ushort> noise, double ceiling)
    {
        foreach (var (heads, kv, rows, length) in (ReadOnlySpan<(int, int, int, int)>)[(32, 8, 8, 4096), (32, 8, 8, 32768), (32, 8, 1, 131072), (32, 8, 1, 4096), (32, 32, 8, 4096), (32, 32, 16, 4096)])
        {
            const int dh = 128;
            var pages = length / 64;
            var kernel = new DenseAttendKernel(gpu.Load(DenseAttendKernel.Program(dh, heads, kv, pages)), dh, heads, kv, gpu.Device.Multiprocessors);
            var plan = new PlanStepKernel(gpu.Load(PlanStepKernel.Program(rows, 100)));
            var pageUnits = 2 * 64 * kv * dh * 2 / 4096;
            var table = new uint[(rows + 1) * pages];
            for (var i = 0; i < rows * pages; i++)
            {
                table[i] = (uint)((i + 1) * pageUnits);
            }

            var work = rows * DenseRuns.Of(length);
            var workspace = DenseAttendKernel.Workspace.Take(gpu.Arena(DenseAttendKernel.Workspace.Bytes(work, dh, heads)), gpu.Stream, work, dh, heads);
            var inputs = new StepInputs(gpu.Poisoned<int>(rows), gpu.Poisoned<int>(rows), gpu.Poisoned<int>(rows), gpu.PoisonedList(rows, work));
            var lengths = gpu.Upload<int>([.. Enumerable.Repeat(length - 1, rows), 0]);
            plan.Launch(
                gpu.Stream, gpu.Upload<StepRow>(Enumerable.Range(0, rows).Select(r => new StepRow(r, 1, -1, r)).ToArray()), lengths, lengths, default,
                gpu.Upload<SlotSampling>(new SlotSampling[rows]), inputs, rows);
            var deviceTable = gpu.Upload<uint>(table);
            var o = gpu.Poisoned<ushort>(rows * heads * dh);
            var bytes = 4.0 * rows * length * kv * dh;
            var copies = (int)Math.Max(1, (1L << 32) / (bytes + (pageUnits * 4096)));
            var time = Time(gpu, i => kernel.Launch(
                gpu.Stream, noise + (1L << 31), (heads + (2 * kv)) * dh, inputs, inputs.Runs, deviceTable, noise.As<byte>() + (i % copies * (long)bytes), default, workspace, o, rows));
            Line($"dense_attend {heads}/{kv} heads, {rows} x {length}: {time * 1e3:F1} us, {bytes / time / 1e9:F2} TB/s, {bytes / time / ceiling:P0} of copy");
        }
    }

    private static void Products(Gpu.Scope gpu, DevicePtr<ushort> noise)
    {
        var plans = gpu.Own(new GemmPlanCache(1024));
        var gemm = new Gemm(plans, gpu.Arena(GemmPlanCache.WorkspaceBytes).Take<byte>(GemmPlanCache.WorkspaceBytes));
        foreach (var (n, k, rows) in (ReadOnlySpan<(int, int, int)>)[(6144, 4096, 1024), (4096, 4096, 1024), (28672, 4096, 1024), (4096, 14336, 1024), (28672, 4096, 8192), (8192, 8192, 8192)])
        {
            var y = noise + (1L << 31);
            var time = Time(gpu, i => gemm.Run(gpu.Stream, noise + (i % 2 * (1L << 29)), noise + (1L << 30), default, y, n, k, rows));
            Line($"cublaslt {rows} x {n} x {k}: {time * 1e3:F1} us, {2.0 * rows * n * k / time / 1e9:F0} TFLOP/s");
        }
    }

    private static void Prefill(Gpu.Scope gpu, DevicePtr<ushort> noise)
    {
        const int dh = 128, heads = 32, kv = 8;
        var kernel = new PrefillAttendKernel(gpu.Load(PrefillAttendKernel.Program(dh, heads, kv)), dh, heads);
        foreach (var length in (int[])[1024, 4096, 32768])
        {
            var time = Time(gpu, _ => kernel.Launch(gpu.Stream, noise, noise + (1L << 30), noise + (3L << 29), noise + (1L << 31), 0, length));
            var operations = 2.0 * heads * dh * length * (length + 1);
            Line($"prefill_attend {heads}/{kv} heads, {length} tokens: {time * 1e3:F1} us, {operations / time / 1e9:F0} TFLOP/s");
        }
    }

    private static void Small(Gpu.Scope gpu, DevicePtr<ushort> noise)
    {
        var norm = new RmsNormKernel(gpu.Load(RmsNormKernel.Program(4096)));
        var time = Time(gpu, _ => norm.Launch(gpu.Stream, noise, noise, noise + (1L << 30), 1e-5f, 8));
        Line($"rms_norm 8 x 4096: {time * 1e3:F2} us a launch in a graph");
        const int v = 128256, rows = 8;
        var logits = gpu.Upload<float>(new Inputs().Normal(rows * v, 3));
        var sample = new SampleTokenKernel(gpu.Load(SampleTokenKernel.Program(rows, v, v)));
        foreach (var (name, setting) in (ReadOnlySpan<(string, SlotSampling)>)[
            ("greedy", new SlotSampling { TopP = 1, Repetition = 1, LogProbabilities = -1 }),
            ("temperature", new SlotSampling { Temperature = 1, TopP = 1, Repetition = 1, LogProbabilities = -1 }),
            ("top_p", new SlotSampling { Temperature = 1, TopP = 0.9f, Repetition = 1, LogProbabilities = -1 }),
            ("top_k and top_p", new SlotSampling { Temperature = 1, TopK = 50, TopP = 0.9f, Repetition = 1, LogProbabilities = -1 })])
        {
            var state = new SamplingState(
                gpu.Upload<SlotSampling>(Enumerable.Repeat(setting, rows).ToArray()), gpu.Upload<int>(new int[rows + 1]), gpu.Poisoned<int>(rows + 1),
                gpu.Poisoned<LogitBias>(rows * SampleTokenKernel.MaxBias), gpu.Poisoned<int>(rows * SampleTokenKernel.MaxHeld), default, default);
            var sampled = new SampledTokens(
                gpu.Poisoned<int>(rows), gpu.Poisoned<float>(rows), gpu.Poisoned<float>(rows), gpu.Poisoned<int>(rows * 20), gpu.Poisoned<float>(rows * 20));
            var stepRows = gpu.Upload<StepRow>(Enumerable.Range(0, rows).Select(r => new StepRow(r, -1, -1, r)).ToArray());
            var masks = gpu.Upload<int>(Enumerable.Repeat(-1, rows).ToArray());
            time = Time(gpu, _ => sample.Launch(gpu.Stream, stepRows, masks, default, state, logits, default, sampled, rows));
            Line($"sample_token {name}, {rows} x {v}: {time * 1e3:F1} us");
        }
    }

    /// <summary>Milliseconds of one launch.</summary>
    private static double Time(Gpu.Scope gpu, Action<int> launch)
    {
        launch(0);
        gpu.Stream.Synchronize();
        using var graph = gpu.Stream.Capture(() =>
        {
            for (var i = 0; i < Launches; i++)
            {
                launch(i);
            }
        });
        using var start = new CudaEvent(timing: true);
        using var end = new CudaEvent(timing: true);
        graph.Launch(gpu.Stream);
        var times = new double[Replays];
        for (var i = 0; i < Replays; i++)
        {
            start.Record(gpu.Stream);
            graph.Launch(gpu.Stream);
            end.Record(gpu.Stream);
            end.Wait();
            times[i] = end.MillisecondsSince(start) / Launches;
        }

        Array.Sort(times);
        return times[Replays / 2];
    }

    private static void Line(FormattableString text)
    {
        var line = text.ToString(CultureInfo.InvariantCulture);
        Console.WriteLine(line);
        if (Environment.GetEnvironmentVariable("OUT") is { } folder)
        {
            File.AppendAllText(Path.Combine(folder, "timings.txt"), line + "\n");
        }
    }
}
