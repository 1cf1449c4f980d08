using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>Writes a whole JSON answer.</summary>
public static class JsonResponse
{
    public static async Task WriteAsync<T>(HttpResponse response, T value, JsonTypeInfo<T> type, CancellationToken cancel)
    {
        response.ContentType = "application/json; charset=utf-8";
        await using (var json = new Utf8JsonWriter(response.BodyWriter, WireJson.Writer))
        {
            JsonSerializer.Serialize(json, value, type);
        }

        await ResponseFlush.RunAsync(response.HttpContext, TimeProvider.System, cancel);
    }
}
