using System.Text.Json;

namespace Sals.Server.Api;

/// <summary>Reads a JSON body: bounded, strict, no duplicate fields.</summary>
public static class RequestBody
{
    private static readonly JsonDocumentOptions Strict = new() { MaxDepth = 64, AllowDuplicateProperties = false };

    /// <exception cref="ApiException">Not JSON, or not of a JSON content type.</exception>
    public static async Task<JsonDocument> ReadAsync(HttpContext context)
    {
        var request = context.Request;
        if (!request.HasJsonContentType())
        {
            throw new ApiException(ApiError.NotJson(request.ContentType));
        }

        try
        {
            return await JsonDocument.ParseAsync(request.Body, Strict, context.RequestAborted);
        }
        catch (JsonException exception)
        {
            var place = exception is { LineNumber: { } line, BytePositionInLine: { } column } ? $" at line {line + 1}, byte {column + 1}" : "";
            throw new ApiException(ApiError.Invalid(null, $"The body is not valid JSON{place}."));
        }
        catch (InvalidOperationException)
        {
            // the search for duplicate names met one that is half a surrogate pair
            throw NotUnicode();
        }
    }

    /// <summary>Reads the fields of a parsed body, where text that is no Unicode may still hide.</summary>
    public static T Read<T>(JsonDocument document, Func<JsonElement, T> read)
    {
        try
        {
            return read(document.RootElement);
        }
        catch (InvalidOperationException)
        {
            throw NotUnicode();
        }
    }

    private static ApiException NotUnicode() =>
        new(ApiError.Invalid(null, "The body contains a text or a field name that is not valid Unicode."));
}
