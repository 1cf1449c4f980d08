using Sals.Engine.Evaluation;
using Sals.Engine.Evaluation.Datasets;
using Sals.Engine.Evaluation.Metrics;
using Xunit;

namespace Sals.Engine.Tests.Evaluation;

/// <summary>Files in the published formats → prompts as the projects word them.</summary>
public sealed class DatasetTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory().FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void LongBench_fills_its_prompts_and_cuts_few_shot_answers_at_the_line()
    {
        Directory.CreateDirectory(Path.Combine(_folder, "data"));
        Write("dataset2prompt.json", """{"trec": "Examples.\n{context}\n{input}", "qasper": "Article: {context}\n\nQuestion: {input}\n\nAnswer:"}""");
        Write("dataset2maxlen.json", """{"trec": 64, "qasper": 128}""");
        Write("data/trec.jsonl", """{"input": "Question: What is {context}?\nType:", "context": "Question: Who?\nType: Person", "answers": ["Place"], "length": 5, "dataset": "trec", "language": "en", "all_classes": ["Place", "Person"], "_id": "x"}""");
        Write("data/qasper.jsonl", """{"input": "Why?", "context": "Because.", "answers": ["because", "no reason"], "all_classes": null}""");
        var questions = LongBench.Read(_folder, ["trec", "qasper"]);
        Assert.Equal("Article: Because.\n\nQuestion: Why?\n\nAnswer:", questions[1].Prompt);
        Assert.Equal((true, 128, "qa_f1"), (questions[1].AsMessage, questions[1].MaxTokens, questions[1].Metric));
        Assert.Equal((false, 64, "classification"), (questions[0].AsMessage, questions[0].MaxTokens, questions[0].Metric));
        var item = Item(questions[0], 1000);
        Assert.Equal("Place", item.AnswerOf("\n\nPlace\nQuestion: Person"));
        Assert.Equal(1, EvalMetric.Score(item.Metric, item.AnswerOf("\nPlace\nPerson"), item.Answers, item.Classes, true));
        Assert.Equal(16, LongBench.Subsets.Length);
        Assert.Contains("qmsum.jsonl", Assert.Throws<EvalException>(() => LongBench.Read(_folder, ["qmsum"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_prompt_that_is_too_long_loses_its_middle()
    {
        var question = new DatasetQuestion { Task = "t", Number = 0, Prompt = string.Join(' ', Enumerable.Range(0, 300)), AsMessage = true, Answers = ["x"], Metric = "qa_f1", MaxTokens = 20 };
        var item = Item(question, 200);
        Assert.InRange(item.MaxLength, 190, 200);
        Assert.StartsWith("0 1 2 ", item.Message);
        Assert.EndsWith(" 298 299", item.Message);
        Assert.DoesNotContain(" 150 ", item.Message);
        Assert.Equal(question.Prompt, Item(question, 2000).Message);
        Assert.Throws<EvalException>(() => Item(question, 21));
    }

    [Fact]
    public void Gsm8k_has_worked_examples_and_the_number_behind_the_hashes()
    {
        Write("test.jsonl", """{"question": "Two and two?", "answer": "2 + 2 = <<2+2=4>>4\n#### 1,004"}""");
        Write("train.jsonl", "{\"question\": \"One?\", \"answer\": \"#### 1\"}\n{\"question\": \"Three?\", \"answer\": \"#### 3\"}\n");
        var question = Assert.Single(Gsm8k.Read(_folder, 2, 1));
        Assert.Equal(["1,004"], question.Answers);
        Assert.EndsWith("Question: Two and two?\nAnswer:", question.Prompt);
        Assert.Contains("Question: One?\nAnswer: #### 1\n\n", question.Prompt);
        Assert.Contains("Question: Three?\nAnswer: #### 3\n\n", question.Prompt);
        var item = Item(question, 1000);
        Assert.Equal(1, EvalMetric.Score(item.Metric, item.AnswerOf(" 2 + 2\n#### 1004\n\nQuestion: #### 7"), item.Answers, [], false));
        Assert.Equal("Question: Two and two?\nAnswer:", Assert.Single(Gsm8k.Read(_folder, 0, 1)).Prompt);
    }

    [Fact]
    public void Coqa_asks_the_last_question_and_leaves_each_person_out_in_turn()
    {
        Write("coqa-dev-v1.0.json", """
            {"version": "1.0", "data": [{"source": "x", "id": "1", "story": "A cat sat.",
              "questions": [{"input_text": "Who sat?", "turn_id": 1}, {"input_text": "Where?", "turn_id": 2}],
              "answers": [{"input_text": "A cat", "turn_id": 1}, {"input_text": "there", "turn_id": 2}],
              "additional_answers": {"0": [{"input_text": "cat"}, {"input_text": "on the mat"}], "1": [{"input_text": "the cat"}, {"input_text": "mat"}], "2": [{"input_text": "a cat"}, {"input_text": "There"}]}}]}
            """);
        var question = Assert.Single(Coqa.Read(_folder));
        Assert.Equal("A cat sat.\n\nQ: Who sat?\n\nA: A cat\n\nQ: Where?\n\nA:", question.Prompt);
        Assert.Equal(["there", "on the mat", "mat"], question.Answers);
        Assert.Equal(" the mat", Item(question, 1000).AnswerOf(" the mat\nQ: And now?"));
        // "the mat" equals mat: right unless mat is left out; F1 with "on mat" is 2/3 then
        Assert.Equal(2.0 / 3, EvalMetric.Score("coqa_em", "the mat", question.Answers, [], true), 1e-12);
        Assert.Equal((1 + 1 + (2.0 / 3)) / 3, EvalMetric.Score("coqa_f1", "the mat", question.Answers, [], true), 1e-12);
        Write("coqa-dev-v1.0.json", """{"data": [{"story": "x"}]}""");
        Assert.Contains("published format", Assert.Throws<EvalException>(() => Coqa.Read(_folder)).Message, StringComparison.Ordinal);
    }

    private void Write(string name, string text) => File.WriteAllText(Path.Combine(_folder, name), text);

    private static EvalItem Item(DatasetQuestion question, int most) => question.ToItem(
        most, text => [.. EvalModel.Tokenizer.Encode(text, true, false)], message => EvalModel.Render(message, ""), ids => EvalModel.Tokenizer.Decode(ids, skipSpecialTokens: false));
}
