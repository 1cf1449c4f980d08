using System.Globalization;
using Sals.Engine.Backends.Cuda.Benchmarks;
using Sals.Server.Hosting;
using Spectre.Console;

namespace Sals.Server.Commands;

/// <summary>Prints a <see cref="CudaBenchReport"/>.</summary>
internal static class CudaBenchTables
{
    public static void Print(CudaBenchReport report, IAnsiConsole console)
    {
        if (Console.IsOutputRedirected)
        {
            // a file has no width
            console.Profile.Width = 240;
        }

        var ceilings = report.Ceilings;
        console.WriteLine(Text($"{report.Model} on {report.Device}; ready after {report.StartSeconds:0.0} s, {report.GraphSeconds:0.0} s and {MemoryBudget.Bytes(report.GraphBytes)} of it for decode graphs"));
        console.WriteLine(Text($"this GPU now: {ceilings.ReadBytesPerSecond / 1e12:0.00} TB/s reading, {ceilings.CopyBytesPerSecond / 1e12:0.00} TB/s copying, {ceilings.MatrixFlopsPerSecond / 1e12:0} TFLOP/s bf16, {ceilings.GraphGapMicroseconds:0.00} us an empty kernel"));
        if (report.Steps.Count > 0)
        {
            var table = Table("cache", "rows", "context", "ms a step", "slowest", "graph ms", "host us", "tokens/s", "weights", "cache read", "pages", "compression", "TB/s", "of reading");
            foreach (var s in report.Steps)
            {
                table.AddRow(s.Cache, Text($"{s.Batch}"), Text($"{s.Context:#,0}"), Text($"{s.StepMilliseconds:0.000}"), Text($"{s.SlowestMilliseconds:0.000}"), Text($"{s.DeviceMilliseconds:0.000}"),
                    Text($"{s.HostMicroseconds:0}"), Text($"{s.Batch / s.StepMilliseconds * 1e3:#,0}"), MemoryBudget.Bytes(s.WeightBytes), MemoryBudget.Bytes(s.CacheBytes),
                    MemoryBudget.Bytes(s.PageBytes), Text($"{s.Compression:0.00}"), Text($"{s.BytesPerSecond / 1e12:0.00}"), Text($"{s.FloorShare:0.0%}"));
            }

            console.Write(table);
        }

        if (report.Prompts.Count > 0)
        {
            var table = Table("cache", "prompt", "first token ms", "tokens/s", "linear TFLOP/s", "of bf16 rate", "attention TFLOP/s");
            foreach (var p in report.Prompts)
            {
                table.AddRow(p.Cache, Text($"{p.Tokens:#,0}"), Text($"{p.FirstTokenMilliseconds:0.0}"), Text($"{p.TokensPerSecond:#,0}"), Text($"{p.LinearFlopsPerSecond / 1e12:0}"),
                    Text($"{p.LinearShare:0.0%}"), Text($"{p.AttentionFlopsPerSecond / 1e12:0}"));
            }

            console.Write(table);
        }

        if (report.Operators.Count > 0)
        {
            var table = Table("heads", "cache", "rows", "context", "us", "x dense", "cache read", "TB/s", "floor us", "of floor", "stages, us");
            foreach (var o in report.Operators)
            {
                // the dense cache of the same run is what a compressed one must beat
                var dense = report.Operators.FirstOrDefault(d => d.Cache == "dense" && d.Problem is null && (d.Heads, d.Batch, d.Context) == (o.Heads, o.Batch, o.Context));
                table.AddRow(o.Heads, o.Cache, Text($"{o.Batch}"), Text($"{o.Context:#,0}"), o.Problem ?? Text($"{o.Microseconds:0.0}"),
                    dense is null || o.Problem is not null ? "" : Text($"{dense.Microseconds / o.Microseconds:0.00}"), MemoryBudget.Bytes(o.Bytes), Text($"{o.BytesPerSecond / 1e12:0.00}"),
                    Text($"{o.FloorMicroseconds:0.0}"), Text($"{o.FloorShare:0%}"),
                    Markup.Escape(string.Join(", ", o.Stages.Select(stage => Text($"{stage.Name} {stage.Microseconds:0.0}")))));
            }

            console.Write(table);
        }

        foreach (var s in report.Steps.Where(s => s.Kernels.Count > 0))
        {
            Kernels(console, Text($"{s.Cache}, {s.Batch} x {s.Context:#,0}: {s.DeviceMilliseconds:0.000} ms"), s.Kernels);
        }

        foreach (var p in report.Prompts.Where(p => p.Kernels.Count > 0))
        {
            Kernels(console, Text($"{p.Cache}, prompt of {p.Tokens:#,0}: {p.FirstTokenMilliseconds:0.0} ms"), p.Kernels);
        }
    }

    private static void Kernels(IAnsiConsole console, string title, IReadOnlyList<KernelFigure> kernels)
    {
        console.WriteLine(title);
        var table = Table("launch, timed alone", "launches", "us each", "ms in all");
        foreach (var kernel in kernels.OrderByDescending(k => k.Total))
        {
            table.AddRow(Markup.Escape(kernel.Name), Text($"{kernel.Launches}"), Text($"{kernel.Microseconds:0.00}"), Text($"{kernel.Total / 1e3:0.000}"));
        }

        table.AddRow("sum", Text($"{kernels.Sum(k => k.Launches)}"), "", Text($"{kernels.Sum(k => k.Total) / 1e3:0.000}"));
        console.Write(table);
    }

    private static Table Table(params string[] columns) => new Table().Border(TableBorder.Simple).AddColumns(columns);

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
