namespace Sals.Engine.Backends.Cuda.Benchmarks;

/// <summary>One prompt, alone, from submission to its first token.</summary>
/// <param name="LinearFlopsPerSecond">Products of all layers timed alone.</param>
/// <param name="AttentionFlopsPerSecond">Causal attention of all layers timed alone; masked pairs do not count.</param>
public sealed record PromptFigure(
    string Cache, int Tokens, double FirstTokenMilliseconds, double TokensPerSecond, double LinearFlopsPerSecond, double AttentionFlopsPerSecond,
    double LinearShare, IReadOnlyList<KernelFigure> Kernels);
