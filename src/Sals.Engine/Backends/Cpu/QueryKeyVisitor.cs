namespace Sals.Engine.Backends.Cpu;

/// <summary>Sees some tokens of a sequence in one layer.</summary>
/// <param name="first">Position of the first of them.</param>
/// <param name="rows">[tokens, HQ + HK, DH], queries and keys before rope; valid during the call.</param>
public delegate void QueryKeyVisitor(int layer, int first, ReadOnlySpan<float> rows);
