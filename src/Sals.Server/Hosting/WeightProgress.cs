using System.Globalization;

namespace Sals.Server.Hosting;

/// <summary>Shows how far loading weights to a device has come: a bar that redraws itself on a terminal, else a line now and then and one at the end.</summary>
/// <param name="terminal">Null = none.</param>
/// <param name="say">Takes lines when there is no terminal.</param>
public sealed class WeightProgress(TextWriter? terminal, Action<string> say, TimeProvider time)
{
    private const int Width = 30;
    private static readonly TimeSpan Redraw = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(5);

    private long _begun;
    private long _shown;

    /// <summary>On standard error when that is a terminal.</summary>
    public static WeightProgress ForThisProcess(Action<string> say) => new(Console.IsErrorRedirected ? null : Console.Error, say, TimeProvider.System);

    /// <param name="done">Bytes on their way to the device.</param>
    public void Report(long done, long total)
    {
        var now = time.GetTimestamp();
        if (_begun == 0)
        {
            (_begun, _shown) = (now, now);
        }

        var last = done >= total;
        if (!last && time.GetElapsedTime(_shown, now) < (terminal is null ? Silence : Redraw))
        {
            return;
        }

        _shown = now;
        var seconds = Math.Max(1e-3, time.GetElapsedTime(_begun, now).TotalSeconds);
        var figures = string.Create(CultureInfo.InvariantCulture,
            $"{MemoryBudget.Bytes(done)} of {MemoryBudget.Bytes(total)}, {(double)done / total:0%}, {done / seconds / 1e9:0.0} GB/s");
        if (terminal is null)
        {
            say($"Weights: {figures}");
            return;
        }

        var filled = (int)(Width * done / total);
        terminal.Write($"\rWeights [{new string('#', filled)}{new string('.', Width - filled)}] {figures}   ");
        if (last)
        {
            terminal.WriteLine();
        }

        terminal.Flush();
    }
}
