using System.Security.Cryptography;
using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Server.Admission;
using Sals.Server.Api;
using Sals.Server.Options;
using Sals.Server.Telemetry;

namespace Sals.Server.Hosting;

/// <summary>Everything a request needs, once the model is ready.</summary>
public sealed class Serving
{
    public Serving(SalsOptions options, LoadedModel model, InferenceEngine engine, BackendInfo info, TimeProvider time)
    {
        Options = options;
        Model = model;
        Engine = engine;
        Info = info;
        Time = time;
        Created = time.GetUtcNow().ToUnixTimeSeconds();
        Gate = new AdmissionGate(info.SlotCount, options.MaxQueued, time);
        Metrics = new SalsMetrics(model.Names[0], engine.Stats, info, options.PrefixCaching, time);
        Watchdog = new Watchdog(engine.Stats, options.WatchdogTimeout, time);
        Reader = new RequestReader(model, info, options, Gate.Capacity, Seeds(options.Seed), time);
    }

    public SalsOptions Options { get; }
    public LoadedModel Model { get; }
    public InferenceEngine Engine { get; }
    public BackendInfo Info { get; }
    public TimeProvider Time { get; }

    /// <summary>Unix time at which the model became ready.</summary>
    public long Created { get; }

    public AdmissionGate Gate { get; }
    public SalsMetrics Metrics { get; }
    public Watchdog Watchdog { get; }
    public RequestReader Reader { get; }

    /// <summary>Random seeds, or with --seed the same ones in the same order after every start.</summary>
    private static Func<ulong> Seeds(ulong? seed)
    {
        if (seed is null)
        {
            return () => BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(8));
        }

        var count = 0L;
        return () => seed.Value + (0x9E3779B97F4A7C15UL * (ulong)Interlocked.Increment(ref count));
    }
}
