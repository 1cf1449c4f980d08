using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Sals.Server.Options;
using Sals.Server.Tests.Flow;
using Xunit;

namespace Sals.Server.Tests.Deploy;

/// <summary>The image's settings, variables and health check.</summary>
public class ContainerTests
{
    /// <summary>Variables that are no settings: where libraries lie, and what the scripts and compose files read themselves.</summary>
    private static readonly string[] OtherVariables = ["SALS_CUDA_LIBRARY_PATH", "SALS_HEALTH_PID", "SALS_PUBLISHED_PORT", "SALS_MODELS"];

    [Fact]
    public void The_images_settings_are_valid_and_listen_to_everyone()
    {
        var source = ConfigFile.ReadAppSettings(Path.Combine(Outside.Root, "docker", "appsettings.Container.json"));
        var values = SettingValues.Read([source], out var errors);
        Assert.Empty(errors);
        Assert.Equal("0.0.0.0", values.Get(Settings.Host));
        Assert.Equal(8000, values.Get(Settings.Port));
    }

    [Theory]
    [InlineData("Dockerfile")]
    [InlineData("docker-compose.yml")]
    [InlineData("docker/compose.gpu.yml")]
    [InlineData("docker/healthcheck.sh")]
    [InlineData("deploy/k8s/base/deployment.yaml")]
    [InlineData("deploy/k8s/overlays/gpu/gpu.yaml")]
    [InlineData("docs/deployment.md")]
    public void Variables_are_names_of_settings(string file)
    {
        var used = Regex.Matches(File.ReadAllText(Path.Combine(Outside.Root, file)), @"\bSALS_[A-Z][A-Z_]*\b").Select(match => match.Value).ToHashSet();
        Assert.NotEmpty(used);
        Assert.Empty(used.Except(Settings.All.Select(setting => setting.EnvironmentName)).Except(OtherVariables));
    }

    [Fact]
    public async Task The_health_check_agrees_with_health()
    {
        using var hold = new ManualResetEventSlim();
        await using var server = await TestServer.StartAsync(
            _ =>
            {
                hold.Wait(TimeSpan.FromSeconds(30));
                return TestServer.Fake(() => new Testing.FakeBackend(slots: 2, maxModelLength: 256));
            },
            waitUntilLoaded: false);
        var port = server.Address.Port;
        Assert.Equal(1, await CheckAsync(port));
        hold.Set();
        await server.Host.Loading;
        Assert.Equal(0, await CheckAsync(port));
    }

    [Fact]
    public async Task The_health_check_fails_where_nobody_listens() => Assert.Equal(1, await CheckAsync(port: 1));

    [Theory]
    [InlineData("--port {0}")]
    [InlineData("--port 1 --port={0}")]
    public async Task The_port_of_the_command_line_wins_over_the_variable(string flags)
    {
        await using var server = await TestServer.StartAsync();
        var arguments = string.Format(CultureInfo.InvariantCulture, flags, server.Address.Port).Split(' ');
        // stands for the server's process: it has its arguments, and nothing else of it is looked at
        using var process = Process.Start("bash", ["-c", "sleep 60; exit", "sals", .. arguments]);
        try
        {
            Assert.Equal(0, await CheckAsync(port: 1, process.Id));
        }
        finally
        {
            process.Kill(entireProcessTree: true);
        }
    }

    private static async Task<int> CheckAsync(int port, int? process = null) =>
        (await Outside.BashAsync("docker/healthcheck.sh", ("SALS_PORT", $"{port}"), ("SALS_HEALTH_PID", $"{process ?? Environment.ProcessId}"))).Code;
}
