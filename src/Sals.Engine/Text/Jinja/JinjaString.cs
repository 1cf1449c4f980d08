using System.Text;

namespace Sals.Engine.Text.Jinja;

/// <summary>
/// Text that remembers which of its characters came from a client. Every operation of the language keeps that, so the finished prompt knows
/// where special tokens may stand.
/// </summary>
public sealed class JinjaString : JinjaValue
{
    private static readonly (int, int)[] Nowhere = [];

    public JinjaString(string text, bool plain)
        : this(text, plain && text.Length > 0 ? [(0, text.Length)] : Nowhere)
    {
    }

    internal JinjaString(string text, IReadOnlyList<(int Start, int Length)> plain)
    {
        Text = text;
        Plain = plain;
    }

    public static JinjaString Empty { get; } = new("", plain: false);

    public string Text { get; }

    /// <summary>Stretches that came from a client, ascending, not touching; UTF-16 code units.</summary>
    public IReadOnlyList<(int Start, int Length)> Plain { get; }

    public override string TypeName => "str";

    public override bool IsTrue => Text.Length > 0;

    public bool IsAllPlain => Plain.Count == 1 && Plain[0].Length == Text.Length;

    public JinjaString Slice(int start, int length)
    {
        if (start == 0 && length == Text.Length)
        {
            return this;
        }

        if (length <= 0)
        {
            return Empty;
        }

        var text = Text.Substring(start, length);
        return Plain.Count == 0 || IsAllPlain ? new JinjaString(text, Plain.Count > 0) : new JinjaString(text, Cut(start, length));
    }

    /// <summary>Applies a mapping that changes no character's position.</summary>
    public JinjaString Map(Func<string, string> map)
    {
        var mapped = map(Text);
        return mapped.Length == Text.Length ? new JinjaString(mapped, Plain) : new JinjaString(mapped, Plain.Count > 0);
    }

    internal List<(int Start, int Length)> Cut(int start, int length)
    {
        // the first stretch that ends behind start: a text of many stretches may be cut into as many pieces
        var (low, high) = (0, Plain.Count);
        while (low < high)
        {
            var middle = (low + high) / 2;
            (low, high) = Plain[middle].Start + Plain[middle].Length > start ? (low, middle) : (middle + 1, high);
        }

        var cut = new List<(int, int)>();
        for (var i = low; i < Plain.Count && Plain[i].Start < start + length; i++)
        {
            var from = Math.Max(Plain[i].Start, start);
            cut.Add((from - start, Math.Min(Plain[i].Start + Plain[i].Length, start + length) - from));
        }

        return cut;
    }
}

/// <summary>Builds a <see cref="JinjaString"/> piece by piece; refuses to grow past a limit.</summary>
internal sealed class JinjaTextBuilder(Rendering run)
{
    private readonly StringBuilder _text = new();
    private readonly List<(int Start, int Length)> _plain = [];

    public int Length => _text.Length;

    public void Append(string text, bool plain = false)
    {
        if (text.Length == 0)
        {
            return;
        }

        run.ChargeText(text.Length, _text.Length);
        if (plain)
        {
            Mark(_text.Length, text.Length);
        }

        _text.Append(text);
    }

    public void Append(JinjaString text)
    {
        run.ChargeText(text.Text.Length, _text.Length);
        foreach (var (start, length) in text.Plain)
        {
            Mark(_text.Length + start, length);
        }

        _text.Append(text.Text);
    }

    public JinjaString Build() => new(_text.ToString(), _plain);

    public RenderedPrompt BuildPrompt() => new(_text.ToString(), _plain);

    private void Mark(int start, int length)
    {
        if (_plain.Count > 0 && _plain[^1].Start + _plain[^1].Length == start)
        {
            _plain[^1] = (_plain[^1].Start, _plain[^1].Length + length);
        }
        else
        {
            _plain.Add((start, length));
        }
    }
}
