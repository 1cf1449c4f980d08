using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Routing;
using Sals.Server.Tests.Flow;
using Xunit;

namespace Sals.Server.Tests.Abuse;

/// <summary>With keys set, everything in the route table but GET /health is closed, and so is everything that is not in it.</summary>
public class RouteKeyTests
{
    [Fact]
    public async Task Every_route_of_the_table_is_closed_without_a_key_and_open_with_one()
    {
        await using var server = await InProcessServer.StartAsync(checkIntegrity: true, "the-key");
        var routes = server.Routes.SelectMany(route => (route.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods ?? ["GET", "POST", "PUT", "DELETE"])
            .Select(method => (Method: method, Path: "/" + Regex.Replace(route.RoutePattern.RawText!.TrimStart('/'), @"\{[^}]*\}", "x")))).ToArray();
        Assert.InRange(routes.Length, 10, 100);
        foreach (var (method, path) in routes)
        {
            var open = (method, path) == ("GET", "/health");
            foreach (var (authorization, allowed) in new[] { (null, open), ("Bearer wrong", open), ("Basic dGhlLWtleQ==", open), ("Bearer the-key", true) })
            {
                var (status, _) = await server.SendAsync(new FuzzRequest(method, path, "application/json", "{}"u8.ToArray(), authorization), CancellationToken.None);
                Assert.True((status != 401) == allowed, $"{method} {path} with '{authorization}': {status}");
            }
        }
    }

    [Theory]
    [InlineData("/health/")]
    [InlineData("//health")]
    [InlineData("/health/../metrics")]
    [InlineData("/health%2f..%2fmetrics")]
    [InlineData("/Health")]
    [InlineData("/health;/metrics")]
    [InlineData("/metrics?path=/health")]
    [InlineData("/invocations")]
    [InlineData("/pause")]
    [InlineData("/update_weights")]
    [InlineData("/")]
    public async Task Nothing_that_looks_like_an_open_route_is_one(string path)
    {
        await using var server = await InProcessServer.StartAsync(checkIntegrity: true, "the-key");
        foreach (var method in new[] { "GET", "POST", "HEAD", "OPTIONS" })
        {
            var (status, _) = await server.SendAsync(new FuzzRequest(method, path, "application/json", []), CancellationToken.None);
            Assert.True(status == 401, $"{method} {path}: {status}");
        }

        Assert.Equal(401, (await server.SendAsync(new FuzzRequest("POST", "/health", "application/json", []), CancellationToken.None)).Status);
    }

    [Fact]
    public async Task Every_route_of_the_table_is_documented()
    {
        await using var server = await InProcessServer.StartAsync(checkIntegrity: true);
        using var document = JsonDocument.Parse(File.ReadAllText(Path.Combine(Outside.Root, "src", "Sals.Server", "Api", "openapi.json")));
        var documented = document.RootElement.GetProperty("paths").EnumerateObject().Select(path => Regex.Replace(path.Name, @"\{[^}]*\}", "{}")).ToHashSet();
        Assert.All(server.Routes.Where(route => !route.RoutePattern.RawText!.EndsWith("openapi.json", StringComparison.Ordinal)),
            route => Assert.Contains("/" + Regex.Replace(route.RoutePattern.RawText!.TrimStart('/'), @"\{[^}]*\}", "{}"), documented));
    }
}
