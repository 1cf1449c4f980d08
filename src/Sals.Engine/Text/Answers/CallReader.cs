using System.Text;
using System.Text.Json;

namespace Sals.Engine.Text.Answers;

/// <summary>
/// Reads one call, <c>{"name": .., "arguments": ..}</c> in any order, character by character. Nothing is given out before a name and the beginning of arguments are there,
/// so what turns out to be no call can still be text; from then on arguments pass as they come.
/// </summary>
internal sealed class CallReader
{
    /// <summary>OpenAI allows 64; some models' own names are longer.</summary>
    public const int MaxName = 256;

    private readonly Func<string, bool> _accepts;
    private readonly bool _onlyKnownKeys;
    private readonly int _index;
    private readonly bool _silent;
    private readonly StringBuilder _raw = new();
    private readonly StringBuilder _value = new();
    private readonly bool _bare;
    private JsonScan? _scan;
    private State _state;
    private string _key = "";
    private string? _name;
    private string? _arguments;

    /// <summary>Arguments are passed on while they come; all other values are collected.</summary>
    private bool _passing;

    /// <param name="accepts">Whether a name may be that of a tool.</param>
    /// <param name="onlyKnownKeys">Any other member says that this is no call.</param>
    /// <param name="silent">Read, but not given out.</param>
    public CallReader(int index, bool silent, Func<string, bool> accepts, bool onlyKnownKeys)
    {
        _index = index;
        _silent = silent;
        _accepts = accepts;
        _onlyKnownKeys = onlyKnownKeys;
    }

    /// <summary>Only the arguments of a call whose name is known.</summary>
    public CallReader(int index, bool silent, string name)
        : this(index, silent, _ => true, onlyKnownKeys: false)
    {
        _bare = true;
        _name = name;
        _key = "arguments";
        _state = State.Value;
    }

    private enum State
    {
        Begin,
        FirstKey,
        Key,
        InKey,
        Colon,
        Value,
        InValue,
        After,
    }

    public enum Step
    {
        More,

        /// <summary>The character ended the call.</summary>
        Done,

        /// <summary>The call ended before this character, without its closing brace.</summary>
        Before,

        /// <summary>No call: <see cref="Raw"/> is text, and the character comes after it.</summary>
        NoCall,

        /// <summary>A call, but its arguments are no JSON from this character on.</summary>
        Broken,
    }

    /// <summary>The name has been given out.</summary>
    public bool Announced { get; private set; }

    /// <summary>What was read as long as nothing has been given out.</summary>
    public StringBuilder Raw => _raw;

    public Step Take(char c, PartList parts)
    {
        var step = Read(c, parts);
        if (step == Step.NoCall && Announced)
        {
            return _passing ? Step.Broken : Step.Before;
        }

        if (step is Step.More or Step.Done && !Announced)
        {
            _raw.Append(c);
        }

        return step;
    }

    private Step Read(char c, PartList parts)
    {
        if (_state is State.InKey or State.InValue)
        {
            return ReadScanned(c, parts);
        }

        if (c is ' ' or '\n' or '\r' or '\t')
        {
            return Step.More;
        }

        switch (_state, c)
        {
            case (State.Begin, '{'):
                return Go(State.FirstKey);
            case (State.FirstKey or State.Key, '"'):
                Scan(State.InKey);
                return ReadScanned(c, parts);
            case (State.Colon, ':'):
                return Go(State.Value);
            case (State.Value, _):
                return BeginValue(c, parts);
            case (State.After, ','):
                return Go(State.Key);
            case (State.After or State.FirstKey, '}'):
                return End(parts);
            default:
                return Step.NoCall;
        }
    }

    private Step BeginValue(char c, PartList parts)
    {
        if (_onlyKnownKeys && _key is not ("name" or "arguments" or "parameters" or "type" or "id"))
        {
            return Step.NoCall;
        }

        Scan(State.InValue);
        if (IsArguments && c == '{' && _name is not null && !Announced)
        {
            Announce(parts);
        }

        return ReadScanned(c, parts);
    }

    private bool IsArguments => _key is "arguments" or "parameters";

    private Step ReadScanned(char c, PartList parts)
    {
        var step = _scan!.Take(c);
        if (step == JsonScan.Step.Wrong)
        {
            return Step.NoCall;
        }

        if (step != JsonScan.Step.Before)
        {
            if (_passing)
            {
                Give(AnswerPartKind.Arguments, c, parts);
            }
            else
            {
                _value.Append(c);
            }
        }

        if (step == JsonScan.Step.More)
        {
            return Step.More;
        }

        var ended = _state == State.InKey ? EndKey() : EndValue(parts);
        return ended != Step.More || step == JsonScan.Step.Last ? ended : Read(c, parts);
    }

    private Step EndKey()
    {
        _key = Decode(_value.ToString()) ?? "";
        return Go(State.Colon);
    }

    private Step EndValue(PartList parts)
    {
        _state = State.After;
        if (_passing)
        {
            _passing = false;
            _arguments = "";
            return _bare ? Step.Done : Step.More;
        }

        var text = _value.ToString();
        if (_key == "name" && _name is null)
        {
            _name = Decode(text);
            return _name is { Length: > 0 and <= MaxName } && !_name.Any(char.IsControl) && _accepts(_name) ? Step.More : Step.NoCall;
        }

        if (IsArguments && _arguments is null)
        {
            // some models write the arguments as a text that is JSON; null means none
            _arguments = text[0] == '"' ? Decode(text) : text == "null" ? "{}" : text;
            return _arguments is null ? Step.NoCall : _bare ? End(parts) : Step.More;
        }

        return Step.More;
    }

    private Step End(PartList parts)
    {
        if (_name is null)
        {
            return Step.NoCall;
        }

        if (!Announced)
        {
            Announce(parts);
            _passing = false;
            if (!_silent)
            {
                parts.Add(AnswerPartKind.Arguments, _arguments is { Length: > 0 } ? _arguments : "{}", _index);
            }
        }

        return Step.Done;
    }

    private void Announce(PartList parts)
    {
        Announced = true;
        _passing = true;
        if (!_silent)
        {
            parts.Add(AnswerPartKind.Call, _name!, _index);
        }
    }

    private void Give(AnswerPartKind kind, char c, PartList parts)
    {
        if (!_silent)
        {
            parts.Add(kind, c, _index);
        }
    }

    private Step Go(State state)
    {
        _state = state;
        return Step.More;
    }

    private void Scan(State state)
    {
        _state = state;
        _scan = new JsonScan();
        _value.Clear();
    }

    /// <summary>The text of a JSON string; null for any other value and for what is no Unicode.</summary>
    private static string? Decode(string json)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            return document.RootElement.ValueKind == JsonValueKind.String ? document.RootElement.GetString() : null;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            return null;
        }
    }
}
