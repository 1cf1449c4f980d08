using System.Globalization;
using System.Text.RegularExpressions;
using Sals.Engine.Evaluation;
using Sals.Engine.Evaluation.Tasks;
using Xunit;

namespace Sals.Engine.Tests.Evaluation;

/// <summary>Prompts against the definition of their task (RULER's synthetic.yaml): how many needles, of what kind, what is asked, what counts.</summary>
public partial class RulerTaskTests
{
    private const string Noise = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
    private const string Uuid = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
    private const string Pair = "[a-z]+-[a-z]+";

    [Theory]
    [InlineData("niah_single_1", Pair, "[0-9]{7}", 1, 1, 1)]
    [InlineData("niah_single_2", Pair, "[0-9]{7}", 1, 1, 1)]
    [InlineData("niah_single_3", Pair, Uuid, 1, 1, 1)]
    [InlineData("niah_multikey_1", Pair, "[0-9]{7}", 4, 1, 1)]
    [InlineData("niah_multikey_2", Pair, "[0-9]{7}", 0, 1, 1)]
    [InlineData("niah_multikey_3", Uuid, Uuid, 0, 1, 1)]
    [InlineData("niah_multivalue", Pair, "[0-9]{7}", 1, 4, 1)]
    [InlineData("niah_multiquery", Pair, "[0-9]{7}", 4, 1, 4)]
    public void Needles_are_as_defined(string name, string key, string value, int keys, int values, int asked)
    {
        for (var seed = 0; seed < 20; seed++)
        {
            const int units = 400;
            var draft = Task(name).Make(new Random(seed), units);
            var kind = value == Uuid ? "uuid" : "number";
            var needles = Regex.Matches(draft.Message, $"One of the special magic {kind}s for ({key}) is: ({value})\\.").Select(m => (Key: m.Groups[1].Value, Value: m.Groups[2].Value)).ToArray();
            // a haystack of needles has one for every unit, and the one that is asked for
            Assert.Equal(keys == 0 ? units + 1 : keys * values, needles.Length);
            Assert.Equal(asked * values, draft.Answers.Length);
            string[] queries = [.. needles.Where(needle => draft.Answers.Contains(needle.Value)).Select(needle => needle.Key).Distinct()];
            Assert.Equal(asked, queries.Length);
            var one = asked * values == 1;
            var tail = one ? $"What is the special magic {kind} for " : $"What are all the special magic {kind}s for ";
            var question = draft.Message[draft.Message.LastIndexOf('\n')..];
            Assert.StartsWith("\n" + tail, question);
            Assert.EndsWith(" mentioned in the provided text?", question);
            Assert.All(queries, query => Assert.Contains(query, question));
            Assert.StartsWith(one ? $" The special magic {kind} for " : $" The special magic {kind}s for ", draft.AnswerPrefix);
            Assert.EndsWith(one ? " mentioned in the provided text is" : " mentioned in the provided text are", draft.AnswerPrefix);
            Assert.StartsWith(
                one ? $"A special magic {kind} is hidden within the following text. Make sure to memorize it. I will quiz you about the {kind} afterwards.\n"
                    : $"Some special magic {kind}s are hidden within the following text. Make sure to memorize it. I will quiz you about the {kind}s afterwards.\n",
                draft.Message);
            Assert.Equal(name == "niah_single_1" ? units : 0, Regex.Count(draft.Message, Regex.Escape(Noise)));
            Assert.Equal(128, Task(name).MostTokens);
        }
    }

    [Fact]
    public void A_chain_of_variables_can_be_followed_to_the_answers()
    {
        for (var seed = 0; seed < 20; seed++)
        {
            var draft = Task("vt").Make(new Random(seed), 40);
            // the worked example ends with its five names; the question's chain comes behind it
            var message = draft.Message[draft.Message.LastIndexOf("Memorize and track", StringComparison.Ordinal)..];
            var value = Regex.Match(message, "assigned the value ([0-9]{5}) in the text above\\.$").Groups[1].Value;
            List<string> known = [Regex.Match(message, $"VAR ([A-Z]{{5}}) = {value}").Groups[1].Value];
            foreach (Match assigned in Regex.Matches(message, "VAR ([A-Z]{5}) = VAR ([A-Z]{5})"))
            {
                Assert.Equal(known[^1], assigned.Groups[2].Value);
                known.Add(assigned.Groups[1].Value);
            }

            Assert.Equal(draft.Answers, known);
            Assert.Equal(5, known.Count);
            Assert.Equal(40, Regex.Count(message, Regex.Escape(Noise)));
            Assert.Equal($" Answer: According to the chain(s) of variable assignment in the text above, 5 variables are assigned the value {value}, they are: ", draft.AnswerPrefix);
            Assert.Equal(2, Regex.Count(draft.Message, "Memorize and track"));
        }
    }

