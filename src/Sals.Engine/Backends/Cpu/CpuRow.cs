namespace Sals.Engine.Backends.Cpu;

/// <summary>One token on its way through the layers of a decode step.</summary>
internal readonly record struct CpuRow(int Slot, int Token, int Position);
