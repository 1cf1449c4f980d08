using Sals.Engine.Models;

namespace Sals.Engine.Backends.Cpu;

/// <summary>
/// A weight matrix [Rows, Columns] stored for <see cref="Reference.MatMul"/>: panels of 32 output rows, each [Columns, 32], so that a vector
/// holds neighbouring outputs and every output is summed over the columns in order. Missing rows of the last panel are zero.
/// bfloat16 weights stay 16 bits wide (half the memory traffic, widening is exact): word j of a column holds output j in its low half and
/// output j + 16 in its high half, so that one load and two bit operations widen 32 of them. All others are kept as float32.
/// </summary>
internal sealed class PackedMatrix
{
    /// <summary>Rows of a panel.</summary>
    public const int PanelRows = 32;

    private const int Half = PanelRows / 2;

    private readonly float[] _wide = [];
    private readonly uint[] _narrow = [];

    /// <summary>Stacks <paramref name="parts"/>, each [rows, columns] with equal columns, on top of each other.</summary>
    public PackedMatrix(WorkerTeam team, params Tensor[] parts)
    {
        Rows = parts.Sum(p => p.Rows);
        Columns = parts[0].Columns;
        PanelCount = (Rows + PanelRows - 1) / PanelRows;
        IsNarrow = parts.All(p => p.Type == ElementType.BFloat16);
        var elements = checked(PanelCount * PanelRows * Columns);
        if (IsNarrow)
        {
            _narrow = new uint[elements / 2];
        }
        else
        {
            _wide = new float[elements];
        }

        team.Run(PanelCount, (panel, _) =>
        {
            var row = new float[Columns];
            for (var i = 0; i < PanelRows && (panel * PanelRows) + i < Rows; i++)
            {
                ReadRow(parts, (panel * PanelRows) + i, row);
                for (var k = 0; k < row.Length; k++)
                {
                    if (IsNarrow)
                    {
                        var bits = BitConverter.SingleToUInt32Bits(row[k]);
                        _narrow[(((panel * Columns) + k) * Half) + (i % Half)] |= i < Half ? bits >> 16 : bits & 0xffff0000;
                    }
                    else
                    {
                        _wide[(((panel * Columns) + k) * PanelRows) + i] = row[k];
                    }
                }
            }
        });
    }

    /// <summary>N, outputs.</summary>
    public int Rows { get; }

    /// <summary>K, inputs.</summary>
    public int Columns { get; }

    public int PanelCount { get; }

    /// <summary>Stored as bfloat16.</summary>
    public bool IsNarrow { get; }

    public long Bytes => ((long)_wide.Length * sizeof(float)) + ((long)_narrow.Length * sizeof(uint));

    /// <summary>A panel [Columns, 32] of a matrix that is not <see cref="IsNarrow"/>.</summary>
    public ReadOnlySpan<float> Wide(int panel) => _wide.AsSpan(panel * PanelRows * Columns, PanelRows * Columns);

    /// <summary>A panel [Columns, 16] of a matrix that is <see cref="IsNarrow"/>, two outputs a word.</summary>
    public ReadOnlySpan<uint> Narrow(int panel) => _narrow.AsSpan(panel * Half * Columns, Half * Columns);

    /// <summary>Gathers row <paramref name="row"/> into <paramref name="destination"/> [Columns].</summary>
    public void ReadRow(int row, Span<float> destination)
    {
        var (panel, i) = Math.DivRem(row, PanelRows);
        for (var k = 0; k < Columns; k++)
        {
            var column = (panel * Columns) + k;
            if (IsNarrow)
            {
                var pair = _narrow[(column * Half) + (i % Half)];
                destination[k] = BitConverter.UInt32BitsToSingle(i < Half ? pair << 16 : pair & 0xffff0000);
            }
            else
            {
                destination[k] = _wide[(column * PanelRows) + i];
            }
        }
    }

    private static void ReadRow(Tensor[] parts, int row, Span<float> destination)
    {
        foreach (var part in parts)
        {
            if (row < part.Rows)
            {
                part.Read(row, 1, destination);
                return;
            }

            row -= part.Rows;
        }
    }
}
