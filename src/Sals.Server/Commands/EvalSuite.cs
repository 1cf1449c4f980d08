using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Sals.Engine.Evaluation;
using Sals.Engine.Evaluation.Reports;
using Sals.Engine.Evaluation.Results;

namespace Sals.Server.Commands;

/// <param name="Task">Task or subset.</param>
/// <param name="Length">0 where a data set sets it.</param>
internal readonly record struct EvalItemId(string Task, int Length, int Number);

/// <summary>What a suite asks.</summary>
/// <param name="Title">Of its report.</param>
/// <param name="Ids">In the order in which they are asked: cells fill evenly, so that a run that was stopped says something about all of them.</param>
/// <param name="Make">Gives an item; called in parallel.</param>
/// <param name="Tasks">In the table's order.</param>
/// <param name="MetricOf">Task → metric.</param>
/// <param name="MultiKey">Tasks in which several keys or values must be told apart.</param>
internal sealed record EvalQuestions(
    string Title, IReadOnlyList<EvalItemId> Ids, Func<EvalItemId, EvalItem> Make, IReadOnlyList<string> Tasks, Func<string, string> MetricOf, IReadOnlyList<string> MultiKey)
{
    /// <summary>Categories whose means are shown; empty = none.</summary>
    public IReadOnlyList<(string Name, string[] Tasks)> Categories { get; init; } = [];
}

/// <summary>Runs a suite of questions with all caches, or puts it to a server, and writes its tables.</summary>
internal sealed class EvalSuite
{
    private const int Chunk = 512;

    private readonly Option<string?> _resume = new("--resume") { HelpName = "FILE", Description = "Keep every answer in this file (JSON lines) and go on from what is in it." };
    private readonly Option<string?> _html = new("--html") { HelpName = "FILE", Description = "Also write the tables and plots as HTML." };
    private readonly Option<string?> _markdown = new("--markdown") { HelpName = "FILE", Description = "Also write the tables as Markdown." };
    private readonly Option<int?> _limit = new("--time-limit") { HelpName = "SECONDS", Description = "Stop after this time with the answers so far." };
    private readonly Option<string?> _prompts = new("--prompts-to") { HelpName = "FILE", Description = "Ask nobody; write the prompts (JSON lines with ids, messages and references), for other programs." };
    private readonly EvalOptions _common = new();
    private readonly RemoteOptions _remote = new();

    public void AddTo(Command command)
    {
        _common.AddTo(command);
        _remote.AddTo(command);
        foreach (var option in new Option[] { _resume, _html, _markdown, _limit, _prompts })
        {
            command.Options.Add(option);
        }
    }

    /// <param name="maxLength">Tokens of the longest sequence; null = what the model takes.</param>
    /// <param name="questions">Made with the first session's tokenizer and template.</param>
    /// <returns>Exit code.</returns>
    public async Task<int> RunAsync(ParseResult parsed, int? maxLength, string lengthFlag, Func<EvalSetting, EvalSession, EvalQuestions> questions, CancellationToken stop)
    {
        var setting = _common.Read(parsed);
        var remote = _remote.Read(parsed);
        if (remote is not null)
        {
            // the exact cache of this process gives tokenizer and template only
            setting = setting with { Caches = [new EvalCache("dense", "dense", [])], Options = setting.Options with { MaxSequences = 1, Device = Options.DeviceChoice.Cpu } };
        }

        await using var sessions = await EvalSessions.OpenAsync(setting, maxLength, lengthFlag);
        var first = sessions.All[0];
        var asked = questions(setting, first);
        if (parsed.GetValue(_prompts) is { } file)
        {
            File.WriteAllLines(file, Make(asked, [.. asked.Ids], stop).Select(item => JsonSerializer.Serialize(item, PromptJson.Default.EvalItem)));
            return 0;
        }

        using var log = new ResultLog(parsed.GetValue(_resume), new ResultHeader(first.Model.Root, setting.Seed, $"{setting.TextName} {setting.Text.Fingerprint}"));
        Dictionary<string, string> settings = remote is null
            ? sessions.All.ToDictionary(session => session.Cache, session => $"{session.Info.Spec.Describe()}, {session.Info.Name}{session.Basis}")
            : new() { [remote.Label] = remote.Address };
        foreach (var (cache, text) in settings)
        {
            log.Describe(cache, text);
        }

        using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
        if (parsed.GetValue(_limit) is { } seconds)
        {
            limit.CancelAfter(TimeSpan.FromSeconds(seconds));
        }

        var stopped = false;
        try
        {
            EvalItemId[] open = [.. asked.Ids.Where(id => settings.Keys.Any(cache => !log.Has(cache, id.Task, id.Length, id.Number)))];
            var count = open.Sum(id => settings.Keys.Count(cache => !log.Has(cache, id.Task, id.Length, id.Number)));
            await EvalProgress.RunAsync($"{asked.Title}, seed {setting.Seed}", count, answered => AskAsync(sessions, remote, asked, open, log, answered, limit.Token));
        }
        catch (OperationCanceledException)
        {
            stopped = true;
            await Console.Error.WriteLineAsync("Stopped; the tables hold the answers so far.");
        }

        log.Flush();
        var code = Report(parsed, setting, sessions, asked, log, settings);
        return stopped && stop.IsCancellationRequested ? EvalCommand.StoppedExitCode : code;
    }

