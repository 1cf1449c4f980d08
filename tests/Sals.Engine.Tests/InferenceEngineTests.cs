using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests;

/// <summary>The façade and its thread: life, refusal, abort, fault.</summary>
public class InferenceEngineTests
{
    private static int[] Prompt(int length) => [.. Enumerable.Range(0, length).Select(i => i % 1000)];

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task Sixteen_equal_requests_at_once_give_one_text(int lookAhead)
    {
        await using var harness = await EngineHarness.StartAsync(() => new FakeBackend(pages: 60, lookAhead: lookAhead));
        var answers = await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => harness.GenerateAsync(EngineHarness.Request(Prompt(150), 40))));
        Assert.Single(answers.Select(answer => string.Join(' ', answer[0].Tokens)).Distinct());
        Assert.All(answers, answer => Assert.Equal(FinishReason.Length, answer[0].Finish));
    }

    [Fact]
    public async Task Disposing_a_handle_ends_the_stream_and_frees_its_pages()
    {
        await using var harness = await EngineHarness.StartAsync(() => new FakeBackend(pages: 60) { OnSubmit = _ => Thread.Sleep(2) });
        var handle = harness.Engine.Start(EngineHarness.Request(Prompt(100), 800));
        await handle.Events.ReadAsync();
        await handle.DisposeAsync();
        var answers = await EngineHarness.ReadAsync(handle);
        Assert.Equal(FinishReason.Abort, answers[0].Finish);
        await harness.QuietAsync();
        Assert.Equal(0, harness.Engine.Stats.CacheBytesUsed);
    }

    [Fact]
    public async Task A_fault_tells_every_request_and_refuses_the_next()
    {
        await using var harness = await EngineHarness.StartAsync(() => new FakeBackend(pages: 60, lookAhead: 1) { FaultAtStep = 20 });
        var handles = Enumerable.Range(0, 12).Select(_ => harness.Engine.Start(EngineHarness.Request(Prompt(40), 200))).ToArray();
        foreach (var handle in handles)
        {
            var answer = (await EngineHarness.ReadAsync(handle))[0];
            Assert.Equal(FinishReason.Error, answer.Finish);
            Assert.Contains("injected fault", answer.Events[^1].Error, StringComparison.Ordinal);
        }

        await harness.Engine.Completion.WaitAsync(TimeSpan.FromSeconds(10));
        Assert.Equal(EngineState.Faulted, harness.Engine.State);
        Assert.Contains("step 20", harness.Engine.Fault!.Message, StringComparison.Ordinal);
        Assert.Equal(EngineState.Faulted, Assert.Throws<EngineNotReadyException>(() => harness.Engine.Start(EngineHarness.Request(Prompt(4), 1))).State);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_step_that_never_ends_is_a_fault(bool returnsLate)
    {
        using var gate = new ManualResetEventSlim();
        var backend = new FakeBackend(pages: 60, lookAhead: 1);
        backend.OnSubmit = plan => _ = plan.Decodes.Count > 2 && gate.Wait(Timeout.Infinite);
        await using var harness = await EngineHarness.StartAsync(() => backend, new EngineOptions { StepTimeout = TimeSpan.FromSeconds(0.5) });
        var handles = Enumerable.Range(0, 12).Select(_ => harness.Engine.Start(EngineHarness.Request(Prompt(40), 200))).ToArray();
        foreach (var handle in handles)
        {
            var answer = (await EngineHarness.ReadAsync(handle))[0];
            Assert.Equal(FinishReason.Error, answer.Finish);
            Assert.Contains("did not end within 0.5 s", answer.Events[^1].Error, StringComparison.Ordinal);
        }

        await harness.Engine.Completion.WaitAsync(TimeSpan.FromSeconds(10));
        Assert.Equal(EngineState.Faulted, harness.Engine.State);
        Assert.True(harness.Engine.IsAbandoned);
        Assert.Equal(EngineState.Faulted, Assert.Throws<EngineNotReadyException>(() => harness.Engine.Start(EngineHarness.Request(Prompt(4), 1))).State);
        if (returnsLate)
        {
            gate.Set();
            await Task.Delay(100);
            Assert.Equal(EngineState.Faulted, harness.Engine.State);
        }

        // does not wait for the thread that hangs
        await harness.DisposeAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(10));
        gate.Set();
        await Task.Delay(100);
    }

    [Fact]
    public async Task A_backend_that_cannot_be_built_is_reported()
    {
        var engine = new InferenceEngine(() => throw new InvalidOperationException("no weights"), new EngineOptions(), TimeProvider.System);
        await Assert.ThrowsAsync<InvalidOperationException>(() => engine.Loaded);
        await engine.Completion.WaitAsync(TimeSpan.FromSeconds(10));
        Assert.Equal(EngineState.Faulted, engine.State);
        await engine.DisposeAsync();
    }

    [Fact]
    public async Task Draining_finishes_what_runs_and_refuses_what_comes()
    {
        await using var harness = await EngineHarness.StartAsync(() => new FakeBackend(pages: 60) { OnSubmit = _ => Thread.Sleep(1) });
        var handle = harness.Engine.Start(EngineHarness.Request(Prompt(40), 100));
        var drain = harness.Engine.DrainAsync(TimeSpan.FromSeconds(30));
        Assert.Throws<EngineNotReadyException>(() => harness.Engine.Start(EngineHarness.Request(Prompt(4), 1)));
        Assert.Equal(FinishReason.Length, (await EngineHarness.ReadAsync(handle))[0].Finish);
        await drain;
        Assert.Equal(EngineState.Stopped, harness.Engine.State);
    }

    [Fact]
    public async Task Draining_past_its_time_aborts()
    {
        await using var harness = await EngineHarness.StartAsync(() => new FakeBackend(pages: 60) { OnSubmit = _ => Thread.Sleep(20) });
        var handle = harness.Engine.Start(EngineHarness.Request(Prompt(40), 900));
        await harness.Engine.DrainAsync(TimeSpan.FromMilliseconds(100));
        Assert.Equal(FinishReason.Abort, (await EngineHarness.ReadAsync(handle))[0].Finish);
    }

    [Theory]
    [InlineData(0, 5, 1)]
    [InlineData(1024, 1, 1)]
    [InlineData(10, 0, 1)]
    [InlineData(10, 1015, 1)]
    [InlineData(10, 5, 9)]
    public async Task A_request_outside_its_bounds_is_refused_at_the_door(int prompt, int maxTokens, int choices)
    {
        await using var harness = await EngineHarness.StartAsync(() => new FakeBackend());
        Assert.Throws<ArgumentException>(() => harness.Engine.Start(EngineHarness.Request(Prompt(prompt), maxTokens, choices)));
    }
}
