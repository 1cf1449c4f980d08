using Sals.Server.Hosting;

namespace Sals.Server.Api;

/// <summary>POST /v1/chat/completions.</summary>
public static class ChatCompletions
{
    public static void Map(IEndpointRouteBuilder routes, EngineHost host, ILogger logger) =>
        routes.MapPost("/v1/chat/completions", (HttpContext context) => AnswerRoute.HandleAsync(
            context, host, logger, "chat", RequestReader.KnownFields,
            (reader, body) => reader.ReadChat(body),
            (generation, tokenizer) => new ChatFormat(generation, tokenizer)));
}
