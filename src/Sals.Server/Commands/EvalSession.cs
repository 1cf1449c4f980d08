using System.Diagnostics;
using System.Globalization;
using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Evaluation;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Text;
using Sals.Server.Api;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Spectre.Console;

namespace Sals.Server.Commands;

/// <summary>A model with one cache in an engine of its own, for as long as its rows are measured.</summary>
internal sealed class EvalSession : IAsyncDisposable
{
    private static readonly TimeSpan LineInterval = TimeSpan.FromSeconds(10);

    private readonly InferenceEngine _engine;

    private EvalSession(LoadedModel model, InferenceEngine engine, BackendInfo info)
    {
        Model = model;
        Info = info;
        _engine = engine;
    }

    public LoadedModel Model { get; }

    public BackendInfo Info { get; }

    /// <summary>Name of the preset.</summary>
    public string Cache => Info.Spec.Name;

    public Tokenizer Tokenizer => Model.Tokenizer!;

    /// <exception cref="SettingException">A setting does not fit the model, or there is no basis.</exception>
    public static async Task<EvalSession> OpenAsync(SalsOptions options, string lengthFlag)
    {
        var model = Open(options, lengthFlag);
        var engine = new InferenceEngine(model.CreateBackend, model.EngineOptions, TimeProvider.System);
        try
        {
            return new EvalSession(model, engine, await engine.Loaded);
        }
        catch
        {
            await engine.DisposeAsync();
            model.Dispose();
            throw;
        }
    }

    /// <summary>Ids of the prompt that asks for the assistant's answer to a message.</summary>
    /// <exception cref="EvalException">The model has no chat template.</exception>
    public int[] Render(string message)
    {
        var template = Model.Template ?? throw new EvalException($"{Model.Root}: the model has no chat template, which retrieval questions are asked with.");
        return [.. Tokenizer.Encode(template(new ChatPrompt([new ChatTurn("user", message)])), addSpecialTokens: false)];
    }

    /// <summary>Shows progress, as a bar on a terminal and as lines elsewhere; gives the answers and the seconds they took.</summary>
    public async Task<(EvalAnswer[] Answers, double Seconds)> RunAsync(string title, int count, Func<EvalRun, Task<EvalAnswer[]>> body)
    {
        var watch = Stopwatch.StartNew();
        EvalAnswer[] answers = [];
        if (AnsiConsole.Console.Profile.Out.IsTerminal)
        {
            await AnsiConsole.Progress().Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn()).StartAsync(async progress =>
            {
                var task = progress.AddTask(Markup.Escape(title), maxValue: count);
                answers = await body(Run(() => task.Increment(1)));
            });
        }
        else
        {
            var gate = new Lock();
            var done = 0;
            var printed = TimeSpan.Zero;
            answers = await body(Run(() =>
            {
                lock (gate)
                {
                    if (++done == count || watch.Elapsed - printed >= LineInterval)
                    {
                        printed = watch.Elapsed;
                        Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{title}: {done} of {count}, {watch.Elapsed.TotalSeconds:0.0} s"));
                    }
                }
            }));
        }

        return (answers, watch.Elapsed.TotalSeconds);
    }

    /// <param name="maxLengths">Prompt and most tokens of each request.</param>
    public CacheUse Use(IReadOnlyList<EvalAnswer> answers, IReadOnlyList<int> maxLengths)
    {
        var config = Model.Config!;
        var layout = new[] { ElementType.Float32, ElementType.BFloat16 }
            .Select(type => new PageLayout(config, Info.Spec, type))
            .FirstOrDefault(layout => PoolKinds.All.All(kind => layout.PageBytes(kind) == Info.BytesOf(kind)))
            ?? throw new EvalException($"The {Info.Name} backend's pages have {string.Join(", ", Info.PageBytes)} bytes, which is no page layout of float32 or bfloat16.");
        return CacheUse.Of(answers, maxLengths, layout, config);
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
            return ModelOpener.Open(options, Console.Error.WriteLine);
        }
        catch (SettingException e) when (e.Message.StartsWith(Settings.MaxModelLen.Flag, StringComparison.Ordinal))
        {
            throw new SettingException(lengthFlag + e.Message[Settings.MaxModelLen.Flag.Length..]);
        }
    }

    private EvalRun Run(Action answered) => new(_engine, Info.SlotCount) { Answered = answered };
}
