using System.Diagnostics;
using System.Text.RegularExpressions;

namespace Sals.Server.Tests.Abuse;

/// <summary>The server as a process of its own, with the embedded model on the CPU: what can be killed, and whose memory is its own.</summary>
internal sealed partial class ServerProcess : IAsyncDisposable
{
    private readonly Process _process;
    private readonly List<string> _lines = [];
    private readonly TaskCompletionSource<Uri> _listening = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private ServerProcess(string[] flags)
    {
        _process = new Process
        {
            StartInfo = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "sals.dll"), "serve", "--device", "cpu", .. flags])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            },
        };
        _process.OutputDataReceived += (_, line) => Line(line.Data);
        _process.ErrorDataReceived += (_, line) => Line(line.Data);
        _process.Start();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    public HttpClient Client { get; private set; } = new();

    public string[] Lines
    {
        get
        {
            lock (_lines)
            {
                return [.. _lines];
            }
        }
    }

    public long WorkingSet
    {
        get
        {
            _process.Refresh();
            return _process.WorkingSet64;
        }
    }

    /// <summary>Starts and waits until the model is ready.</summary>
    /// <param name="port">0 = any free one.</param>
    public static async Task<ServerProcess> StartAsync(int port, params string[] flags)
    {
        var server = new ServerProcess(["--port", $"{port}", .. flags]);
        try
        {
            var address = await server._listening.Task.WaitAsync(TimeSpan.FromMinutes(1));
            server.Client = new HttpClient { BaseAddress = address, Timeout = TimeSpan.FromMinutes(10) };
            await server._ready.Task.WaitAsync(TimeSpan.FromMinutes(2));
            return server;
        }
        catch (TimeoutException)
        {
            server.Kill();
            throw new InvalidOperationException($"the server did not start: {string.Join('\n', server.Lines)}");
        }
    }

    /// <summary>As kill -9.</summary>
    public void Kill() => _process.Kill();

    /// <summary>As an orchestrator stops it; returns the exit code.</summary>
    public async Task<int> TerminateAsync()
    {
        using var kill = Process.Start("kill", ["-TERM", $"{_process.Id}"]);
        await _process.WaitForExitAsync().WaitAsync(TimeSpan.FromMinutes(1));
        return _process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
        }

        await _process.WaitForExitAsync();
        _process.Dispose();
        Client.Dispose();
    }

    private void Line(string? line)
    {
        if (line is null)
        {
            return;
        }

        lock (_lines)
        {
            // the log of a long run is longer than anyone reads
            if (_lines.Count == 2000)
            {
                _lines.RemoveRange(0, 1000);
            }

            _lines.Add(line);
        }

        if (Address().Match(line) is { Success: true } match)
        {
            _listening.TrySetResult(new Uri(match.Groups[1].Value));
        }

        if (line.Contains("Ready: ", StringComparison.Ordinal))
        {
            _ready.TrySetResult();
        }
    }

    [GeneratedRegex(@"Listening on (http://\S+)")]
    private static partial Regex Address();
}