    [Theory]
    [InlineData(100, 6, 1)]
    [InlineData(400, 30, 3)]
    public void Common_words_are_the_ten_most_frequent_of_the_list(int units, int often, int seldom)
    {
        var draft = Task("cwe").Make(new Random(7), units);
        var list = draft.Message[draft.Message.LastIndexOf("Below is a numbered list", StringComparison.Ordinal)..].Split('\n')[1];
        var counts = Numbered().Matches(list).GroupBy(m => m.Groups[1].Value).ToDictionary(group => group.Key, group => group.Count());
        Assert.Equal(units, counts.Count);
        Assert.Equal(10, draft.Answers.Length);
        Assert.All(counts, pair => Assert.Equal(draft.Answers.Contains(pair.Key) ? often : seldom, pair.Value));
    }

    [Fact]
    public void Frequent_words_follow_the_zeta_distribution_and_the_first_is_noise()
    {
        var draft = Task("fwe").Make(new Random(3), 900);
        var text = draft.Message.Split("coded words. ")[1].Split('\n')[0];
        var counts = text.Split(' ').GroupBy(word => word).ToDictionary(group => group.Key, group => group.Count());
        var ranked = counts.OrderByDescending(pair => pair.Value).Select(pair => pair.Key).ToArray();
        Assert.Equal("...", ranked[0]);
        Assert.Equal(draft.Answers, ranked[1..4]);
        Assert.All(Enumerable.Range(1, 4), rank => Assert.Equal((int)(900 / (rank * rank) / (Math.PI * Math.PI / 6)), counts[ranked[rank - 1]], 1.0));
        Assert.All(ranked[1..], word => Assert.Matches("^[a-z]{6}$", word));
    }

