using System.Text.Json;
using Sals.Engine.Models;
using Sals.Engine.Text;
using Sals.Engine.Text.Answers;
using Sals.Server.Api;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Sals.Testing;

namespace Sals.Server.Tests.Flow;

/// <summary>A server whose model says what a test wants it to say, as far as masks let it.</summary>
public sealed class ScriptedServer : IAsyncDisposable
{
    private readonly TestServer _server;
    private int[] _script = [ByteTokenizer.EndToken];

    private ScriptedServer(TestServer server) => _server = server;

    public TestServer Server => _server;

    /// <summary>What the chat template was given last.</summary>
    public ChatPrompt? Prompt { get; private set; }

    /// <summary>Every answer from now on; its end token comes by itself.</summary>
    public string Says
    {
        set => Answers = _ => value;
    }

    /// <summary>The answer to a conversation; one request at a time.</summary>
    public Func<ChatPrompt, string> Answers { get; set; } = _ => "";

    /// <param name="opening">What the template prints behind the conversation.</param>
    public static async Task<ScriptedServer> StartAsync(
        ToolCallFormat format = ToolCallFormat.Hermes, ReasoningStart reasoning = ReasoningStart.Closed, string opening = "", Func<SalsOptions, SalsOptions>? change = null)
    {
        ScriptedServer? scripted = null;
        var model = TestServer.Fake(() => new FakeBackend(slots: 8, maxModelLength: 4096, pages: 1024)
        {
            Script = output => scripted!._script[Math.Min(output, scripted._script.Length - 1)],
        }) with
        {
            Tokenizer = new ByteTokenizer(),
            EndTokenIds = [ByteTokenizer.EndToken],
            VocabularySize = new ByteTokenizer().VocabularySize,
            Defaults = new GenerationDefaults { Temperature = 0 },
            Formats = new AnswerFormats { Calls = format, CallsKnown = true, Reasoning = reasoning },
            Template = prompt =>
            {
                // the document is gone when a test looks
                scripted!.Prompt = prompt with { Tools = [.. prompt.Tools.Select(tool => tool.Clone())] };
                scripted._script = [.. new ByteTokenizer().Encode(scripted.Answers(prompt), addSpecialTokens: false, parseSpecialTokens: true), ByteTokenizer.EndToken];
                return new RenderedPrompt(string.Concat(prompt.Turns.Select(turn => $"<{turn.Role}>{turn.Content}")) + opening, []);
            },
        };
        scripted = new ScriptedServer(await TestServer.StartAsync(_ => model, change));
        return scripted;
    }

    public Task<JsonElement> ChatAsync(string fields, int status = 200) =>
        _server.PostJsonAsync("/v1/chat/completions", $$"""{"messages":[{"role":"user","content":"hi"}],{{fields}}}""", status);

    public async Task<JsonElement[]> StreamAsync(string fields) =>
        [.. (await _server.StreamAsync("/v1/chat/completions", $$"""{"messages":[{"role":"user","content":"hi"}],"stream":true,{{fields}}}"""))
            .SkipLast(1).Select(data => JsonDocument.Parse(data).RootElement)];

    /// <summary>Name and data of each event of a streamed response.</summary>
    public async Task<(string Name, JsonElement Data)[]> EventsAsync(string json)
    {
        using var response = await _server.PostAsync("/v1/responses", json);
        var text = await response.Content.ReadAsStringAsync();
        Xunit.Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.MediaType);
        return [.. text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Where(block => !block.StartsWith(':')).Select(block =>
        {
            var lines = block.Split('\n');
            Xunit.Assert.True(lines.Length == 2 && lines[0].StartsWith("event: ", StringComparison.Ordinal) && lines[1].StartsWith("data: ", StringComparison.Ordinal), block);
            return (lines[0][7..], JsonDocument.Parse(lines[1][6..]).RootElement);
        })];
    }

    public ValueTask DisposeAsync() => _server.DisposeAsync();
}
