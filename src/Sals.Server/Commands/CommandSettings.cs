using System.CommandLine;
using Sals.Server.Options;

namespace Sals.Server.Commands;

/// <summary>Runs a verb's body with valid settings; exit code 2 when they are not.</summary>
public static class CommandSettings
{
    /// <summary>Exit code for a command line or setting that is not valid.</summary>
    public const int InvalidExitCode = 2;

    public static void SetAction(
        this Command command, SettingOptions options, Func<SettingValues, ParseResult, CancellationToken, Task<int>> body) =>
        command.SetAction((parsed, cancel) =>
        {
            var appSettings = Path.Combine(AppContext.BaseDirectory, "appsettings.json");
            var values = options.Read(parsed, Environment.GetEnvironmentVariables(), appSettings, Console.Error);
            return values is null ? Task.FromResult(InvalidExitCode) : body(values, parsed, cancel);
        });
}
