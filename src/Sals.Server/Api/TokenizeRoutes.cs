using Sals.Server.Api.Wire;
using Sals.Server.Hosting;

namespace Sals.Server.Api;

/// <summary>POST /tokenize (a prompt or messages to ids) and /detokenize (ids to text), as vLLM has them.</summary>
public static class TokenizeRoutes
{
    public static void Map(IEndpointRouteBuilder routes, EngineHost host)
    {
        routes.MapPost("/tokenize", async (HttpContext context) =>
        {
            var serving = host.Require();
            using var document = await RequestBody.ReadAsync(context);
            var body = RequestBody.Read(document, root =>
            {
                var fields = new JsonFields(root);
                var prompts = serving.Reader.Prompts;
                var ids = fields.Has("messages") ? serving.Reader.ReadChatPrompt(fields).Ids
                    : fields.Find("prompt") is { } prompt ? prompts.Encode(prompt, "prompt", fields.Bool("add_special_tokens") ?? true)
                    : throw JsonFields.Invalid("prompt", "expected a prompt or messages, found neither");
                var strings = fields.Bool("return_token_strs") == true
                    ? ids.Select(id => serving.Model.Tokenizer!.TokenText(id) ?? "").ToArray() : null;
                return new TokenizeResponse(ids.Length, serving.Info.MaxModelLength, ids) { TokenStrs = strings };
            });
            await JsonResponse.WriteAsync(context.Response, body, WireJson.Default.TokenizeResponse, context.RequestAborted);
        });
        routes.MapPost("/detokenize", async (HttpContext context) =>
        {
            var serving = host.Require();
            using var document = await RequestBody.ReadAsync(context);
            var body = RequestBody.Read(document, root =>
            {
                var tokens = new JsonFields(root).Find("tokens") ?? throw JsonFields.Invalid("tokens", "expected a list of token ids, found nothing");
                var ids = JsonFields.ListOf(tokens, "tokens", 1 << 22)
                    .Select((item, i) => (int)JsonFields.IntegerOf(item, $"tokens[{i}]", 0, serving.Model.VocabularySize - 1)).ToArray();
                return new DetokenizeResponse(serving.Reader.Prompts.Tokenizer("tokens").Decode(ids, skipSpecialTokens: false));
            });
            await JsonResponse.WriteAsync(context.Response, body, WireJson.Default.DetokenizeResponse, context.RequestAborted);
        });
    }
}
