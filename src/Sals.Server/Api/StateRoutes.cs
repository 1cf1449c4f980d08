using System.Reflection;
using System.Text;
using Sals.Server.Api.Wire;
using Sals.Server.Hosting;

namespace Sals.Server.Api;

/// <summary>GET /health, /metrics and /version.</summary>
public static class StateRoutes
{
    public static readonly string Version =
        typeof(StateRoutes).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0] ?? "0";

    public static void Map(IEndpointRouteBuilder routes, EngineHost host)
    {
        routes.MapGet("/health", (HttpContext context) =>
        {
            var (status, detail) = host.Health();
            if (status != "ok")
            {
                context.Response.StatusCode = StatusCodes.Status503ServiceUnavailable;
                context.Response.Headers.RetryAfter = "2";
            }

            return JsonResponse.WriteAsync(
                context.Response, new HealthResponse(status) { Detail = detail }, WireJson.Default.HealthResponse, context.RequestAborted);
        });
        routes.MapGet("/metrics", async (HttpContext context) =>
        {
            var serving = host.Current ?? host.Require();
            context.Response.ContentType = "text/plain; version=0.0.4; charset=utf-8";
            await context.Response.BodyWriter.WriteAsync(Encoding.UTF8.GetBytes(serving.Metrics.Write()), context.RequestAborted);
        });
        routes.MapGet("/version", (HttpContext context) =>
        {
            var serving = host.Current;
            var body = new VersionResponse(
                Version,
                serving?.Info.Name ?? "loading",
                serving?.Model.KvCache ?? "loading",
                "The text of a request depends on the request, its seed and the cached prefix length that usage reports, not on other requests.");
            return JsonResponse.WriteAsync(context.Response, body, WireJson.Default.VersionResponse, context.RequestAborted);
        });
    }
}
