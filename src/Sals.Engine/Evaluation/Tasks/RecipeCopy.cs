namespace Sals.Engine.Evaluation.Tasks;

/// <summary>The recipe's copy: paragraphs with labels, one of which is to be repeated word for word.</summary>
public sealed class RecipeCopy(EvalText text) : EvalTask
{
    private const int ParagraphCharacters = 160;

    public override string Name => "copy";

    public override string Metric => "exact";

    public override int LeastUnits => 2;

    /// <param name="units">Paragraphs.</param>
    public override TaskDraft Make(Random random, int units)
    {
        var labels = new List<string>(units);
        for (var used = new HashSet<string>(); labels.Count < units;)
        {
            // pairs where single words run out
            var label = units > NeedleWords.NounCount / 2 ? NeedleWords.Key(random) : NeedleWords.Noun(random);
            if (used.Add(label))
            {
                labels.Add(label);
            }
        }

        string[] paragraphs = [.. labels.Select(label => $"[{label}] {Paragraph(random)}")];
        var asked = random.Next(labels.Count);
        return new TaskDraft(
            $"Read these labelled paragraphs.\n\n{string.Join("\n\n", paragraphs)}\n\nRepeat the paragraph labelled [{labels[asked]}] exactly.", "", [paragraphs[asked]]);
    }

    /// <summary>About 160 characters of real text that begin at a sentence and end with a word, the last sentence's end if it is near.</summary>
    private string Paragraph(Random random)
    {
        var words = string.Join(' ', text.Passage(random, 2 * ParagraphCharacters).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        var piece = words[..Math.Min(ParagraphCharacters, words.Length)];
        var sentence = piece.LastIndexOf(". ", StringComparison.Ordinal);
        var word = piece.LastIndexOf(' ');
        return sentence > ParagraphCharacters * 4 / 5 ? piece[..(sentence + 1)] : word > 0 ? piece[..word] : piece;
    }
}
