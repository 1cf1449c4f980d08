using Sals.Server.Hosting;

namespace Sals.Server.Api;

/// <summary>POST /v1/responses: create and stream. Nothing is stored, so there is nothing to get, cancel or delete.</summary>
public static class Responses
{
    public static void Map(IEndpointRouteBuilder routes, EngineHost host, ILogger logger, TimeProvider time) =>
        routes.MapPost("/v1/responses", (HttpContext context) => AnswerRoute.HandleAsync(
            context, host, logger, "chat", ResponseReader.KnownFields,
            (reader, body) => new ResponseReader(reader).Read(body),
            (generation, tokenizer) => new ResponseFormat(generation, tokenizer, time)));
}
