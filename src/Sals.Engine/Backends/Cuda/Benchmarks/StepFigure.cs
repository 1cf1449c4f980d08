namespace Sals.Engine.Backends.Cuda.Benchmarks;

/// <summary>A decode step of <paramref name="Batch"/> rows that each read <paramref name="Context"/> tokens.</summary>
/// <param name="StepMilliseconds">Wall time of a step with one step of look-ahead, mean over the run: what a stream sees.</param>
/// <param name="SlowestMilliseconds">Longest time between two collected steps.</param>
/// <param name="DeviceMilliseconds">The last step's graph replayed alone: rows of <paramref name="Context"/> tokens.</param>
/// <param name="HostMicroseconds">Of a step's wall time, what the backend's calls took beside waiting for the device.</param>
/// <param name="WeightBytes">Read once a step.</param>
/// <param name="CacheBytes">Read by all rows of a step.</param>
/// <param name="PageBytes">Of the pages that all sequences hold, by the allocator: reserved and partly filled ones included.</param>
/// <param name="BasisBytes">Of all compressed layers' bases on the device.</param>
/// <param name="Compression">What bf16 keys and values of all tokens and layers would take, over pages and bases.</param>
/// <param name="FloorShare">Time of reading these bytes at the read rate of the run, over the step's.</param>
public sealed record StepFigure(
    string Cache, int Batch, int Context, double StepMilliseconds, double SlowestMilliseconds, double DeviceMilliseconds, double HostMicroseconds,
    long WeightBytes, long CacheBytes, long PageBytes, long BasisBytes, double Compression, double BytesPerSecond, double FloorShare, IReadOnlyList<KernelFigure> Kernels);
