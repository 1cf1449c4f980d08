using System.Globalization;
using Sals.Engine.Backends;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Interop;
using Sals.Server.Options;

namespace Sals.Server.Hosting;

/// <summary>How the backend of a model is made, and what is said of it before.</summary>
/// <param name="ExactType">Element type of exact keys and values.</param>
/// <param name="Device">A line about the device.</param>
/// <param name="Budget">A line about memory.</param>
/// <param name="Create">Called on the engine's thread.</param>
public sealed record BackendPlan(ElementType ExactType, string Device, string Budget, IReadOnlyList<string> Warnings, Func<IStepBackend> Create)
{
    /// <exception cref="SettingException">A length does not fit the model or memory.</exception>
    public static BackendPlan Cpu(SalsOptions options, ModelFolder folder, LatentSpec spec, LatentBasis? basis, int vocabulary)
    {
        var plan = CachePlan.For(options, folder.Config, spec, ElementType.Float32, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes);
        var cpu = new CpuBackendOptions
        {
            Slots = options.MaxSequences,
            MaxModelLength = plan.MaxModelLength,
            CacheBytes = plan.CacheBytes,
            Spec = spec,
            Basis = basis,
            SampleableVocabulary = vocabulary,
        };
        return new BackendPlan(
            ElementType.Float32,
            string.Create(CultureInfo.InvariantCulture,
                $"Device: cpu, {cpu.Threads} threads, vectors of {System.Numerics.Vector<byte>.Count * 8} bits; max-model-len {cpu.MaxModelLength:#,0}; cache {cpu.Spec.Describe()}"),
            plan.Describe(options.MaxSequences),
            plan.Shortened
                ? [string.Create(CultureInfo.InvariantCulture,
                    $"max-model-len auto became {plan.MaxModelLength:#,0} of the model's {folder.Config.MaxModelLength:#,0} tokens, what the cache memory holds; raise --kv-cache-memory-bytes for more")]
                : [],
            () => new CpuBackend(folder.Weights, cpu));
    }

    /// <exception cref="SettingException">A length does not fit the model. Or the model does not fit the GPU's memory, even if nobody else used it.</exception>
    public static BackendPlan Cuda(SalsOptions options, ModelFolder folder, LatentSpec spec, LatentBasis? basis, int vocabulary, DeviceProbe gpu, Action<string> say)
    {
        var cuda = CudaOptions(options, folder.Config, spec, vocabulary, gpu) with { Basis = basis, LoadProgress = WeightProgress.ForThisProcess(say).Report };
        var memory = CudaBackend.PlanMemory(folder.Weights, cuda, gpu.MemoryBytes);
        if (!memory.Fits)
        {
            throw new SettingException(string.Create(CultureInfo.InvariantCulture,
                $"--device cuda: weights {MemoryBudget.Bytes(memory.WeightBytes)}, slots and prefill lanes {MemoryBudget.Bytes(memory.WorkBytes)} and the cache of one sequence of {memory.MaxModelLength:#,0} tokens do not fit {options.GpuMemoryUtilization:0.##} of the {MemoryBudget.Bytes(gpu.MemoryBytes)} of {gpu.Name}; lower --max-model-len or --max-num-seqs, raise --gpu-memory-utilization, or give it a smaller model"));
        }

        var length = string.Create(CultureInfo.InvariantCulture, $"max-model-len {(cuda.ShortenToFit ? "at most " : "")}{cuda.MaxModelLength:#,0}");
        return new BackendPlan(
            ElementType.BFloat16,
            $"Device: cuda {gpu.Ordinal}, {gpu.Name} ({gpu.Architecture}, {MemoryBudget.Bytes(gpu.MemoryBytes)}); {length}; cache {spec.Describe()}",
            string.Create(CultureInfo.InvariantCulture,
                $"GPU memory: weights {MemoryBudget.Bytes(memory.WeightBytes)}, slots and prefill lanes {MemoryBudget.Bytes(memory.WorkBytes)}, KV cache about {MemoryBudget.Bytes(memory.CacheBytes)} of {MemoryBudget.Bytes(gpu.MemoryBytes)} (--gpu-memory-utilization {options.GpuMemoryUtilization:0.##})"),
            [],
            () => new CudaBackend(folder.Weights, cuda));
    }

    /// <exception cref="SettingException">A length does not fit the model.</exception>
    public static CudaBackendOptions CudaOptions(SalsOptions options, ModelConfig config, LatentSpec spec, int vocabulary, DeviceProbe gpu)
    {
        CachePlan.CheckLength(options, config);
        return new CudaBackendOptions
        {
            Device = gpu.Ordinal,
            Slots = options.MaxSequences,
            MaxModelLength = options.MaxModelLength ?? config.MaxModelLength,
            ShortenToFit = options.MaxModelLength is null,
            Spec = spec,
            CacheBytes = options.KvCacheBytes,
            MemoryUtilization = options.GpuMemoryUtilization,
            SampleableVocabulary = vocabulary,
            KernelCacheFolder = KernelCache.DefaultFolder,
        };
    }
}
