using System.Text;

namespace Sals.Engine.Text.Answers;

/// <summary>
/// Finds tool calls in text that comes character by character, so that the outcome cannot depend on how it was cut. What looks like a call and is none is
/// content; a call whose arguments stop being JSON keeps them as they were written, for its receiver to judge.
/// </summary>
internal abstract class ToolCallParser
{
    private readonly AnswerLayout _layout;
    private readonly StringBuilder _blanks = new();
    private CallReader? _call;
    private string _before = "";
    private int _calls;

    protected ToolCallParser(AnswerLayout layout) => _layout = layout;

    public static ToolCallParser? For(AnswerLayout layout) => layout.Calls switch
    {
        null => null,
        ToolCallFormat.Hermes => new HermesParser(layout),
        ToolCallFormat.Llama => new LlamaParser(layout),
        _ => new MistralParser(layout),
    };

    public abstract void Take(char c, PartList parts);

    /// <summary>The answer has ended.</summary>
    public void Finish(PartList parts)
    {
        End(parts);
        if (_calls == 0)
        {
            parts.Add(AnswerPartKind.Content, _blanks);
        }
    }

    protected abstract void End(PartList parts);

    protected AnswerLayout Layout => _layout;

    /// <summary>The call that is being read is left out.</summary>
    private bool Silent => _layout.OneCall && _calls > 0;

    /// <summary>What comes next may be a call.</summary>
    /// <param name="before">What was read for its sake: part of the answer if there is no call.</param>
    /// <inheritdoc cref="CallReader(int, bool, Func{string, bool}, bool)"/>
    protected void BeginCall(string before, Func<string, bool> accepts, bool onlyKnownKeys) =>
        (_before, _call) = (before, new CallReader(_calls, Silent, accepts, onlyKnownKeys));

    /// <summary>What comes next may be the arguments of a call whose name is known.</summary>
    protected void BeginCall(string before, string name) => (_before, _call) = (before, new CallReader(_calls, Silent, name));

    /// <summary>A character of what <see cref="BeginCall(string, string)"/> began. What was no call has become content, and the character is taken again.</summary>
    protected void TakeInCall(char c, PartList parts)
    {
        var step = _call!.Take(c, parts);
        if (_call.Announced)
        {
            DropBlanks();
        }

        if (step == CallReader.Step.NoCall)
        {
            GiveBack(parts);
        }
        else if (step is CallReader.Step.Done or CallReader.Step.Before)
        {
            CallEnded();
        }

        Follow(step);
        if (step is not (CallReader.Step.More or CallReader.Step.Done))
        {
            Take(c, parts);
        }
    }

    /// <summary>What the next character belongs to, after this step of a call.</summary>
    protected abstract void Follow(CallReader.Step step);

    /// <summary>The answer has ended within a call.</summary>
    protected void CutCall(PartList parts)
    {
        if (_call!.Announced)
        {
            CallEnded();
        }
        else
        {
            GiveBack(parts);
        }
    }

    protected void CallEnded() => _calls++;

    /// <summary>Arguments that are no JSON.</summary>
    protected void Broken(StringBuilder text, PartList parts)
    {
        if (!Silent)
        {
            parts.Add(AnswerPartKind.Arguments, text, _calls);
        }
    }

    /// <summary>Blanks wait for what follows: before a call and at the end behind one they mean nothing.</summary>
    protected void Content(char c, PartList parts)
    {
        if (char.IsWhiteSpace(c))
        {
            _blanks.Append(c);
            return;
        }

        parts.Add(AnswerPartKind.Content, _blanks);
        _blanks.Clear();
        parts.Add(AnswerPartKind.Content, c);
    }

    protected void Content(string text, PartList parts)
    {
        foreach (var c in text)
        {
            Content(c, parts);
        }
    }

    protected void Content(StringBuilder text, PartList parts) => Content(text.ToString(), parts);

    private void DropBlanks() => _blanks.Clear();

    private void GiveBack(PartList parts)
    {
        Content(_before, parts);
        Content(_call!.Raw, parts);
    }
}