    private static async Task AskAsync(
        EvalSessions sessions, RemoteModel? remote, EvalQuestions asked, EvalItemId[] open, ResultLog log, Action answered, CancellationToken stop)
    {
        // the next prompts are made while the last ones are answered
        var chunks = open.Chunk(Chunk).ToArray();
        var next = MakeAsync(0);
        for (var i = 0; i < chunks.Length; i++)
        {
            var items = await next;
            next = MakeAsync(i + 1);
            if (remote is not null)
            {
                await remote.AnswerAsync([.. items.Where(item => !log.Has(remote.Label, item.Task, item.Length, item.Number))], (item, result) => Take(result), sessions.All[0].Tokenizer, stop);
            }
            else
            {
                await sessions.AnswerAsync(
                    items, (session, item) => !log.Has(session.Cache, item.Task, item.Length, item.Number), (session, item, answer) => Take(session.Score(item, answer)), stop);
            }

            log.Flush();
        }

        void Take(EvalResult result)
        {
            log.Add(result);
            answered();
        }

        Task<EvalItem[]> MakeAsync(int chunk) => chunk < chunks.Length
            ? Task.Run(() => Make(asked, chunks[chunk], stop), stop)
            : Task.FromResult<EvalItem[]>([]);
    }

    private static EvalItem[] Make(EvalQuestions asked, EvalItemId[] ids, CancellationToken stop)
    {
        var items = new EvalItem[ids.Length];
        Parallel.For(0, ids.Length, new ParallelOptions { CancellationToken = stop }, i => items[i] = asked.Make(ids[i]));
        return items;
    }

    private int Report(
        ParseResult parsed, EvalSetting setting, EvalSessions sessions, EvalQuestions asked, ResultLog log, IReadOnlyDictionary<string, string> settings)
    {
        EvalResult[] results = [.. log.Results.Where(result => settings.ContainsKey(result.Cache) && asked.Tasks.Contains(result.Task))];
        if (results.Length == 0)
        {
            throw new EvalException("There is not a single answer.");
        }

        var first = sessions.All[0];
        var table = ScoreTable.Of(results, [.. settings.Keys], asked.Tasks, asked.MetricOf);
        CacheRow[] caches = [.. settings.Select(pair => Row(pair.Key, pair.Value))];
        string[] facts =
        [
            string.Create(CultureInfo.InvariantCulture, $"Model {first.Model.Root} on {string.Join(", ", sessions.All.Select(session => session.Info.Name).Distinct())}; greedy; the same prompts for every cache; seed {setting.Seed}."),
            $"Text {setting.TextName} ({setting.Text.Fingerprint}).",
        ];
        var report = new ScoreReport(asked.Title, facts, table, caches, asked.MultiKey) { Categories = asked.Categories };
        Console.Write(report.Markdown());
        Write(parsed.GetValue(_markdown), report.Markdown);
        Write(parsed.GetValue(_html), report.Html);
        Write(setting.JsonFile, () => JsonSerializer.Serialize(
            new SuiteReport(asked.Title, first.Model.Root, first.Info.Name, setting.Seed, setting.TextName, setting.Text.Fingerprint, caches, table.Cells, Summaries(table, asked.MultiKey)), EvalJson.Default.SuiteReport) + "\n");
        return EvalCommand.Problems(caches.Where(row => row.Use is not null).Select(row => (row.Cache, row.Use!)));

        CacheRow Row(string cache, string text)
        {
            var session = sessions.All.FirstOrDefault(session => session.Cache == cache);
            EvalResult[] own = [.. results.Where(result => result.Cache == cache)];
            return session is null || own.Length == 0
                ? new CacheRow(cache, text, null, null)
                : new CacheRow(cache, text, session.Use([.. own.Select(result => result.ToTrace())], [.. own.Select(result => result.MaxLength)]), session.TokensPerSecond);
        }
    }

    private static ScoreSummary[] Summaries(ScoreTable table, IReadOnlyList<string> multiKey) =>
        [.. table.Lengths.SelectMany(length => table.Caches.SelectMany(cache => new[]
        {
            table.Summary(cache, length, table.Solved(length)), table.Summary(cache, length, [.. table.Solved(length).Intersect(multiKey)]), table.Summary(cache, length, table.Tasks),
        })).OfType<ScoreSummary>()];

    private static void Write(string? file, Func<string> text)
    {
        if (file is not null)
        {
            File.WriteAllText(file, text());
        }
    }
}

/// <summary>What --json writes.</summary>
/// <param name="Cells">One for each task, length and cache.</param>
/// <param name="Summaries">For each length and cache: the tasks that the first cache solves, those of them with several keys, all.</param>
internal sealed record SuiteReport(
    string Title, string Model, string Backend, int Seed, string Text, string TextFingerprint, IReadOnlyList<CacheRow> Caches, IReadOnlyList<ScoreCell> Cells, IReadOnlyList<ScoreSummary> Summaries);
