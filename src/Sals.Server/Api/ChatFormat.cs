using Sals.Engine;
using Sals.Engine.Text;
using Sals.Server.Api.Wire;
using Sals.Server.Telemetry;

namespace Sals.Server.Api;

/// <summary>chat.completion and chat.completion.chunk.</summary>
public sealed class ChatFormat : IAnswerFormat
{
    private readonly Generation _generation;
    private readonly Call _call;
    private readonly AnswerForm _form;
    private readonly LogProbabilities _logProbabilities;

    public ChatFormat(Generation generation, Tokenizer? tokenizer)
    {
        _generation = generation;
        _call = generation.Call;
        _form = _call.Form;
        _logProbabilities = new LogProbabilities(_form.TokensAsIds ? null : tokenizer, _form.LogProbabilities);
    }

    public void Open(SseWriter stream)
    {
        for (var i = 0; i < _call.ChoiceCount; i++)
        {
            var choice = new ChatChunkChoice(i, new ChatDelta { Role = "assistant", Content = "" }, null, null);
            Write(stream, [choice], _form.ReturnTokenIds ? _call.Requests[0].Prompt : null);
        }
    }

    public void Write(SseWriter stream, in Piece piece)
    {
        var ended = piece.Finish != FinishReason.None;
        var tokens = piece.Tokens.Count > 0 ? _logProbabilities.Chat(piece.Tokens) : null;
        if (piece.Text.Length > 0 || tokens is not null || piece.TokenIds.Count > 0)
        {
            Write(stream, [new ChatChunkChoice(piece.Choice, new ChatDelta { Content = piece.Text }, tokens, null) { TokenIds = Ids(piece) }]);
        }

        if (ended)
        {
            Write(stream, [new ChatChunkChoice(piece.Choice, new ChatDelta(), null, SalsMetrics.Name(piece.Finish)) { StopReason = piece.StopReason }]);
        }
    }

    public void WriteUsage(SseWriter stream) => Data(stream, new ChatChunk(_call.Id, _call.Created, _call.Model, []) { Usage = UsageField.Of(Usage()) });

    public Task WriteWholeAsync(HttpResponse response, IReadOnlyList<Answer> answers, CancellationToken cancel)
    {
        var choices = answers.Select((answer, i) => new ChatChoice(
            i,
            new ChatAnswer("assistant", answer.Text),
            _form.LogProbabilities >= 0 ? _logProbabilities.Chat(answer.Tokens) : null,
            SalsMetrics.Name(answer.Finish),
            answer.StopReason)
        {
            TokenIds = _form.ReturnTokenIds ? answer.TokenIds : null,
        });
        var body = new ChatResponse(_call.Id, _call.Created, _call.Model, [.. choices], Usage())
        {
            PromptLogprobs = _form.PromptLogProbabilities >= 0
                ? _logProbabilities.Prompt(_generation.PromptScores![0], _form.PromptLogProbabilities) : null,
            PromptTokenIds = _form.ReturnTokenIds ? _call.Requests[0].Prompt : null,
        };
        return JsonResponse.WriteAsync(response, body, WireJson.Default.ChatResponse, cancel);
    }

    private void Write(SseWriter stream, ChatChunkChoice[] choices, int[]? promptIds = null)
    {
        var usage = _form.ContinuousUsage ? UsageField.Of(Usage()) : _form.IncludeUsage ? UsageField.Null : default;
        Data(stream, new ChatChunk(_call.Id, _call.Created, _call.Model, choices) { Usage = usage, PromptTokenIds = promptIds });
    }

    private static void Data(SseWriter stream, ChatChunk chunk) => stream.Data(chunk, WireJson.Default.ChatChunk);

    private static IReadOnlyList<int>? Ids(in Piece piece) => piece.TokenIds.Count > 0 ? piece.TokenIds : null;

    private Usage Usage() => Wire.Usage.Of(_call.PromptTokens, _generation.CompletionTokens, _generation.CachedTokens);
}
