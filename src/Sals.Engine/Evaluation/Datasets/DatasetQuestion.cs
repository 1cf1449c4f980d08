namespace Sals.Engine.Evaluation.Datasets;

/// <summary>One question of a published data set.</summary>
public sealed record DatasetQuestion
{
    /// <summary>Subset.</summary>
    public required string Task { get; init; }

    /// <summary>In the file's order.</summary>
    public required int Number { get; init; }

    /// <summary>The whole prompt as the data set words it.</summary>
    public required string Prompt { get; init; }

    /// <summary>The prompt is put as a user's message; else it is text that the model goes on with.</summary>
    public required bool AsMessage { get; init; }

    public required string[] Answers { get; init; }

    public required string Metric { get; init; }

    public string? SecondMetric { get; init; }

    public string[] Classes { get; init; } = [];

    public required int MaxTokens { get; init; }

    /// <summary>The answer ends before the first of these; generation goes on to the end all the same.</summary>
    public string[] CutAt { get; init; } = [];

    /// <summary>Ids of the prompt, at most <paramref name="mostTokens"/> - <see cref="MaxTokens"/>: of a longer one the middle is left out, as LongBench does.</summary>
    /// <param name="plain">Text → ids.</param>
    /// <param name="message">A user's message → ids of the prompt that asks for the answer.</param>
    /// <param name="decode">Ids → text.</param>
    public EvalItem ToItem(int mostTokens, Func<string, int[]> plain, Func<string, int[]> message, Func<int[], string> decode)
    {
        var text = Prompt;
        var ids = Encode(text);
        for (var room = mostTokens - MaxTokens; ids.Length > mostTokens - MaxTokens; ids = Encode(text))
        {
            // the template's own tokens, and what cutting and encoding again adds, are taken off the text's room
            room -= Math.Max(0, ids.Length - (mostTokens - MaxTokens)) * (text == Prompt ? 0 : 1);
            var whole = plain(Prompt);
            room = Math.Min(room, whole.Length - 1);
            if (room < 2)
            {
                throw new EvalException($"{Task}: {mostTokens} tokens leave no room for a prompt and {MaxTokens} tokens of answer.");
            }

            text = decode(whole[..(room / 2)]) + decode(whole[^(room / 2)..]);
        }

        return new EvalItem
        {
            Task = Task,
            Length = 0,
            Number = Number,
            Prompt = ids,
            Message = text,
            AnswerPrefix = "",
            Answers = Answers,
            AnswerIds = plain(Answers[0]),
            Metric = Metric,
            SecondMetric = SecondMetric,
            Classes = Classes,
            CutAt = CutAt,
            MaxTokens = MaxTokens,
        };

        int[] Encode(string prompt) => AsMessage ? message(prompt) : plain(prompt);
    }
}
