using Serilog;
using Serilog.Events;
using Serilog.Extensions.Logging;

namespace Sals.Server.Telemetry;

/// <summary>Serilog on the console, one line a message. Prompts and answers are never logged.</summary>
public static class SalsLog
{
    private const string Template = "{Timestamp:HH:mm:ss.fff} {Level:u3} {Message:lj}{NewLine}{Exception}";

    public static ILoggerFactory CreateFactory(string level)
    {
        var minimum = Enum.Parse<LogEventLevel>(level, ignoreCase: true);
        var logger = new LoggerConfiguration()
            .MinimumLevel.Is(minimum)
            .MinimumLevel.Override("Microsoft", minimum > LogEventLevel.Warning ? minimum : LogEventLevel.Warning)
            .WriteTo.Console(outputTemplate: Template, formatProvider: System.Globalization.CultureInfo.InvariantCulture)
            .CreateLogger();
        return new SerilogLoggerFactory(logger, dispose: true);
    }
}
