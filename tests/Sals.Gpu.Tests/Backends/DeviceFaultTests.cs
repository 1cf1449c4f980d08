using System.Diagnostics;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Interop;
using Sals.Kernels.Cuda.Runtime;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Backends;

/// <summary>What happens when the device is lost or too small. A real fault ends the context, so it is provoked in a process of its own.</summary>
public class DeviceFaultTests
{
    private const int FaultAtStep = 40;

    [GpuFact]
    public Task A_device_fault_ends_every_request_turns_health_red_and_exits() =>
        RequestsAreToldAndTheProcessEnds(nameof(Serve_until_the_device_faults), "CUDA_ERROR_ILLEGAL_ADDRESS");

    [GpuFact]
    public Task A_kernel_that_never_ends_ends_every_request_turns_health_red_and_exits() =>
        RequestsAreToldAndTheProcessEnds(nameof(Serve_until_a_kernel_hangs), Hang);

    /// <summary>A child of the tests above: the process ends with the server's exit code.</summary>
    [GpuFact(Explicit = true)]
    public Task Serve_until_the_device_faults() => Serve("*(volatile int*)16 = 1;", "CUDA_ERROR_ILLEGAL_ADDRESS");

    [GpuFact(Explicit = true)]
    public Task Serve_until_a_kernel_hangs() => Serve("while (true) __nanosleep(1000);", Hang);

    private const string Hang = "did not end within 2 s";

    private static async Task RequestsAreToldAndTheProcessEnds(string child, string told)
    {
        var executable = Environment.ProcessPath!;
        string[] host = Path.GetFileNameWithoutExtension(executable) == "dotnet" ? [typeof(DeviceFaultTests).Assembly.Location] : [];
        using var process = Process.Start(new ProcessStartInfo(executable, [.. host, "-explicit", "only", "-method", $"*.{child}", "-noColor"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            Assert.Fail($"The server did not end: {await output}");
        }

        var text = await output;
        Assert.True(process.ExitCode == ServerRun.FailedExitCode, $"exit code {process.ExitCode}: {text} {await errors}");
        foreach (var line in (string[])[$"stream: told {told}", $"whole: 500 told {told}", $"health: failed, told {told}", "next: refused"])
        {
            Assert.True(text.Contains(line, StringComparison.Ordinal), $"no '{line}' in: {text}");
        }
    }

    /// <param name="statement">That a kernel among the steps runs.</param>
    private static async Task Serve(string statement, string told)
    {
        var started = new TaskCompletionSource<(string Address, EngineHost Host)>(TaskCreationOptions.RunContinuationsAsynchronously);
        var run = ServerRun.RunAsync(
            SalsOptions.Default with { Port = 0 }, _ => Model(statement), NullLoggerFactory.Instance, TimeProvider.System, new TaskCompletionSource().Task, new TaskCompletionSource().Task,
            (addresses, host) => started.SetResult((addresses[0], host)));
        var (address, host) = await started.Task;
        await host.Loading;
        using var client = new HttpClient { BaseAddress = new Uri(address) };
        var answers = await Task.WhenAll(Complete("true"), Complete("false"));
        Say($"stream: {Told(answers[0].Text, told)}");
        Say($"whole: {answers[1].Status} {Told(answers[1].Text, told)}");
        await host.Failed;
        Say($"health: {host.Health().Status}, {Told(host.Health().Detail!, told)}");
        Say($"next: {(Refused(host) ? "refused" : "accepted")}");
        Environment.Exit(await run);

        async Task<(int Status, string Text)> Complete(string stream)
        {
            using var body = new StringContent(
                $$"""{"prompt": [1, 2, 3], "max_tokens": 400, "ignore_eos": true, "stream": {{stream}}}""", Encoding.UTF8, "application/json");
            using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions") { Content = body };
            using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            var text = new StringBuilder();
            try
            {
                using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
                while (await reader.ReadLineAsync() is { } line)
                {
                    text.AppendLine(line);
                }
            }
            catch (Exception e) when (e is IOException or HttpRequestException)
            {
                // a stream that failed is cut off behind its error event
            }

            return ((int)response.StatusCode, text.ToString());
        }
    }

    [GpuFact]
    public void Weights_that_do_not_fit_say_what_is_needed_and_which_flags_help()
    {
        using var gpu = Gpu.Open();
        var config = TinyModel.Config(maxModelLength: 32768) with
        {
            LayerCount = 32,
            HiddenSize = 4096,
            IntermediateSize = 14336,
            VocabularySize = 32000,
            HeadCount = 32,
            KeyValueHeadCount = 8,
            HeadSize = 128,
        };
        using var weights = RandomWeights.Of(config);
        var options = new CudaBackendOptions { MaxModelLength = 32768, Spec = LatentSpec.Dense(32), MemoryUtilization = 0.1 };
        var error = Assert.Throws<CudaException>(() => new CudaBackend(weights, options));
        Assert.True(error.OutOfMemory);
        foreach (var part in (string[])["weights 13.2", "one sequence of 32,768 tokens", "--max-model-len", "--max-num-seqs", "--gpu-memory-utilization 0.1"])
        {
            Assert.Contains(part, error.Message, StringComparison.Ordinal);
        }
    }

    private static bool Refused(EngineHost host)
    {
        try
        {
            host.Require();
            return false;
        }
        catch (Sals.Server.Api.ApiException)
        {
            return true;
        }
    }

    private static string Told(string text, string what) => text.Contains(what, StringComparison.Ordinal) ? $"told {what}" : $"not told: {text}";

    private static void Say(string line) => Console.WriteLine(line);

    private static LoadedModel Model(string statement)
    {
        var config = TinyModel.Config(maxModelLength: 600) with { HiddenSize = 96, HeadSize = 64, IntermediateSize = 160 };
        return new LoadedModel
        {
            Root = "tiny",
            Names = ["tiny"],
            Config = config,
            EndTokenIds = [],
            VocabularySize = config.VocabularySize,
            EngineOptions = new EngineOptions { StepTimeout = TimeSpan.FromSeconds(2) },
            CreateBackend = () => new FaultingBackend(new CudaBackend(
                TinyModel.Build(config), new CudaBackendOptions { Slots = 4, MaxModelLength = 600, CacheBytes = 64L << 20, Spec = LatentSpec.Dense(config.LayerCount) }), statement),
        };
    }

    /// <summary>A backend among whose steps is a kernel that does harm.</summary>
    private sealed class FaultingBackend(CudaBackend inner, string statement) : IStepBackend
    {
        private readonly KernelModule _module = new(new KernelCache(null).Get(
            new KernelProgram(
                KernelSource.FromText("fault.cu", $"struct Args {{ int n; }}; extern \"C\" __global__ void fault(const __grid_constant__ Args args) {{ {statement} }}"), []),
            NativeLibraries.Probe().Devices[0].Architecture));

        private int _steps;

        public BackendInfo Info => inner.Info;

        public StepTicket Submit(StepPlan plan)
        {
            if (++_steps == FaultAtStep)
            {
                _module.Get("fault").Launch(inner.Stream, new Extent(1), new Extent(1), 0, 0);
            }

            return inner.Submit(plan);
        }

        public void Collect(StepTicket ticket, StepResult result) => inner.Collect(ticket, result);

        public void Dispose() => inner.Dispose();
    }
}
