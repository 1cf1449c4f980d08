using Sals.Server.Options;
using Sals.Server.Telemetry;

namespace Sals.Server.Hosting;

/// <summary>Says at start which settings are not at their default, and where each came from.</summary>
public static partial class ConfigurationReport
{
    public static void Log(ILogger logger, SettingValues values)
    {
        var lines = Settings.All
            .Where(setting => values.Origin(setting) != "default" && values.Shown(setting) != setting.DefaultText)
            .Select(setting => $"{setting.Name}={values.Shown(setting)} ({values.Origin(setting)})");
        Configuration(logger, string.Join(", ", lines) is { Length: > 0 } text ? text : "all defaults");
        if (logger.IsEnabled(LogLevel.Debug))
        {
            Everything(logger, string.Join(", ", Settings.All.Select(setting => $"{setting.Name}={values.Shown(setting)}")));
        }
    }

    [LoggerMessage(EventIds.Configuration, LogLevel.Information, "Settings: {Settings:l}")]
    private static partial void Configuration(ILogger logger, string settings);

    [LoggerMessage(EventIds.Configuration + 100, LogLevel.Debug, "All settings: {Settings:l}")]
    private static partial void Everything(ILogger logger, string settings);
}
