using System.Globalization;

namespace Sals.Engine.Evaluation.Tasks;

/// <summary>RULER's qa_1 and qa_2: a question of SQuAD or HotpotQA among its own documents and others of the same data set. Said is any of the references.</summary>
public sealed class DocumentQuestions : EvalTask
{
    private readonly QuestionFile _file;

    public DocumentQuestions(string name, QuestionFile file) => (Name, _file) = (name, file);

    public override string Name { get; }

    public override string Metric => "match_part";

    public override int? MostTokens => 32;

    public override TaskDraft Make(Random random, int units)
    {
        var question = _file.Questions[random.Next(_file.Questions.Count)];
        var chosen = new HashSet<int>(question.Documents);
        foreach (var near in question.Related.OrderBy(_ => random.Next()).TakeWhile(_ => chosen.Count < units))
        {
            chosen.Add(near);
        }

        while (chosen.Count < Math.Min(units, _file.Documents.Count))
        {
            chosen.Add(random.Next(_file.Documents.Count));
        }

        int[] documents = [.. chosen];
        random.Shuffle(documents);
        var context = string.Join("\n\n", documents.Select((index, i) => string.Create(CultureInfo.InvariantCulture, $"Document {i + 1}:\n{_file.Documents[index]}")));
        const string task = "Answer the question based on the given documents. Only give me the answer and do not output any other words.";
        return new TaskDraft(
            $"{task}\n\nThe following are given documents.\n\n{context}\n\n{task}\n\nQuestion: {question.Text}", " Answer:", question.Answers);
    }
}
