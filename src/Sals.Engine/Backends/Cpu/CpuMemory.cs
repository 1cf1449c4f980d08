namespace Sals.Engine.Backends.Cpu;

/// <summary>Bytes that the CPU backend holds.</summary>
/// <param name="Weights">Packed matrices.</param>
/// <param name="Lanes">Prefill workspaces.</param>
/// <param name="Activations">Buffers of a step, logits included.</param>
/// <param name="Cache">Slabs of cache pages that exist so far.</param>
public sealed record CpuMemory(long Weights, long Lanes, long Activations, long Cache);
