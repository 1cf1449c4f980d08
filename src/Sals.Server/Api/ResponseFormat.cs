using Sals.Engine;
using Sals.Engine.Text;
using Sals.Engine.Text.Answers;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>A response object, or the typed events of one.</summary>
public sealed class ResponseFormat : IAnswerFormat
{
    private readonly Generation _generation;
    private readonly Call _call;
    private readonly ResponseEcho _echo;
    private readonly LogProbabilities _logProbabilities;
    private readonly ResponseItems _items;
    private readonly TimeProvider _time;
    private SseWriter? _stream;
    private int _events;
    private FinishReason _finish;

    public ResponseFormat(Generation generation, Tokenizer? tokenizer, TimeProvider time)
    {
        _generation = generation;
        _call = generation.Call;
        _echo = _call.Echo!;
        _time = time;
        _logProbabilities = new LogProbabilities(tokenizer, _call.Form.LogProbabilities);
        _items = new ResponseItems(_call.Form.Layout.Calls, Tell);
    }

    public bool FailureEndsStream => true;

    public void Open(SseWriter stream)
    {
        _stream = stream;
        Tell("response.created", step => step with { Response = Response("in_progress") });
        Tell("response.in_progress", step => step with { Response = Response("in_progress") });
    }

    public void Write(SseWriter stream, in Piece piece) => Add(piece);

    public void Close(SseWriter stream) => Tell(Status == "completed" ? "response.completed" : "response.incomplete", step => step with { Response = Response(Status) });

    public void Fail(SseWriter stream, ApiError error) => Tell("response.failed", step => step with
    {
        Response = Response("failed") with { Error = new ResponseError(error.Status == 429 ? "rate_limit_exceeded" : "server_error", error.Message) },
    });

    public Task WriteWholeAsync(HttpResponse response, IReadOnlyList<Answer> answers, CancellationToken cancel)
    {
        foreach (var piece in answers[0].Pieces)
        {
            Add(piece);
        }

        return JsonResponse.WriteAsync(response, Response(Status), WireJson.Default.ResponseObject, cancel);
    }

    private string Status => _finish == FinishReason.Length ? "incomplete" : "completed";

    private void Add(in Piece piece)
    {
        IReadOnlyList<ChatTokenLogProbability> tokens = piece.Tokens.Count > 0 ? _logProbabilities.Chat(piece.Tokens).Content : [];
        foreach (var part in piece.Parts ?? (piece.Text.Length > 0 ? [new AnswerPart(AnswerPartKind.Content, piece.Text)] : []))
        {
            if (part.Kind != AnswerPartKind.Reasoning || _call.Form.ShowReasoning)
            {
                _items.Add(part, tokens);
                tokens = part.Kind == AnswerPartKind.Content ? [] : tokens;
            }
        }

        if (piece.Finish != FinishReason.None)
        {
            _finish = piece.Finish;
            _items.End(Status);
        }
    }

    private void Tell(string type, Func<ResponseEvent, ResponseEvent> fill)
    {
        if (_stream is { } stream)
        {
            stream.Event(type, fill(new ResponseEvent(type, _events++)), WireJson.Default.ResponseEvent);
        }
    }

    private ResponseObject Response(string status)
    {
        var sampling = _call.Requests[0].Sampling;
        var ended = status is "completed" or "incomplete";
        return new ResponseObject(_call.Id, _call.Created, _call.Model, status, [.. _items.Done])
        {
            CompletedAt = status == "completed" ? _time.GetUtcNow().ToUnixTimeSeconds() : null,
            IncompleteDetails = status == "incomplete" ? new ResponseIncomplete("max_output_tokens") : null,
            Instructions = _echo.Instructions,
            MaxOutputTokens = _echo.MaxOutputTokens,
            Metadata = _echo.Metadata,
            ParallelToolCalls = _echo.ParallelToolCalls,
            Reasoning = new ResponseReasoning(_echo.Effort),
            Temperature = (double)(decimal)sampling.Temperature,
            Text = new ResponseText(_echo.Format),
            ToolChoice = _echo.ToolChoice,
            Tools = _echo.Tools,
            TopLogprobs = Math.Max(0, _call.Form.LogProbabilities),
            TopP = (double)(decimal)sampling.TopP,
            Usage = ended ? new ResponseUsage(
                _call.PromptTokens, new ResponseInputDetails(_generation.CachedTokens), _generation.CompletionTokens, new ResponseOutputDetails(_generation.ReasoningTokens),
                _call.PromptTokens + _generation.CompletionTokens) : null,
        };
    }
}
