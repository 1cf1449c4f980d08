using System.CommandLine;
using System.Runtime.InteropServices;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Sals.Server.Telemetry;

namespace Sals.Server.Commands;

/// <summary>sals serve [MODEL]: the server.</summary>
public static partial class ServeCommand
{
    public static Command Create()
    {
        var command = new Command("serve", "Serve a model over HTTP with OpenAI's API.");
        command.SetAction(new SettingOptions(command), async (values, _, _) =>
        {
            var options = new SalsOptions(values);
            using var loggers = SalsLog.CreateFactory(options.LogLevel);
            var logger = loggers.CreateLogger("Sals.Server");
            ConfigurationReport.Log(logger, values);
            var stop = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            var stopNow = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            void Signal(PosixSignalContext context)
            {
                context.Cancel = true;
                if (!stop.TrySetResult())
                {
                    stopNow.TrySetResult();
                }
            }

            using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Signal);
            using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Signal);
            var open = Rehearsal.During(given => ModelOpener.Open(given, line => Log.Progress(logger, line)), logger);
            return await ServerRun.RunAsync(options, open, loggers, TimeProvider.System, stop.Task, stopNow.Task);
        });
        return command;
    }

    private static partial class Log
    {
        [LoggerMessage(EventIds.Calibrating, LogLevel.Information, "{Line:l}")]
        public static partial void Progress(ILogger logger, string line);
    }
}
