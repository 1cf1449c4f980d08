using Sals.Engine.Evaluation;
using Xunit;

namespace Sals.Engine.Tests.Evaluation;

public class NeedleTaskTests
{
    private const string Question = "\n\nWhat is the special magic number for ";

    [Theory]
    [InlineData(128)]
    [InlineData(1024)]
    [InlineData(8192)]
    public void Prompt_and_answer_fit_the_length_exactly_and_hold_the_needle_once(int length)
    {
        for (var number = 0; number < (length > 4096 ? 2 : 10); number++)
        {
            var prompt = EvalModel.Needle.Draw(length, seed: 3, number);
            Assert.Equal(length, prompt.Prompt.Length + EvalModel.Tokenizer.Encode(prompt.Answer, false, false).Count + 1);
            Assert.Equal(length, prompt.Length);
            var text = EvalModel.Tokenizer.Decode(prompt.Prompt, skipSpecialTokens: false);
            Assert.Equal(2, text.Split(prompt.Answer).Length);
            Assert.Equal(2, text.Split(prompt.Value).Length);
            Assert.StartsWith("<|im_start|>user\nSome special magic numbers are hidden", text);
            Assert.EndsWith("<|im_end|>\n<|im_start|>assistant\n", text);
            // the question asks for the key of the answer
            var key = text[(text.LastIndexOf(Question, StringComparison.Ordinal) + Question.Length)..].Split('?')[0];
            Assert.Equal($"The special magic number for {key} is {prompt.Value}.", prompt.Answer);
            Assert.Matches("^[1-9][0-9]{6}$", prompt.Value);
        }
    }

    [Fact]
    public void The_needle_lies_at_its_depth_and_depths_cover_the_text()
    {
        var depths = new List<double>();
        for (var number = 0; number < 40; number++)
        {
            var prompt = EvalModel.Needle.Draw(1024, seed: 1, number);
            var text = EvalModel.Tokenizer.Decode(prompt.Prompt, skipSpecialTokens: true);
            var haystack = text[text.IndexOf("\n\n", StringComparison.Ordinal)..text.LastIndexOf(Question, StringComparison.Ordinal)];
            var place = haystack.IndexOf(prompt.Answer, StringComparison.Ordinal) / (double)haystack.Length;
            // behind the sentence that is under way there
            Assert.InRange(place, prompt.Depth - 0.05, 1);
            depths.Add(prompt.Depth);
        }

        // 40 uniform draws: none in a quarter has a chance of 1e-5
        Assert.All(Enumerable.Range(0, 4), quarter => Assert.Contains(depths, depth => (int)(depth * 4) == quarter));
    }

    [Fact]
    public void The_same_seed_gives_the_same_prompts_and_another_seed_others()
    {
        var one = EvalModel.Needle.Draw(512, seed: 7, number: 4);
        Assert.Equal(one.Prompt, new NeedleTask(EvalModel.Tokenizer, new EvalText(EvalModel.HeldOut), EvalModel.Render).Draw(512, seed: 7, number: 4).Prompt);
        Assert.NotEqual(one.Value, EvalModel.Needle.Draw(512, seed: 8, number: 4).Value);
        Assert.NotEqual(one.Value, EvalModel.Needle.Draw(512, seed: 7, number: 5).Value);
        Assert.NotEqual(one.Value, EvalModel.Needle.Draw(513, seed: 7, number: 4).Value);
    }

    [Fact]
    public void Too_short_a_length_and_too_short_a_text_are_refused()
    {
        Assert.Contains("leaves no room", Assert.Throws<ArgumentException>(() => EvalModel.Needle.Draw(40, 1, 0)).Message);
        var task = new NeedleTask(EvalModel.Tokenizer, new EvalText("Too short. A text."), EvalModel.Render);
        Assert.Contains("too few for a haystack", Assert.Throws<ArgumentException>(() => task.Draw(512, 1, 0)).Message);
    }
}
