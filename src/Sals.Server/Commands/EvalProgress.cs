using System.Diagnostics;
using System.Globalization;
using Spectre.Console;

namespace Sals.Server.Commands;

/// <summary>Shows how far an evaluation is: a bar on a terminal, lines elsewhere.</summary>
internal static class EvalProgress
{
    private static readonly TimeSpan LineInterval = TimeSpan.FromSeconds(10);

    /// <param name="count">Answers to come.</param>
    /// <param name="body">Calls what it is given after every answer, from any thread.</param>
    public static async Task RunAsync(string title, int count, Func<Action, Task> body)
    {
        if (AnsiConsole.Console.Profile.Out.IsTerminal)
        {
            await AnsiConsole.Progress().Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn()).StartAsync(async progress =>
            {
                var task = progress.AddTask(Markup.Escape(title), maxValue: count);
                await body(() => task.Increment(1));
            });
            return;
        }

        var watch = Stopwatch.StartNew();
        var gate = new Lock();
        var done = 0;
        var printed = TimeSpan.Zero;
        await body(() =>
        {
            lock (gate)
            {
                if (++done == count || watch.Elapsed - printed >= LineInterval)
                {
                    printed = watch.Elapsed;
                    Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{title}: {done} of {count}, {watch.Elapsed.TotalSeconds:0.0} s"));
                }
            }
        });
    }
}
