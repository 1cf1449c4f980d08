using System.Diagnostics;
using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Evaluation;
using Sals.Engine.Evaluation.Results;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Text;
using Sals.Kernels.Cuda.Interop;
using Sals.Server.Api;
using Sals.Server.Hosting;
using Sals.Server.Options;

namespace Sals.Server.Commands;

/// <summary>A model with one cache in an engine of its own.</summary>
internal sealed class EvalSession : IAsyncDisposable
{
    private readonly InferenceEngine _engine;
    private long _tokens;
    private double _seconds;

    private EvalSession(string cache, LoadedModel model, InferenceEngine engine, BackendInfo info)
    {
        (Cache, Model, Info, _engine) = (cache, model, info, engine);
    }

    /// <summary>Label in tables.</summary>
    public string Cache { get; }

    public LoadedModel Model { get; }

    public BackendInfo Info { get; }

    /// <summary>Fingerprint of the basis in words; empty for an exact cache.</summary>
    public string Basis => Model.EngineOptions.Fingerprint.Split('|') is [.., { Length: > 0 } basis] ? $", basis {basis}" : "";

    public Tokenizer Tokenizer => Model.Tokenizer!;

    /// <summary>Prompt and generated tokens a second over the time in which requests ran; null before any.</summary>
    public double? TokensPerSecond => _seconds > 0 ? _tokens / _seconds : null;

    /// <summary>There is a GPU that serves all caches of the evaluation.</summary>
    public static bool RunsOnGpu(EvalSetting setting, int? maxLength)
    {
        using var folder = ModelFolder.Open(ModelLocator.ForThisProcess.Locate(setting.Options.Model));
        try
        {
            return setting.Caches.All(cache => DevicePlan.For(setting.OptionsOf(cache, maxLength), folder.Config, NativeLibraries.Probe).Gpu is not null);
        }
        catch (SettingException)
        {
            return false;
        }
    }

    /// <param name="share">Set for the CPU backend when several caches get the same prompts.</param>
    /// <exception cref="SettingException">A setting does not fit the model, or there is no basis.</exception>
    public static async Task<EvalSession> OpenAsync(string cache, SalsOptions options, string lengthFlag, PrefillShare? share)
    {
        var model = Open(options, lengthFlag);
        var engine = new InferenceEngine(Create, model.EngineOptions with { MaxWaiting = int.MaxValue }, TimeProvider.System);
        try
        {
            return new EvalSession(cache, model, engine, await engine.Loaded);
        }
        catch
        {
            await engine.DisposeAsync();
            model.Dispose();
            throw;
        }

        IStepBackend Create()
        {
            var backend = model.CreateBackend();
            if (backend is CpuBackend cpu)
            {
                cpu.Share = share;
            }

            return backend;
        }
    }

    /// <summary>Ids of the prompt that asks for the assistant's answer to a message, and of the words that begin the answer.</summary>
    /// <exception cref="EvalException">The model has no chat template.</exception>
    public int[] Render(string message, string answerPrefix)
    {
        var template = Model.Template ?? throw new EvalException($"{Model.Root}: the model has no chat template, which questions are asked with.");
        List<int> prompt = Tokenizer.Encode(template(new ChatPrompt([new ChatTurn("user", message)])), addSpecialTokens: false);

        // a turn begins the answer, so that a space before it would be one too many
        return answerPrefix.Length == 0 ? [.. prompt] : [.. prompt, .. Tokenizer.Encode(answerPrefix.TrimStart(), addSpecialTokens: false, parseSpecialTokens: false)];
    }

    /// <summary>Ids of a text without any template.</summary>
    public int[] Plain(string text) => [.. Tokenizer.Encode(text, addSpecialTokens: true, parseSpecialTokens: false)];

    /// <summary>Runs requests and counts tokens and time for <see cref="TokensPerSecond"/>.</summary>
    public async Task<EvalAnswer[]> RunAsync(Func<EvalRun, Task<EvalAnswer[]>> body, long promptTokens)
    {
        var start = Stopwatch.GetTimestamp();
        var answers = await body(new EvalRun(_engine, Info.SlotCount));
        _seconds += Stopwatch.GetElapsedTime(start).TotalSeconds;
        _tokens += promptTokens + answers.Sum(answer => (long)answer.Trace.GeneratedTokens);
        return answers;
    }

    public async Task AnswerAsync(IReadOnlyList<EvalItem> items, Action<EvalSession, EvalItem, EvalAnswer> take, CancellationToken stop)
    {
        if (items.Count > 0)
        {
            await RunAsync(run => (run with { Answered = (i, answer) => take(this, items[i], answer) }).AnswerAsync(items, Model.EndTokenIds, stop), items.Sum(item => (long)item.Prompt.Length));
        }
    }

    public EvalResult Score(EvalItem item, EvalAnswer answer) => EvalResult.Of(Cache, item, answer, Tokenizer.Decode(answer.Tokens, skipSpecialTokens: false));

    /// <param name="maxLengths">Prompt and most tokens of each request.</param>
    public CacheUse Use(IReadOnlyList<GenerationTrace> traces, IReadOnlyList<int> maxLengths)
    {
        var config = Model.Config!;
        var layout = new[] { ElementType.Float32, ElementType.BFloat16 }
            .Select(type => new PageLayout(config, Info.Spec, type))
            .FirstOrDefault(layout => layout.ExactPageBytes == Info.ExactPageBytes && PoolKinds.All.All(kind => layout.PageBytes(kind) == Info.BytesOf(kind)))
            ?? throw new EvalException($"The {Info.Name} backend's pages have {string.Join(", ", Info.PageBytes)} bytes, which is no page layout of float32 or bfloat16.");
        return CacheUse.Of(traces, maxLengths, layout, config);
    }

    public async ValueTask DisposeAsync()
    {
        await _engine.DisposeAsync();
        Model.Dispose();
    }

    private static LoadedModel Open(SalsOptions options, string lengthFlag)
    {
        try
        {
            var model = ModelOpener.Open(options, Console.Error.WriteLine);
            return options.Device == DeviceChoice.Cuda && options.KvCacheBytes is null ? Bounded(model, options, lengthFlag) : model;
        }
        catch (SettingException e) when (e.Message.StartsWith(Settings.MaxModelLen.Flag, StringComparison.Ordinal))
        {
            throw new SettingException(lengthFlag + e.Message[Settings.MaxModelLen.Flag.Length..]);
        }
    }

    /// <summary>Several caches share one GPU: each takes what its sequences need, not all that is free.</summary>
    private static LoadedModel Bounded(LoadedModel model, SalsOptions options, string lengthFlag)
    {
        var spec = LatentSpecParser.Parse(options.KvCache, options.CacheSettings, model.Config!);
        var layout = new PageLayout(model.Config!, spec, ElementType.BFloat16);
        var length = options.MaxModelLength ?? model.Config!.MaxModelLength;
        model.Dispose();
        return Open(options with { KvCacheBytes = MemoryBudget.Holding(layout, layout.PeakBytes(length) * options.MaxSequences) }, lengthFlag);
    }
}
