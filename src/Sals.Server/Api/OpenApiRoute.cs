namespace Sals.Server.Api;

/// <summary>
/// GET /openapi.json: the hand-kept document beside this file. The routes read JSON by hand to name every fault, so nothing could be generated from
/// them; tests compare the document with routes, fields and real answers instead.
/// </summary>
public static class OpenApiRoute
{
    public static readonly byte[] Document = Read();

    public static void Map(IEndpointRouteBuilder routes) => routes.MapGet("/openapi.json", async (HttpContext context) =>
    {
        context.Response.ContentType = "application/json; charset=utf-8";
        await context.Response.BodyWriter.WriteAsync(Document, context.RequestAborted);
    });

    private static byte[] Read()
    {
        using var stream = typeof(OpenApiRoute).Assembly.GetManifestResourceStream("openapi.json")!;
        var bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }
}
