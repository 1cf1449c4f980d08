using Sals.Server.Hosting;

namespace Sals.Server.Api;

/// <summary>POST /v1/completions.</summary>
public static class Completions
{
    public static void Map(IEndpointRouteBuilder routes, EngineHost host, ILogger logger) =>
        routes.MapPost("/v1/completions", (HttpContext context) => AnswerRoute.HandleAsync(
            context, host, logger, "text_completion", RequestReader.KnownFields,
            (reader, body) => reader.ReadCompletion(body),
            (generation, tokenizer) => new CompletionFormat(generation, tokenizer)));
}
