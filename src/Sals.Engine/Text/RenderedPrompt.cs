namespace Sals.Engine.Text;

/// <summary>
/// A prompt as a template printed it, with the stretches that came from a message instead of the template.
/// In those, text that looks like a special token is only text.
/// </summary>
/// <param name="Text">The whole prompt.</param>
/// <param name="PlainText">Untrusted stretches, in order and not touching, in UTF-16 code units of <paramref name="Text"/>.</param>
public sealed record RenderedPrompt(string Text, IReadOnlyList<(int Start, int Length)> PlainText)
{
    /// <summary>The prompt cut where trust changes.</summary>
    public IEnumerable<(string Text, bool Trusted)> Segments()
    {
        var done = 0;
        foreach (var (start, length) in PlainText)
        {
            if (start > done)
            {
                yield return (Text[done..start], true);
            }

            yield return (Text.Substring(start, length), false);
            done = start + length;
        }

        if (done < Text.Length)
        {
            yield return (Text[done..], true);
        }
    }
}
