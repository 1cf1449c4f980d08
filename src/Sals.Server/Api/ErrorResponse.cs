using System.Globalization;
using Microsoft.AspNetCore.Http.Features;
using Sals.Engine;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>The one place that turns failures into HTTP: errors as values, the engine's refusals, Kestrel's and everything unexpected.</summary>
public static class ErrorResponse
{
    /// <summary>Status for the log when the client has gone; never sent.</summary>
    public const int ClientClosed = 499;

    public static ApiError Map(Exception exception) => exception switch
    {
        ApiException known => known.Error,
        EngineNotReadyException { State: EngineState.Ready } => ApiError.Overloaded(1, "The waiting queue is full. Retry later."),
        EngineNotReadyException { State: EngineState.Loading } => ApiError.Unavailable("loading", "The model is loading.", 2),
        EngineNotReadyException { State: EngineState.Faulted } => ApiError.Unavailable("engine_failed", "The engine has failed; the server is about to restart."),
        EngineNotReadyException => ApiError.Unavailable("draining", "The server is shutting down.", 5),
        BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge } => ApiError.TooLarge(0),
        BadHttpRequestException bad => ApiError.Invalid(null, bad.Message) with { Status = bad.StatusCode },
        _ => ApiError.Internal("The server failed to process the request."),
    };

    public static async Task WriteAsync(HttpContext context, ApiError error)
    {
        var response = context.Response;
        response.StatusCode = error.Status;
        if (error.RetryAfter is { } seconds)
        {
            response.Headers.RetryAfter = seconds.ToString(CultureInfo.InvariantCulture);
        }

        if (error.Status >= 400 && error.RetryAfter is null)
        {
            // clients of OpenAI retry 5xx by themselves; where that cannot help, say so
            response.Headers["x-should-retry"] = "false";
        }

        if (error.Status == StatusCodes.Status401Unauthorized)
        {
            response.Headers.WWWAuthenticate = "Bearer";
        }

        if (error.Status == StatusCodes.Status413PayloadTooLarge || error.Code == "draining")
        {
            response.Headers.Connection = "close";
        }

        await JsonResponse.WriteAsync(response, ErrorBody.Of(error), WireJson.Default.ErrorBody, context.RequestAborted);
    }

    /// <summary>Answers what escapes from routes; after the first byte only closing the connection tells the client.</summary>
    public static async Task Middleware(HttpContext context, RequestDelegate next, ILogger logger)
    {
        try
        {
            await next(context);
            await AnswerEmptyAsync(context);
        }
        catch (Exception) when (context.RequestAborted.IsCancellationRequested)
        {
            // nobody reads it; it is for whoever counts statuses
            if (!context.Response.HasStarted)
            {
                context.Response.StatusCode = ClientClosed;
            }
        }
        catch (Exception exception) when (!context.Response.HasStarted)
        {
            var error = Map(exception);
            if (error.Status == StatusCodes.Status413PayloadTooLarge)
            {
                error = ApiError.TooLarge(context.Features.Get<IHttpMaxRequestBodySizeFeature>()?.MaxRequestBodySize ?? 0);
            }

            if (error.Status >= 500 && exception is not (ApiException or EngineNotReadyException))
            {
                ApiLog.Unexpected(logger, exception, context.Request.Path);
            }

            Log(logger, context, error);
            await WriteAsync(context, error);
        }
        catch (Exception exception)
        {
            ApiLog.Unexpected(logger, exception, context.Request.Path);
            context.Abort();
        }
    }

    /// <summary>Every request has one line that says how it ended; this is the one of those that never ran.</summary>
    private static void Log(ILogger logger, HttpContext context, ApiError error)
    {
        // a 500 has a line already: of the request that failed, or of what was unexpected
        if (error.Status != StatusCodes.Status500InternalServerError && logger.IsEnabled(LogLevel.Information))
        {
            ApiLog.Refused(logger, context.TraceIdentifier, OneLine(context.Request.Path), error.Status, error.Code ?? error.Type, OneLine(error.Param ?? "-"));
        }

        // paths and field names are the client's: they must not write lines of their own
        static string OneLine(string text) => string.Concat(text.Take(80).Select(c => char.IsControl(c) ? '?' : c));
    }

    /// <summary>Routing's own 404 and 405 have no body; give them OpenAI's.</summary>
    private static async Task AnswerEmptyAsync(HttpContext context)
    {
        var response = context.Response;
        if (!response.HasStarted && response.ContentLength is null && response.ContentType is null)
        {
            var (method, path) = (context.Request.Method, context.Request.Path.Value ?? "");
            if (response.StatusCode == StatusCodes.Status404NotFound)
            {
                await WriteAsync(context, ApiError.UnknownRoute(method, path));
            }
            else if (response.StatusCode == StatusCodes.Status405MethodNotAllowed)
            {
                await WriteAsync(context, ApiError.WrongMethod(method, path));
            }
        }
    }
}
