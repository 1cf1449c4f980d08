using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Sals.Server.Hosting;
using Sals.Server.Load;
using Spectre.Console;

namespace Sals.Server.Commands;

/// <summary>sals load: measures a server that speaks OpenAI's API under load that does not wait for it.</summary>
public static class LoadCommand
{
    private const int StoppedExitCode = 130;
    private static readonly TimeSpan LineInterval = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan RedrawInterval = TimeSpan.FromMilliseconds(250);

    public static Command Create()
    {
        var options = new LoadFlags();
        var command = new Command("load", "Put load on a server with OpenAI's API and measure latency, throughput and goodput.");
        options.AddTo(command);
        command.SetAction(async (parsed, stop) =>
        {
            try
            {
                return await RunAsync(options.Read(parsed), parsed, options, stop);
            }
            catch (SettingException exception)
            {
                await Console.Error.WriteLineAsync($"error: {exception.Message}");
                return CommandSettings.InvalidExitCode;
            }
            catch (Exception exception) when (exception is LoadException or IOException or UnauthorizedAccessException)
            {
                await Console.Error.WriteLineAsync($"error: {exception.Message}");
                return ServerRun.FailedExitCode;
            }
            catch (OperationCanceledException)
            {
                return StoppedExitCode;
            }
        });
        return command;
    }

    private static async Task<int> RunAsync(LoadOptions options, ParseResult parsed, LoadFlags flags, CancellationToken stop)
    {
        using var client = new LoadClient(options);
        var model = await client.ModelAsync(stop);
        var run = new LoadRun(options, client);
        var date = TimeProvider.System.GetUtcNow();
        var running = run.RunAsync(model, stop);
        await ShowAsync(run, options.Requests, running);
        var report = new LoadReport(options, model, date, run.Results, await running, flags.Percentiles(parsed));
        if (parsed.GetValue(flags.SaveResult) is { } file)
        {
            await using var stream = File.Create(file);
            LoadJson.Write(stream, report, parsed.GetValue(flags.SaveDetailed));
        }

        if (parsed.GetValue(flags.Plot) is { } page)
        {
            await File.WriteAllTextAsync(page, LoadPlot.Html(report), CancellationToken.None);
        }

        if (parsed.GetValue(flags.Json))
        {
            using var output = Console.OpenStandardOutput();
            LoadJson.Write(output, report, parsed.GetValue(flags.SaveDetailed));
            Console.WriteLine();
        }
        else
        {
            LoadTable.Print(report, flags.Metrics(parsed), AnsiConsole.Console);
        }

        return stop.IsCancellationRequested ? StoppedExitCode : report.Completed.Count > 0 ? 0 : ServerRun.FailedExitCode;
    }

    /// <summary>One line that is redrawn on a terminal, a line now and then elsewhere; always on standard error.</summary>
    private static async Task ShowAsync(LoadRun run, int requests, Task running)
    {
        var terminal = !Console.IsErrorRedirected;
        var watch = Stopwatch.StartNew();
        while (await Task.WhenAny(running, Task.Delay(terminal ? RedrawInterval : LineInterval)) != running)
        {
            var (completed, failed, tokens) = run.Counts;
            var line = string.Create(CultureInfo.InvariantCulture,
                $"{watch.Elapsed.TotalSeconds:0} s: {completed + failed} of {requests} ended, {run.Sent - completed - failed} in flight, {failed} failed, {tokens / watch.Elapsed.TotalSeconds:0} output tokens/s");
            await Console.Error.WriteAsync(terminal ? $"\r\e[K{line}" : line + Environment.NewLine);
        }

        if (terminal)
        {
            await Console.Error.WriteAsync("\r\e[K");
        }
    }
}
