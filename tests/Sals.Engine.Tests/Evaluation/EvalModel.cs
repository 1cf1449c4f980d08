using System.Text.Json.Nodes;
using Sals.Engine.Evaluation;
using Sals.Engine.Evaluation.Tasks;
using Sals.Engine.Tests.Models;
using Sals.Engine.Text;
using Sals.Engine.Text.Jinja;

namespace Sals.Engine.Tests.Evaluation;

/// <summary>Tokenizer, template and held-out text of the embedded model.</summary>
internal static class EvalModel
{
    private static readonly ChatTemplate Template = ChatTemplate.Load(GoldenFolders.Embedded)!;

    public static Tokenizer Tokenizer { get; } = TokenizerLoader.Open(GoldenFolders.Embedded);

    public static string HeldOut { get; } = File.ReadAllText(Path.Combine(GoldenFolders.Root, "src", "Sals.Server", "EvalText", "heldout.txt"));

    public static EvalText Text { get; } = new(HeldOut);

    public static TaskPrompts Prompts { get; } = new(Tokenizer, Render);

    /// <summary>With the data files that are bundled.</summary>
    public static TaskSet Tasks { get; } = new(Text, Path.Combine(GoldenFolders.Root, "src", "Sals.Server", "EvalText"));

    public static int[] Render(string message, string answerPrefix)
    {
        var messages = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = message });
        return
        [
            .. ChatTemplate.EncodePrompt(Tokenizer, Template.Render(JinjaValue.FromJson(messages), addGenerationPrompt: true)),
            .. Tokenizer.Encode(answerPrefix.TrimStart(), addSpecialTokens: false, parseSpecialTokens: false),
        ];
    }
}
