using System.Text.Json;

namespace Sals.Engine.Evaluation.Tasks;

/// <param name="Documents">Those that hold the answer, indices into the file's.</param>
/// <param name="Related">Others of the same article.</param>
public sealed record DocumentQuestion(string Text, string[] Answers, int[] Documents, int[] Related);

/// <summary>Questions and the documents of all of them, from a data set's published JSON file.</summary>
public sealed class QuestionFile
{
    private QuestionFile(IReadOnlyList<DocumentQuestion> questions, IReadOnlyList<string> documents, string path)
    {
        (Questions, Documents) = (questions, documents);
        if (questions.Count == 0)
        {
            throw new EvalException($"{path}: expected questions that can be answered, found none.");
        }
    }

    public IReadOnlyList<DocumentQuestion> Questions { get; }

    public IReadOnlyList<string> Documents { get; }

    /// <summary>SQuAD 1.1 or 2.0: data[].paragraphs[] with context and qas[] (question, answers[].text, is_impossible).</summary>
    /// <exception cref="EvalException">Not such a file.</exception>
    public static QuestionFile Squad(string path) => Read(path, root =>
    {
        var documents = new DocumentList();
        List<DocumentQuestion> questions = [];
        foreach (var article in root.GetProperty("data").EnumerateArray())
        {
            var paragraphs = article.GetProperty("paragraphs");
            int[] own = [.. paragraphs.EnumerateArray().Select(paragraph => documents.IndexOf(Text(paragraph, "context")))];
            foreach (var (paragraph, index) in paragraphs.EnumerateArray().Zip(own))
            {
                foreach (var asked in paragraph.GetProperty("qas").EnumerateArray())
                {
                    string[] answers = [.. asked.GetProperty("answers").EnumerateArray().Select(answer => Text(answer, "text"))];
                    if (answers.Length > 0 && !(asked.TryGetProperty("is_impossible", out var impossible) && impossible.GetBoolean()))
                    {
                        questions.Add(new DocumentQuestion(Text(asked, "question"), answers, [index], [.. own.Where(other => other != index)]));
                    }
                }
            }
        }

        return new QuestionFile(questions, documents.Texts, path);
    });

    /// <summary>HotpotQA, distractor setting: question, answer, context[] of [title, [sentences]].</summary>
    /// <exception cref="EvalException">Not such a file.</exception>
    public static QuestionFile HotpotQa(string path) => Read(path, root =>
    {
        var documents = new DocumentList();
        List<DocumentQuestion> questions = [];
        foreach (var asked in root.EnumerateArray())
        {
            int[] own = [.. asked.GetProperty("context").EnumerateArray().Select(document =>
                documents.IndexOf($"{document[0].GetString()}\n{string.Concat(document[1].EnumerateArray().Select(sentence => sentence.GetString()))}"))];
            questions.Add(new DocumentQuestion(Text(asked, "question"), [Text(asked, "answer")], own, []));
        }

        return new QuestionFile(questions, documents.Texts, path);
    });

    private static QuestionFile Read(string path, Func<JsonElement, QuestionFile> read)
    {
        try
        {
            using var stream = File.OpenRead(path);
            using var document = JsonDocument.Parse(stream);
            return read(document.RootElement);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or IndexOutOfRangeException or FormatException)
        {
            throw new EvalException($"{path}: not the data set's published format: {e.Message}");
        }
    }

    private static string Text(JsonElement element, string name) => element.GetProperty(name).GetString() ?? throw new FormatException($"{name} is null");

    private sealed class DocumentList
    {
        private readonly Dictionary<string, int> _indices = [];

        public List<string> Texts { get; } = [];

        public int IndexOf(string text)
        {
            if (_indices.TryAdd(text, Texts.Count))
            {
                Texts.Add(text);
            }

            return _indices[text];
        }
    }
}
