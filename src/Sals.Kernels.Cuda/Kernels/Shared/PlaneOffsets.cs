namespace Sals.Kernels.Cuda.Kernels.Shared;

/// <summary>Where one layer's keys and values lie in its dense or hot pages, in bytes from the page's start.</summary>
/// <param name="Keys">K plane; V follows.</param>
/// <param name="Peaks">Peaks of int8 keys, those of values follow; 0 = the planes are bf16.</param>
public readonly record struct PlaneOffsets(long Keys, long Peaks = 0);
