using System.Globalization;
using Sals.Engine.Text;

namespace Sals.Engine.Evaluation;

/// <summary>
/// Single-needle retrieval: one sentence with a random number under a random key, anywhere in a text that has nothing to do with it, and the question for that
/// number behind the text. The wording is the one sals-tiny was trained on, close to RULER's niah_single (arXiv 2404.06654, section 3).
/// </summary>
public sealed class NeedleTask
{
    private const string Attribute = "special magic number";
    private const int Passages = 200;

    private readonly Tokenizer _tokenizer;
    private readonly EvalText _text;
    private readonly Func<string, int[]> _render;

    /// <param name="tokenizer">Of the model; lengths are counted in its tokens.</param>
    /// <param name="text">Haystack.</param>
    /// <param name="render">A user's message → ids of the prompt that asks for the assistant's answer.</param>
    public NeedleTask(Tokenizer tokenizer, EvalText text, Func<string, int[]> render) => (_tokenizer, _text, _render) = (tokenizer, text, render);

    /// <summary>The same prompt for the same tokenizer, text, length, seed and number.</summary>
    /// <param name="length">Tokens of prompt and answer together, the token that ends the answer included; met exactly.</param>
    /// <param name="seed">Of the whole evaluation.</param>
    /// <param name="number">Which sample.</param>
    /// <exception cref="ArgumentException">Too short for question and needle, or the text is too short.</exception>
    public EvalPrompt Draw(int length, int seed, int number)
    {
        var random = new Random(unchecked((((seed * 397) ^ length) * 397) ^ number));
        var key = NeedleWords.Key(random);
        var value = random.Next(1_000_000, 10_000_000).ToString(CultureInfo.InvariantCulture);
        var depth = random.NextDouble();
        var answer = $"The {Attribute} for {key} is {value}.";
        var answerTokens = _tokenizer.Encode(answer, addSpecialTokens: false, parseSpecialTokens: false).Count + 1;
        var budget = length - answerTokens;
        if (Ask("", answer, key).Length >= budget)
        {
            throw new ArgumentException($"A length of {length} tokens leaves no room for a haystack.", nameof(length));
        }

        for (var i = 0; i < Passages; i++)
        {
            // enough characters for any text: most tokenizers take three to four to a token
            var passage = _text.Passage(random, (int)Math.Min(6L * length, _text.Characters * 9 / 10));
            if (Ask(passage, answer, key).Length < budget)
            {
                throw new ArgumentException($"The evaluation text has {_text.Characters} characters, too few for a haystack of {budget} tokens.", nameof(length));
            }

            if (!passage.Contains(key, StringComparison.OrdinalIgnoreCase) && !passage.Contains(value, StringComparison.Ordinal)
                && Fit(passage, depth, answer, key, budget) is { } prompt)
            {
                return new EvalPrompt { Prompt = prompt, Answer = answer, Value = value, MaxTokens = answerTokens, Depth = depth };
            }
        }

        throw new ArgumentException($"No passage of the evaluation text gives a prompt of exactly {budget} tokens.", nameof(length));
    }

    /// <summary>Cuts the passage behind a word so that the prompt has exactly <paramref name="budget"/> tokens; null when no word ends there.</summary>
    private int[]? Fit(string passage, double depth, string needle, string key, int budget)
    {
        int[] ends = [.. Enumerable.Range(1, passage.Length - 1).Where(i => char.IsWhiteSpace(passage[i]) && !char.IsWhiteSpace(passage[i - 1]))];
        // a longer text never has clearly fewer tokens, and they grow evenly: guess from the counts on both sides
        var (low, high) = (0, ends.Length - 1);
        var (lowCount, highCount) = (Prompt(low).Length, Prompt(high).Length);
        while (high - low > 1 && lowCount < budget)
        {
            var guess = low + (int)((long)(high - low) * (budget - lowCount) / Math.Max(1, highCount - lowCount));
            guess = Math.Clamp(guess, low + 1, high - 1);
            var prompt = Prompt(guess);
            if (prompt.Length == budget)
            {
                return prompt;
            }

            (low, lowCount, high, highCount) = prompt.Length > budget ? (low, lowCount, guess, prompt.Length) : (guess, prompt.Length, high, highCount);
        }

        return null;

        int[] Prompt(int end) => Ask(Insert(passage[..ends[end]], depth, needle), null, key);
    }

    /// <summary>Puts the needle behind the first sentence that ends after <paramref name="depth"/> of the text, or behind the text.</summary>
    private static string Insert(string text, double depth, string needle)
    {
        var at = text.IndexOf(". ", (int)(depth * text.Length), StringComparison.Ordinal);
        return at < 0 ? $"{text} {needle}" : $"{text[..(at + 2)]}{needle} {text[(at + 2)..]}";
    }

    private int[] Ask(string haystack, string? needle, string key) => _render(
        $"Some {Attribute}s are hidden within the following text. Make sure to memorize them. I will quiz you about them afterwards.\n\n"
        + $"{haystack}{needle}\n\nWhat is the {Attribute} for {key}?");
}
