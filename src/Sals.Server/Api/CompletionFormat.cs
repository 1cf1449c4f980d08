using Sals.Engine;
using Sals.Engine.Text;
using Sals.Server.Api.Wire;
using Sals.Server.Telemetry;

namespace Sals.Server.Api;

/// <summary>text_completion, whole and streamed.</summary>
public sealed class CompletionFormat : IAnswerFormat
{
    private readonly Generation _generation;
    private readonly Call _call;
    private readonly AnswerForm _form;
    private readonly LogProbabilities _logProbabilities;
    private readonly string[] _echo;

    public CompletionFormat(Generation generation, Tokenizer? tokenizer)
    {
        _generation = generation;
        _call = generation.Call;
        _form = _call.Form;
        _logProbabilities = new LogProbabilities(_form.TokensAsIds ? null : tokenizer, _form.LogProbabilities);
        _echo = [.. _call.Requests.Select(request => _form.Echo && tokenizer is not null ? tokenizer.Decode(request.Prompt, skipSpecialTokens: true) : "")];
    }

    public void Open(SseWriter stream)
    {
        for (var i = 0; i < _call.ChoiceCount; i++)
        {
            var echo = _echo[i / _call.ChoicesPerPrompt];
            if (echo.Length > 0)
            {
                var prompt = Prompt(i);
                var tokens = prompt.Length > 0 ? _logProbabilities.Completion(prompt, [], 0) : null;
                Data(stream, [new CompletionChoice(i, echo, tokens, null)]);
            }
        }
    }

    public void Write(SseWriter stream, in Piece piece)
    {
        var tokens = piece.Tokens.Count > 0 ? _logProbabilities.Completion([], piece.Tokens, Shift(piece.Choice)) : null;
        var finish = piece.Finish == FinishReason.None ? null : SalsMetrics.Name(piece.Finish);
        Data(stream, [new CompletionChoice(piece.Choice, piece.Text, tokens, finish)
        {
            StopReason = piece.StopReason,
            TokenIds = piece.TokenIds.Count > 0 ? piece.TokenIds : null,
        }]);
    }

    public void Close(SseWriter stream)
    {
        if (_form.IncludeUsage)
        {
            stream.Data(new CompletionResponse(_call.Id, _call.Created, _call.Model, []) { Usage = UsageField.Of(Usage()) }, WireJson.Default.CompletionResponse);
        }

        stream.Done();
    }

    public void Fail(SseWriter stream, ApiError error) => stream.Data(ErrorBody.Of(error), WireJson.Default.ErrorBody);

    public Task WriteWholeAsync(HttpResponse response, IReadOnlyList<Answer> answers, CancellationToken cancel)
    {
        var choices = answers.Select((answer, i) => new CompletionChoice(
            i,
            _echo[i / _call.ChoicesPerPrompt] + answer.Text,
            _form.LogProbabilities >= 0 ? _logProbabilities.Completion(Prompt(i), answer.Tokens, Shift(i)) : null,
            SalsMetrics.Name(answer.Finish))
        {
            StopReason = answer.StopReason,
            PromptLogprobs = _form.PromptLogProbabilities >= 0
                ? _logProbabilities.Prompt(_generation.PromptScores![i / _call.ChoicesPerPrompt], _form.PromptLogProbabilities) : null,
            TokenIds = _form.ReturnTokenIds ? answer.TokenIds : null,
            PromptTokenIds = _form.ReturnTokenIds ? _call.Requests[i / _call.ChoicesPerPrompt].Prompt : null,
        });
        var body = new CompletionResponse(_call.Id, _call.Created, _call.Model, [.. choices]) { Usage = UsageField.Of(Usage()) };
        return JsonResponse.WriteAsync(response, body, WireJson.Default.CompletionResponse, cancel);
    }

    private void Data(SseWriter stream, CompletionChoice[] choices)
    {
        var usage = _form.ContinuousUsage ? UsageField.Of(Usage()) : _form.IncludeUsage ? UsageField.Null : default;
        stream.Data(new CompletionResponse(_call.Id, _call.Created, _call.Model, choices) { Usage = usage }, WireJson.Default.CompletionResponse);
    }

    private AnswerToken[] Prompt(int choice) => !_form.Echo || _form.LogProbabilities < 0 ? [] : _generation.PromptScores?[choice / _call.ChoicesPerPrompt] ?? [];

    private int Shift(int choice) => _echo[choice / _call.ChoicesPerPrompt].Length;

    private Usage Usage() => Wire.Usage.Of(_call.PromptTokens, _generation.CompletionTokens, _generation.CachedTokens);
}
