using Sals.Server.Api.Wire;
using Sals.Server.Hosting;

namespace Sals.Server.Api;

/// <summary>GET /v1/models and /v1/models/{id}; an id may contain slashes.</summary>
public static class ModelRoutes
{
    public static void Map(IEndpointRouteBuilder routes, EngineHost host)
    {
        routes.MapGet("/v1/models", (HttpContext context) =>
        {
            var serving = host.Require();
            return JsonResponse.WriteAsync(
                context.Response, new ModelList([.. serving.Model.Names.Select(name => Card(serving, name))]), WireJson.Default.ModelList, context.RequestAborted);
        });
        routes.MapGet("/v1/models/{**id}", (HttpContext context) =>
        {
            var serving = host.Require();
            var id = (string?)context.Request.RouteValues["id"] ?? "";
            return serving.Model.Names.Contains(id, StringComparer.Ordinal)
                ? JsonResponse.WriteAsync(context.Response, Card(serving, id), WireJson.Default.ModelCard, context.RequestAborted)
                : throw new ApiException(ApiError.ModelNotFound(id.Length > 200 ? id[..200] : id));
        });
    }

    private static ModelCard Card(Serving serving, string name) =>
        new(name, serving.Created, serving.Model.Root, serving.Info.MaxModelLength);
}
