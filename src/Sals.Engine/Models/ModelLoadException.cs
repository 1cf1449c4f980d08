using System.Text;

namespace Sals.Engine.Models;

/// <summary>
/// A model folder cannot be used. The message is one line for the person who named the folder: file, tensor or key, what was
/// expected and what was found. Text that comes from the files is shortened and its control characters are replaced.
/// </summary>
public sealed class ModelLoadException : Exception
{
    public ModelLoadException(string file, string problem, Exception? cause = null)
        : base($"{Shown(file, 400)}: {problem}", cause)
    {
        File = file;
    }

    /// <param name="file">The file or folder at fault.</param>
    /// <param name="subject">Tensor name or key path inside it; null when the file as a whole is meant.</param>
    /// <param name="expected">What would have been right.</param>
    /// <param name="found">What is there.</param>
    public ModelLoadException(string file, string? subject, string expected, string found, Exception? cause = null)
        : this(file, $"{(subject is null ? "" : Shown(subject) + ": ")}expected {expected}, found {found}", cause)
    {
        Subject = subject;
    }

    /// <summary>The file or folder at fault.</summary>
    public string File { get; }

    /// <summary>Tensor name or key path; null when the file as a whole is meant.</summary>
    public string? Subject { get; }

    /// <summary>Hostile text made fit for a log line: at most <paramref name="limit"/> characters, no control characters or lone surrogates.</summary>
    public static string Shown(string text, int limit = 120)
    {
        var shown = new StringBuilder();
        foreach (var rune in text.EnumerateRunes())
        {
            if (shown.Length >= limit)
            {
                return shown.Append('…').ToString();
            }

            bool plain = !Rune.IsControl(rune) && Rune.GetUnicodeCategory(rune) is not (
                System.Globalization.UnicodeCategory.Format or
                System.Globalization.UnicodeCategory.LineSeparator or
                System.Globalization.UnicodeCategory.ParagraphSeparator);
            shown.Append(plain ? rune.ToString() : "\uFFFD");
        }

        return shown.ToString();
    }
}
