using System.Diagnostics;
using System.Runtime.CompilerServices;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>Programs that are not part of the repository: a missing one is a reported skip, a failure when CI=true.</summary>
public static class Outside
{
    /// <summary>Runs a script of tests/oracles with Node and the packages of its lock file; returns what it printed.</summary>
    public static async Task<string> NodeAsync(string script, params string[] arguments)
    {
        var folder = Path.Combine(Repository(), "tests", "oracles");
        Require(Directory.Exists(Path.Combine(folder, "node_modules", "openai")), $"the npm packages: run npm ci in tests/oracles");
        var (code, output) = await RunAsync("node", "node", [Path.Combine(folder, script), .. arguments], "", folder);
        Assert.True(code == 0, $"{script}: {output}");
        return output;
    }

    /// <summary>What promtool says about an exposition, a line a problem; it comes with Debian's package prometheus.</summary>
    public static async Task<string[]> CheckMetricsAsync(string exposition)
    {
        var (_, output) = await RunAsync("promtool", "promtool (Debian package prometheus)", ["check", "metrics"], exposition, AppContext.BaseDirectory);
        return output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }

    /// <summary>Runs promtool in a folder of the repository; it must agree.</summary>
    public static async Task PromtoolAsync(string folder, params string[] arguments)
    {
        var (code, output) = await RunAsync("promtool", "promtool (Debian package prometheus)", arguments, "", Path.Combine(Repository(), folder));
        Assert.True(code == 0, output);
    }

    /// <summary>Runs a script of the repository with bash and more variables in its environment; returns its exit code.</summary>
    public static async Task<(int Code, string Output)> BashAsync(string script, params (string Name, string Value)[] variables) =>
        await RunAsync("env", "env", [.. variables.Select(one => $"{one.Name}={one.Value}"), "bash", Path.Combine(Repository(), script)], "", Repository());

    private static async Task<(int Code, string Output)> RunAsync(string program, string what, IEnumerable<string> arguments, string input, string folder)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = folder,
        };
        Process? process = null;
        try
        {
            process = Process.Start(start);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Require(false, what);
        }

        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(8));
        var output = process!.StandardOutput.ReadToEndAsync(limit.Token);
        var errors = process.StandardError.ReadToEndAsync(limit.Token);
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        await process.WaitForExitAsync(limit.Token);
        return (process.ExitCode, await errors + await output);
    }

    private static void Require(bool found, string what)
    {
        if (!found && string.Equals(Environment.GetEnvironmentVariable("CI"), "true", StringComparison.OrdinalIgnoreCase))
        {
            Assert.Fail($"missing: {what}");
        }

        Assert.SkipUnless(found, $"missing: {what}");
    }

    /// <summary>The folder of sals.sln.</summary>
    public static string Root => Repository();

    private static string Repository([CallerFilePath] string here = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "..", "..", ".."));
}
