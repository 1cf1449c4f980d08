using System.Numerics.Tensors;
using Sals.Engine.Backends.Cpu.Reference;

namespace Sals.Engine.Backends.Cpu;

/// <summary>
/// Operations on many rows, shared out to the team. Every row is computed by itself in a fixed order of summation. The operands are fields because the team's
/// delegates are made once.
/// </summary>
internal sealed class RowOperations
{
    private readonly WorkerTeam _team;
    private readonly Action<int, int> _projectPanels;
    private readonly Action<int, int> _normRows;
    private readonly Action<int, int> _siluRows;

    private float[] _from = [];
    private int _fromOffset;
    private int _fromStride;
    private int _rows;
    private PackedMatrix? _matrix;
    private int _panelsPerChunk;
    private float[] _to = [];
    private int _toOffset;
    private bool _add;
    private float[] _gamma = [];
    private float _epsilon;

    public RowOperations(WorkerTeam team)
    {
        _team = team;
        (_projectPanels, _normRows, _siluRows) = (ProjectPanels, NormRows, SiluRows);
    }

    /// <summary>Pieces into which work on rows is cut.</summary>
    public static int Blocks(int rows) => (rows + MatMul.TileRows - 1) / MatMul.TileRows;

    /// <summary><paramref name="to"/>[r] = matrix * from[r], or added to it.</summary>
    /// <param name="from">Rows <paramref name="fromStride"/> apart.</param>
    /// <param name="to">[rows, matrix.Rows] from <paramref name="toOffset"/> on.</param>
    public void Project(PackedMatrix matrix, float[] from, int fromStride, int rows, float[] to, int toOffset, bool add)
    {
        (_matrix, _from, _fromStride, _rows, _to, _toOffset, _add) = (matrix, from, fromStride, rows, to, toOffset, add);
        _panelsPerChunk = Math.Max(1, matrix.PanelCount / (_team.Count * 4));
        _team.Run((matrix.PanelCount + _panelsPerChunk - 1) / _panelsPerChunk, _projectPanels);
    }

    /// <summary>RMS norm of rows [H], H = gamma's length, to rows of <paramref name="to"/>.</summary>
    public void Norm(float[] from, int offset, int rows, float[] gamma, float epsilon, float[] to)
    {
        (_from, _fromOffset, _rows, _gamma, _epsilon, _to) = (from, offset, rows, gamma, epsilon, to);
        _team.Run(Blocks(rows), _normRows);
    }

    /// <summary>Rows [2, F] of gate and up: silu(gate) * up in place of gate.</summary>
    public void Silu(float[] mlp, int rows, int width)
    {
        (_from, _rows, _fromStride) = (mlp, rows, width);
        _team.Run(Blocks(rows), _siluRows);
    }

    /// <param name="bias">Null = none.</param>
    public static void AddBias(float[]? bias, float[] to, int offset, int rows)
    {
        for (var r = 0; bias is not null && r < rows; r++)
        {
            var row = to.AsSpan(offset + (r * bias.Length), bias.Length);
            TensorPrimitives.Add(row, bias, row);
        }
    }

    private void ProjectPanels(int chunk, int worker)
    {
        var matrix = _matrix!;
        var end = Math.Min((chunk + 1) * _panelsPerChunk, matrix.PanelCount);
        for (var panel = chunk * _panelsPerChunk; panel < end; panel++)
        {
            MatMul.Run(_from, _fromStride, _rows, matrix, panel, _to.AsSpan(_toOffset), matrix.Rows, _add);
        }
    }

    private void NormRows(int block, int worker)
    {
        var width = _gamma.Length;
        for (var r = block * MatMul.TileRows; r < Math.Min(_rows, (block + 1) * MatMul.TileRows); r++)
        {
            RmsNorm.Run(_from.AsSpan(_fromOffset + (r * width), width), _gamma, _epsilon, _to.AsSpan(r * width, width));
        }
    }

    private void SiluRows(int block, int worker)
    {
        var width = _fromStride;
        for (var r = block * MatMul.TileRows; r < Math.Min(_rows, (block + 1) * MatMul.TileRows); r++)
        {
            SiluMul.Run(_from.AsSpan(r * 2 * width, width), _from.AsSpan((r * 2 * width) + width, width));
        }
    }
}
