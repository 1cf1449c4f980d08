using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>The other ways in: HTTPS by flag, a Unix socket.</summary>
public class TransportTests
{
    [Fact]
    public async Task Https_is_served_with_a_certificate()
    {
        var folder = Directory.CreateTempSubdirectory("sals");
        try
        {
            using var key = RSA.Create(2048);
            var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
            using var certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
            var (certificateFile, keyFile) = (Path.Combine(folder.FullName, "c.pem"), Path.Combine(folder.FullName, "k.pem"));
            await File.WriteAllTextAsync(certificateFile, certificate.ExportCertificatePem());
            await File.WriteAllTextAsync(keyFile, key.ExportPkcs8PrivateKeyPem());
            await using var server = await TestServer.StartAsync(options => options with { CertificateFile = certificateFile, CertificateKeyFile = keyFile });
            Assert.Equal("https", server.Address.Scheme);
            Assert.Equal("{\"status\":\"ok\"}", await server.Client.GetStringAsync("/health"));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task A_unix_socket_serves_instead_of_a_port()
    {
        var folder = Directory.CreateTempSubdirectory("sals");
        try
        {
            await using var server = await TestServer.StartAsync(options => options with { UnixSocket = Path.Combine(folder.FullName, "s") });
            var body = await server.PostJsonAsync("/v1/completions", """{"prompt":[1],"max_tokens":2,"ignore_eos":true}""");
            Assert.Equal(2, body.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task A_port_that_is_taken_is_an_error_not_a_crash()
    {
        await using var first = await TestServer.StartAsync();
        using var loggers = new CollectingLoggers();
        var code = await Sals.Server.Hosting.ServerRun.RunAsync(
            Sals.Server.Options.SalsOptions.Default with { Port = first.Address.Port }, _ => throw new InvalidOperationException(), loggers, TimeProvider.System,
            Task.CompletedTask, Task.CompletedTask);
        Assert.Equal(Sals.Server.Hosting.ServerRun.FailedExitCode, code);
        Assert.Contains(loggers.Lines, line => line.Contains("Cannot listen"));
    }
}
