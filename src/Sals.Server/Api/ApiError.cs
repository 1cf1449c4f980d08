using System.Globalization;

namespace Sals.Server.Api;

/// <summary>A refusal, as a value: HTTP status and the four fields of OpenAI's error object.</summary>
/// <param name="RetryAfter">Seconds after which a retry may succeed; null = a retry is pointless.</param>
public sealed record ApiError(int Status, string Type, string? Code, string? Param, string Message, int? RetryAfter = null)
{
    private const string InvalidRequest = "invalid_request_error";

    public static ApiError Invalid(string? param, string message, string? code = null) => new(400, InvalidRequest, code, param, message);

    public static ApiError Unsupported(string param, string message) => new(400, InvalidRequest, "unsupported_parameter", param, message);

    public static ApiError ContextLength(string param, int maxLength, long prompt, long output) =>
        new(400, InvalidRequest, "context_length_exceeded", param, output > 0
            ? string.Create(CultureInfo.InvariantCulture, $"This model's maximum context length is {maxLength} tokens. However, you requested {prompt + output} tokens ({prompt} in the prompt, {output} in the completion). Please reduce the length of the prompt or of the completion.")
            : string.Create(CultureInfo.InvariantCulture, $"This model's maximum context length is {maxLength} tokens. However, your prompt has {prompt} tokens, which leaves no room for an answer. Please reduce the length of the prompt."));

    public static ApiError Unauthorized(bool keyGiven) =>
        new(401, InvalidRequest, "invalid_api_key", null, keyGiven
            ? "Incorrect API key provided."
            : "You didn't provide an API key. Send it in an Authorization header: 'Authorization: Bearer YOUR_KEY'.");

    public static ApiError ModelNotFound(string model) =>
        new(404, InvalidRequest, "model_not_found", "model", $"The model '{model}' does not exist. See GET /v1/models for the ones that do.");

    public static ApiError UnknownRoute(string method, string path) =>
        new(404, InvalidRequest, "unknown_url", null, $"Unknown request URL: {method} {path}.");

    public static ApiError WrongMethod(string method, string path) =>
        new(405, InvalidRequest, "method_not_allowed", null, $"Method {method} is not allowed for {path}.");

    public static ApiError TooLarge(long maxBytes) =>
        new(413, InvalidRequest, "request_too_large", null, $"The request body is larger than {maxBytes} bytes.");

    public static ApiError NotJson(string? contentType) =>
        new(415, InvalidRequest, "unsupported_media_type", null, $"Expected a body of Content-Type application/json, found '{contentType}'.");

    public static ApiError Overloaded(int retryAfter, string message) =>
        new(429, "rate_limit_error", "server_overloaded", null, message, retryAfter);

    public static ApiError Unavailable(string code, string message, int? retryAfter = null) =>
        new(503, "server_error", code, null, message, retryAfter);

    public static ApiError Internal(string message) => new(500, "server_error", "internal_error", null, message);
}

/// <summary>Carries an <see cref="ApiError"/> to <see cref="ErrorResponse"/>, the one place that answers with it.</summary>
public sealed class ApiException : Exception
{
    public ApiException(ApiError error)
        : base(error.Message) => Error = error;

    public ApiError Error { get; }
}
