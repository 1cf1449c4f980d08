using Sals.Engine.Models;

namespace Sals.Server.Options;

public enum DeviceChoice
{
    Auto,
    Cpu,
    Cuda,
}

public enum DataType
{
    Auto,
    Float32,
    Bfloat16,
}

/// <summary>All settings, valid and immutable. Null means "auto" or "not set"; what auto became is in the loaded model's facts.</summary>
public sealed record SalsOptions
{
    public SalsOptions(SettingValues values)
    {
        Model = values.Get(Settings.Model);
        ServedModelNames = values.Get(Settings.ServedModelName);
        Device = values.Get(Settings.Device);
        Dtype = values.Get(Settings.Dtype);
        LoadFormat = values.Get(Settings.LoadFormat);
        MaxModelLength = values.Get(Settings.MaxModelLen);
        UseGenerationConfig = values.Get(Settings.GenerationConfig) == "auto";
        ChatTemplateFile = values.Get(Settings.ChatTemplate);
        ToolCallParser = values.Get(Settings.ToolCallParser);
        AutoToolChoice = values.Get(Settings.EnableAutoToolChoice);
        ReasoningParser = values.Get(Settings.ReasoningParser);
        SkipTokenizer = values.Get(Settings.SkipTokenizerInit);
        Seed = values.Get(Settings.Seed);
        KvCache = values.Get(Settings.KvCache);
        CacheSettings = values.Get(Settings.Sals);
        BasisFile = values.Get(Settings.Basis);
        KvCacheBytes = values.Get(Settings.KvCacheMemoryBytes);
        GpuMemoryUtilization = values.Get(Settings.GpuMemoryUtilization);
        PrefixCaching = values.Get(Settings.EnablePrefixCaching);
        MaxSequences = values.Get(Settings.MaxNumSeqs);
        MaxBatchedTokens = values.Get(Settings.MaxNumBatchedTokens);
        MaxQueued = values.Get(Settings.MaxNumQueuedReqs);
        Host = values.Get(Settings.Host);
        Port = values.Get(Settings.Port);
        UnixSocket = values.Get(Settings.Uds);
        CertificateFile = values.Get(Settings.SslCertfile);
        CertificateKeyFile = values.Get(Settings.SslKeyfile);
        ApiKeys = values.Get(Settings.ApiKey);
        AllowedOrigins = values.Get(Settings.AllowedOrigins);
        MaxRequestBytes = values.Get(Settings.MaxRequestBytes);
        MaxLogProbabilities = values.Get(Settings.MaxLogprobs);
        PingInterval = values.Get(Settings.SsePingInterval);
        ShutdownTimeout = values.Get(Settings.ShutdownTimeout);
        WatchdogTimeout = values.Get(Settings.WatchdogTimeout);
        OtlpTracesEndpoint = values.Get(Settings.OtlpTracesEndpoint);
        OtlpMetricsEndpoint = values.Get(Settings.OtlpMetricsEndpoint);
        LogLevel = values.Get(Settings.LogLevel);
    }

    public string? Model { get; init; }
    public string[] ServedModelNames { get; init; }
    public DeviceChoice Device { get; init; }
    public DataType Dtype { get; init; }
    public LoadFormat LoadFormat { get; init; }
    public int? MaxModelLength { get; init; }
    public bool UseGenerationConfig { get; init; }
    public string? ChatTemplateFile { get; init; }
    public string ToolCallParser { get; init; }
    public bool AutoToolChoice { get; init; }
    public string ReasoningParser { get; init; }
    public bool SkipTokenizer { get; init; }
    public ulong? Seed { get; init; }
    public string KvCache { get; init; }
    public string[] CacheSettings { get; init; }
    public string? BasisFile { get; init; }
    public long? KvCacheBytes { get; init; }
    public double GpuMemoryUtilization { get; init; }
    public bool PrefixCaching { get; init; }
    public int MaxSequences { get; init; }
    public int MaxBatchedTokens { get; init; }
    public int MaxQueued { get; init; }
    public string Host { get; init; }
    public int Port { get; init; }
    public string? UnixSocket { get; init; }
    public string? CertificateFile { get; init; }
    public string? CertificateKeyFile { get; init; }
    public string[] ApiKeys { get; init; }
    public string[] AllowedOrigins { get; init; }
    public long MaxRequestBytes { get; init; }
    public int MaxLogProbabilities { get; init; }
    public TimeSpan PingInterval { get; init; }
    public TimeSpan ShutdownTimeout { get; init; }
    public TimeSpan WatchdogTimeout { get; init; }
    public Uri? OtlpTracesEndpoint { get; init; }
    public Uri? OtlpMetricsEndpoint { get; init; }
    public string LogLevel { get; init; }

    /// <summary>Defaults only, for tests and tools.</summary>
    public static SalsOptions Default { get; } = new(SettingValues.Defaults);
}
