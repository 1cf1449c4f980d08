using Sals.Engine;
using Sals.Engine.Text;
using Sals.Engine.Text.Answers;
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
    private readonly bool[] _called;

    public ChatFormat(Generation generation, Tokenizer? tokenizer)
    {
        _generation = generation;
        _call = generation.Call;
        _form = _call.Form;
        _logProbabilities = new LogProbabilities(_form.TokensAsIds ? null : tokenizer, _form.LogProbabilities);
        _called = new bool[_call.ChoiceCount];
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
        var deltas = piece.Parts is null
            ? piece.Text.Length > 0 ? [new ChatDelta { Content = piece.Text }] : Array.Empty<ChatDelta>()
            : [.. Deltas(piece)];
        var ids = Ids(piece);
        if (deltas.Length == 0 && (tokens is not null || ids is not null))
        {
            deltas = [piece.Parts is null ? new ChatDelta { Content = "" } : new ChatDelta()];
        }

        foreach (var delta in deltas)
        {
            Write(stream, [new ChatChunkChoice(piece.Choice, delta, tokens, null) { TokenIds = ids }]);
            (tokens, ids) = (null, null);
        }

        if (ended)
        {
            Write(stream, [new ChatChunkChoice(piece.Choice, new ChatDelta(), null, Finish(piece.Finish, _called[piece.Choice])) { StopReason = piece.StopReason }]);
        }
    }

    public void Close(SseWriter stream)
    {
        if (_form.IncludeUsage)
        {
            Data(stream, new ChatChunk(_call.Id, _call.Created, _call.Model, []) { Usage = UsageField.Of(Usage()) });
        }

        stream.Done();
    }

    public void Fail(SseWriter stream, ApiError error) => stream.Data(ErrorBody.Of(error), WireJson.Default.ErrorBody);

    public Task WriteWholeAsync(HttpResponse response, IReadOnlyList<Answer> answers, CancellationToken cancel)
    {
        var choices = answers.Select((answer, i) => new ChatChoice(
            i,
            Message(answer),
            _form.LogProbabilities >= 0 ? _logProbabilities.Chat(answer.Tokens) : null,
            Finish(answer.Finish, answer.Calls.Any()),
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

    /// <summary>One event for each kind of part; a call's first has its name, whole.</summary>
    private IEnumerable<ChatDelta> Deltas(Piece piece)
    {
        foreach (var part in piece.Parts!)
        {
            switch (part.Kind)
            {
                case AnswerPartKind.Content:
                    yield return new ChatDelta { Content = part.Text };
                    break;
                case AnswerPartKind.Reasoning when _form.ShowReasoning:
                    yield return new ChatDelta { ReasoningContent = part.Text };
                    break;
                case AnswerPartKind.Call:
                    _called[piece.Choice] = true;
                    yield return new ChatDelta { ToolCalls = [new ToolCall(part.Index, ToolCallId.New(_form.Layout.Calls), new ToolCallFunction(part.Text, ""))] };
                    break;
                case AnswerPartKind.Arguments:
                    yield return new ChatDelta { ToolCalls = [new ToolCall(part.Index, null, new ToolCallFunction(null, part.Text))] };
                    break;
            }
        }
    }

    private ChatAnswer Message(Answer answer)
    {
        var calls = answer.Calls.Select(call => new ToolCall(null, ToolCallId.New(_form.Layout.Calls), new ToolCallFunction(call.Name, call.Arguments))).ToArray();
        var reasoning = answer.Reasoning.Length > 0 ? answer.Reasoning : null;
        return new ChatAnswer("assistant", answer.Text.Length > 0 || (calls.Length == 0 && reasoning is null) ? answer.Text : null)
        {
            ReasoningContent = _form.ShowReasoning ? reasoning : null,
            ToolCalls = calls.Length > 0 ? calls : null,
        };
    }

    private static string Finish(FinishReason reason, bool called) => called && reason == FinishReason.Stop ? "tool_calls" : SalsMetrics.Name(reason);

    private static void Data(SseWriter stream, ChatChunk chunk) => stream.Data(chunk, WireJson.Default.ChatChunk);

    private static IReadOnlyList<int>? Ids(in Piece piece) => piece.TokenIds.Count > 0 ? piece.TokenIds : null;

    private Usage Usage() => Wire.Usage.Of(_call.PromptTokens, _generation.CompletionTokens, _generation.CachedTokens,
        _form.Layout.Reasoning == ReasoningStart.Closed ? null : _generation.ReasoningTokens);
}