    [Fact]
    public void Questions_bring_their_own_document_and_others_of_the_data_set()
    {
        var folder = Directory.CreateTempSubdirectory();
        try
        {
            File.WriteAllText(Path.Combine(folder.FullName, "squad.json"), """
                {"version": "v2.0", "data": [
                  {"title": "Sea", "paragraphs": [
                    {"context": "The sea is deep.", "qas": [
                      {"question": "How is the sea?", "id": "1", "answers": [{"text": "deep", "answer_start": 11}, {"text": "is deep", "answer_start": 8}], "is_impossible": false},
                      {"question": "Who?", "id": "2", "answers": [], "is_impossible": true}]},
                    {"context": "The sea is salty.", "qas": []}]},
                  {"title": "Sky", "paragraphs": [{"context": "The sky is high.", "qas": []}, {"context": "The sky is wide.", "qas": []}]}]}
                """);
            File.WriteAllText(Path.Combine(folder.FullName, "hotpotqa.json"), """
                [{"_id": "a", "question": "Which is larger?", "answer": "the sun", "context": [["Sun", ["The sun is large.", " Very."]], ["Moon", ["The moon is small."]]], "supporting_facts": []},
                 {"_id": "b", "question": "Who wrote it?", "answer": "Ann", "context": [["Book", ["Ann wrote it."]]]}]
                """);
            var set = new TaskSet(EvalModel.Text, folder.FullName);
            var squad = set.Parse("qa_1", _ => { })[0].Make(new Random(1), 3);
            Assert.Contains("The sea is deep.", squad.Message);
            Assert.EndsWith("Question: How is the sea?", squad.Message);
            Assert.Equal(["deep", "is deep"], squad.Answers);
            Assert.Equal(3, Regex.Count(squad.Message, "Document [1-3]:\nThe s"));
            var hotpot = set.Parse("qa_2", _ => { })[0];
            var asked = Enumerable.Range(0, 20).Select(seed => hotpot.Make(new Random(seed), 2)).First(draft => draft.Answers[0] == "the sun");
            Assert.Contains(":\nSun\nThe sun is large. Very.", asked.Message);
            Assert.Contains(":\nMoon\nThe moon is small.", asked.Message);

            var failure = Assert.Throws<EvalException>(() => EvalModel.Tasks.Parse("qa_1", _ => { }));
            Assert.Contains("squad.json", failure.Message);
            File.WriteAllText(Path.Combine(folder.FullName, "squad.json"), "[1]");
            Assert.Contains("published format", Assert.Throws<EvalException>(() => set.Parse("qa_1", _ => { })).Message);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void Every_task_fills_a_length_with_any_tokenizer_and_is_the_same_again()
    {
        List<string> leftOut = [];
        var tasks = EvalModel.Tasks.Parse("all", leftOut.Add);
        Assert.Equal(2, leftOut.Count);
        Assert.Equal(21, tasks.Length);
        foreach (var task in tasks)
        {
            var item = EvalModel.Prompts.Draw(task, 1024, 11, 5);
            Assert.InRange(item.MaxLength, task.Name is "record" or "copy" ? 800 : 920, 1024);
            var again = new TaskPrompts(EvalModel.Tokenizer, EvalModel.Render).Draw(task, 1024, 11, 5);
            Assert.Equal(item.Prompt, again.Prompt);
            Assert.Equal(item.Answers, again.Answers);
            Assert.NotEqual(item.Prompt, EvalModel.Prompts.Draw(task, 1024, 11, 6).Prompt);
            Assert.NotEqual(item.Prompt, EvalModel.Prompts.Draw(task, 1024, 12, 5).Prompt);
        }

        Assert.Throws<EvalException>(() => EvalModel.Prompts.Draw(tasks[0], 100, 1, 0));
    }

    [Theory]
    [InlineData("single", 1, 1)]
    [InlineData("multikey", 16, 1)]
    [InlineData("multivalue", 7, 4)]
    [InlineData("multiquery", 8, 3)]
    public void Needles_of_the_recipe_give_the_answer_in_the_order_of_the_text(string name, int needles, int asked)
    {
        var draft = Task(name).Make(new Random(4), 300);
        var found = Regex.Matches(draft.Message, $"The special magic number for ({Pair}) is ([0-9]{{7}})\\.").Select(m => (Key: m.Groups[1].Value, Value: m.Groups[2].Value)).ToArray();
        Assert.Equal(needles, found.Length);
        string[] said = [.. Regex.Matches(draft.Answers[0], "[0-9]{7}").Select(m => m.Value)];
        Assert.Equal(asked, said.Length);
        if (name == "multiquery")
        {
            Assert.All(said, value => Assert.Contains($"for {found.Single(needle => needle.Value == value).Key} is {value}", draft.Answers[0]));
        }
        else
        {
            Assert.Equal(said, found.Where(needle => needle.Key == found.First(other => other.Value == said[0]).Key).Select(needle => needle.Value));
        }
    }

    [Theory]
    [InlineData("lines", "[0-9]{7}")]
    [InlineData("kv_uuid", "[0-9a-f]{4}-[0-9a-f]{4}")]
    public void Lines_have_different_keys(string name, string value)
    {
        var draft = Task(name).Make(new Random(2), 50);
        var lines = Regex.Matches(draft.Message, $"^({Pair}): ({value})$", RegexOptions.Multiline).ToDictionary(m => m.Groups[1].Value, m => m.Groups[2].Value);
        Assert.Equal(50, lines.Count);
        var key = Regex.Match(draft.Message, "What is the value of (.+)\\?$").Groups[1].Value;
        Assert.Equal([$"The value of {key} is {lines[key]}."], draft.Answers);
    }

    [Fact]
    public void Quoting_tasks_hold_what_they_ask_for()
    {
        var copy = Task("copy").Make(new Random(2), 12);
        Assert.Contains($"\n\n{copy.Answers[0]}\n\n", copy.Message);
        Assert.Equal(12, Regex.Count(copy.Message, "\n\n\\[[a-z]+\\] "));
        var glossary = Task("glossary").Make(new Random(2), 12);
        var word = Regex.Match(glossary.Message, "What does (.+) mean according to the list above\\?$").Groups[1].Value;
        Assert.Contains(string.Create(CultureInfo.InvariantCulture, $"\n{word}: {glossary.Answers[0].Split("means: ")[1][..^1]}\n"), glossary.Message);
        var record = Task("record").Make(new Random(2), 12);
        Assert.Contains($"\n{record.Answers[0]}\n", record.Message);
    }

    private static EvalTask Task(string name) => EvalModel.Tasks.Parse(name, _ => { })[0];

    [GeneratedRegex(@"[0-9]+\. ([a-z]+)")]
    private static partial Regex Numbered();
}
