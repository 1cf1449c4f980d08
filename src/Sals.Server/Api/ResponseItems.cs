using System.Text;
using Sals.Engine.Text.Answers;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>
/// The output items of one response, from the parts of its answer: reasoning, message, calls, in the order in which they are written. Tells of each step, so that a
/// stream and a whole response are made by the same code.
/// </summary>
public sealed class ResponseItems
{
    private readonly ToolCallFormat? _format;
    private readonly Action<string, Func<ResponseEvent, ResponseEvent>> _tell;
    private readonly List<ResponseItem> _done = [];
    private readonly StringBuilder _text = new();
    private readonly List<ChatTokenLogProbability> _tokens = [];
    private ResponseItem? _open;

    /// <param name="tell">Gets the type of an event, and how it is filled.</param>
    public ResponseItems(ToolCallFormat? format, Action<string, Func<ResponseEvent, ResponseEvent>> tell)
    {
        _format = format;
        _tell = tell;
    }

    /// <summary>Those that have ended.</summary>
    public IReadOnlyList<ResponseItem> Done => _done;

    /// <param name="tokens">Log-probabilities of a message's tokens, when asked for.</param>
    public void Add(in AnswerPart part, IReadOnlyList<ChatTokenLogProbability> tokens)
    {
        switch (part.Kind)
        {
            case AnswerPartKind.Call:
                Close("completed");
                Open(new ResponseItem(NewId("fc_"), "function_call", "in_progress") { CallId = ToolCallId.New(_format), Name = part.Text, Arguments = "" });
                return;
            case AnswerPartKind.Arguments:
                Tell("response.function_call_arguments.delta", part.Text);
                break;
            case AnswerPartKind.Reasoning:
                Continue("reasoning");
                Tell("response.reasoning_text.delta", part.Text);
                break;
            default:
                Continue("message");
                _tokens.AddRange(tokens);
                Tell("response.output_text.delta", part.Text, tokens);
                break;
        }

        _text.Append(part.Text);
    }

    /// <summary>The answer has ended; one without any text has an empty message.</summary>
    /// <param name="status">Of the item that is open: completed or incomplete.</param>
    public void End(string status)
    {
        if (_open is null && _done.Count == 0)
        {
            Continue("message");
        }

        Close(status);
    }

    private int Index => _done.Count;

    private void Continue(string type)
    {
        if (_open?.Type == type)
        {
            return;
        }

        Close("completed");
        Open(type == "message"
            ? new ResponseItem(NewId("msg_"), type, "in_progress") { Role = "assistant", Content = [] }
            : new ResponseItem(NewId("rs_"), type, "in_progress") { Summary = [], Content = [] });
        _tell("response.content_part.added", step => step with { ItemId = _open!.Id, OutputIndex = Index, ContentIndex = 0, Part = Part() });
    }

    private void Open(ResponseItem item)
    {
        _open = item;
        _text.Clear();
        _tokens.Clear();
        _tell("response.output_item.added", step => step with { OutputIndex = Index, Item = item });
    }

    private void Tell(string type, string delta, IReadOnlyList<ChatTokenLogProbability>? tokens = null)
    {
        var item = _open!;
        _tell(type, step => step with { ItemId = item.Id, OutputIndex = Index, ContentIndex = item.Content is null ? null : 0, Delta = delta, Logprobs = tokens });
    }

    private ResponsePart Part() => _open!.Type == "message"
        ? new ResponsePart("output_text", _text.ToString()) { Annotations = [], Logprobs = [.. _tokens] }
        : new ResponsePart("reasoning_text", _text.ToString());

    private void Close(string status)
    {
        if (_open is not { } item)
        {
            return;
        }

        var text = _text.ToString();
        if (item.Type == "function_call")
        {
            item = item with { Arguments = text };
            _tell("response.function_call_arguments.done", step => step with { ItemId = item.Id, OutputIndex = Index, Name = item.Name, Arguments = text });
        }
        else
        {
            var part = Part();
            item = item with { Content = [part] };
            _tell(item.Type == "message" ? "response.output_text.done" : "response.reasoning_text.done",
                step => step with { ItemId = item.Id, OutputIndex = Index, ContentIndex = 0, Text = text, Logprobs = part.Logprobs });
            _tell("response.content_part.done", step => step with { ItemId = item.Id, OutputIndex = Index, ContentIndex = 0, Part = part });
        }

        item = item with { Status = status };
        _tell("response.output_item.done", step => step with { OutputIndex = Index, Item = item });
        _done.Add(item);
        _open = null;
    }

    private static string NewId(string prefix) => prefix + RequestId.New();
}
