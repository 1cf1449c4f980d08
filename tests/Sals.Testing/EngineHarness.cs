using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Sampling;

namespace Sals.Testing;

/// <summary>A running engine for tests and the answers of its requests.</summary>
public sealed class EngineHarness : IAsyncDisposable
{
    private EngineHarness(InferenceEngine engine, BackendInfo info)
    {
        Engine = engine;
        Info = info;
    }

    public InferenceEngine Engine { get; }

    public BackendInfo Info { get; }

    public static async Task<EngineHarness> StartAsync(Func<IStepBackend> create, EngineOptions? options = null)
    {
        var engine = new InferenceEngine(create, options ?? new EngineOptions { CheckIntegrity = true }, TimeProvider.System);
        return new EngineHarness(engine, await engine.Loaded.WaitAsync(TimeSpan.FromMinutes(2)));
    }

    public static GenerationRequest Request(int[] prompt, int maxTokens, int choices = 1, SamplingOptions? sampling = null, int[]? stops = null, string? salt = null) => new()
    {
        Id = Guid.NewGuid().ToString("N"),
        Prompt = prompt,
        MaxTokens = maxTokens,
        Choices = choices,
        Sampling = sampling ?? new SamplingOptions { Temperature = 0 },
        StopTokenIds = stops ?? [],
        CacheSalt = salt,
    };

    /// <summary>Tokens and finish reason of every choice, once all have ended.</summary>
    public static async Task<Answer[]> ReadAsync(GenerationHandle handle)
    {
        var answers = Enumerable.Range(0, handle.Request.Choices).Select(_ => new Answer()).ToArray();
        await foreach (var token in handle.Events.ReadAllAsync())
        {
            answers[token.Choice].Events.Add(token);
        }

        return answers;
    }

    public Task<Answer[]> GenerateAsync(GenerationRequest request) => ReadAsync(Engine.Start(request));

    /// <summary>Waits until nothing runs; then only the prefix index holds pages.</summary>
    public async Task QuietAsync()
    {
        while (Engine.Stats.Running + Engine.Stats.Waiting > 0)
        {
            await Task.Delay(5);
        }
    }

    public ValueTask DisposeAsync() => Engine.DisposeAsync();

    public sealed class Answer
    {
        public List<TokenEvent> Events { get; } = [];

        public int[] Tokens => [.. Events.Where(token => token.Token >= 0).Select(token => token.Token)];

        public FinishReason Finish => Events[^1].Finish;
    }
}
