using System.Text.Json;
using Sals.Engine.Text;
using Sals.Server.Hosting;
using Sals.Server.Telemetry;

namespace Sals.Server.Api;

/// <summary>The way of a generating request: read, admit, start, stream or collect.</summary>
public static class AnswerRoute
{
    /// <param name="known">Fields of the request that are acted on.</param>
    /// <param name="operation">OpenTelemetry's name of what is asked for: chat or text_completion.</param>
    public static async Task HandleAsync(
        HttpContext context, EngineHost host, ILogger logger, string operation, IReadOnlySet<string> known,
        Func<RequestReader, JsonElement, Call> read, Func<Generation, Tokenizer?, IAnswerFormat> format)
    {
        var serving = host.Require();
        using var span = RequestSpan.Start(context, operation, serving.Time);
        try
        {
            Call call;
            using (var document = await RequestBody.ReadAsync(context))
            {
                call = RequestBody.Read(document, root => read(serving.Reader, root));
                LogIgnored(logger, context, document.RootElement, known);
            }

            span.Read(call);
            await AnswerAsync(context, serving, logger, call, span, format);
        }
        catch (Exception exception)
        {
            span.Failed(exception);
            throw;
        }
    }

    private static async Task AnswerAsync(
        HttpContext context, Serving serving, ILogger logger, Call call, RequestSpan span, Func<Generation, Tokenizer?, IAnswerFormat> format)
    {
        var aborted = context.RequestAborted;
        await using var generation = await Generation.StartAsync(serving, call, logger, context.TraceIdentifier, context.Request.Path, aborted);
        span.Admitted(generation);
        var shape = format(generation, serving.Model.Tokenizer);
        if (call.Form.Stream)
        {
            await new AnswerStream(context, generation, shape, serving.Options.PingInterval, serving.Time).RunAsync();
            return;
        }

        var answers = Enumerable.Range(0, call.ChoiceCount).Select(_ => new Answer(ordered: call.Echo is not null)).ToArray();
        while (!generation.Finished)
        {
            await generation.WaitAsync(aborted);
            while (generation.TryRead(out var piece))
            {
                answers[piece.Choice].Add(piece);
            }
        }

        await shape.WriteWholeAsync(context.Response, answers, aborted);
    }

    private static void LogIgnored(ILogger logger, HttpContext context, JsonElement root, IReadOnlySet<string> known)
    {
        if (logger.IsEnabled(LogLevel.Debug))
        {
            var (ignored, unknown) = FieldPolicy.WithoutEffect(new Wire.JsonFields(root), known);
            if (ignored.Length + unknown.Length > 0)
            {
                ApiLog.Ignored(logger, context.TraceIdentifier, string.Join(", ", ignored), string.Join(", ", unknown));
            }
        }
    }
}
