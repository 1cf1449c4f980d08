namespace Sals.Engine.Text.Jinja;

/// <summary>Python's slices and indices: lists by element, strings by code point.</summary>
internal static class Slices
{
    public static JinjaValue Slice(Rendering run, JinjaValue value, long? start, long? stop, long step)
    {
        if (step == 0)
        {
            throw run.Error("a slice step of 0");
        }

        return value switch
        {
            JinjaList list => new JinjaList([.. Indices(run, list.Items.Count, start, stop, step).Select(i => list.Items[i])], list.IsTuple),
            JinjaString text => SliceText(run, text, start, stop, step),
            JinjaUndefined undefined => throw run.Error($"'{undefined.What}' is undefined"),
            _ => throw run.Error($"a {value.TypeName} cannot be sliced"),
        };
    }

    /// <summary>Number of code points.</summary>
    public static int Length(string text)
    {
        var pairs = 0;
        for (var i = 0; i + 1 < text.Length; i++)
        {
            if (char.IsHighSurrogate(text[i]) && char.IsLowSurrogate(text[i + 1]))
            {
                pairs++;
                i++;
            }
        }

        return text.Length - pairs;
    }

    public static List<JinjaValue> Characters(Rendering run, JinjaString text)
    {
        if (text.Text.Length > run.Limits.ListLength)
        {
            throw run.Error($"a string of more than {run.Limits.ListLength} characters cannot be iterated");
        }

        var offsets = Offsets(text.Text);
        var characters = new List<JinjaValue>(offsets.Length - 1);
        for (var i = 0; i + 1 < offsets.Length; i++)
        {
            run.Charge();
            characters.Add(text.Slice(offsets[i], offsets[i + 1] - offsets[i]));
        }

        return characters;
    }

    /// <summary>The code point at an index, from the end when negative; null when there is none.</summary>
    public static JinjaValue? At(Rendering run, JinjaString text, long index)
    {
        run.ChargeRead(text);
        var length = Length(text.Text);
        index = index < 0 ? index + length : index;
        if (index < 0 || index >= length)
        {
            return null;
        }

        if (length == text.Text.Length)
        {
            return text.Slice((int)index, 1);
        }

        var offsets = Offsets(text.Text);
        return text.Slice(offsets[index], offsets[index + 1] - offsets[index]);
    }

    private static JinjaString SliceText(Rendering run, JinjaString text, long? start, long? stop, long step)
    {
        run.ChargeText(text.Text.Length);
        var length = Length(text.Text);
        var offsets = length == text.Text.Length ? null : Offsets(text.Text);
        int Offset(int index) => offsets is null ? index : offsets[index];
        if (step == 1)
        {
            var (from, to) = Bounds(length, start, stop, step);
            return from < to ? text.Slice(Offset((int)from), Offset((int)to) - Offset((int)from)) : JinjaString.Empty;
        }

        var builder = new JinjaTextBuilder(run);
        foreach (var i in Indices(run, length, start, stop, step))
        {
            builder.Append(text.Slice(Offset(i), Offset(i + 1) - Offset(i)));
        }

        return builder.Build();
    }

    private static (long From, long To) Bounds(int length, long? start, long? stop, long step)
    {
        long Clamp(long index, long low, long high) => Math.Clamp(index < 0 ? Math.Max(index + length, low) : index, low, high);
        return step > 0
            ? (start is { } s ? Clamp(s, 0, length) : 0, stop is { } e ? Clamp(e, 0, length) : length)
            : (start is { } rs ? Clamp(rs, -1, length - 1) : length - 1, stop is { } re ? Clamp(re, -1, length - 1) : -1);
    }

    private static IEnumerable<int> Indices(Rendering run, int length, long? start, long? stop, long step)
    {
        var (from, to) = Bounds(length, start, stop, step);
        for (var i = from; step > 0 ? i < to : i > to; i += step)
        {
            run.Charge();
            yield return (int)i;

            // beyond the end after one step, which the sum need not hold
            if (step > length || step < -length)
            {
                yield break;
            }
        }
    }

    /// <summary>Code-unit offset of each code point, and the length at the end.</summary>
    private static int[] Offsets(string text)
    {
        var offsets = new int[Length(text) + 1];
        var count = 0;
        for (var i = 0; i < text.Length; i++)
        {
            offsets[count++] = i;
            if (char.IsHighSurrogate(text[i]) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
            {
                i++;
            }
        }

        offsets[count] = text.Length;
        return offsets;
    }
}
