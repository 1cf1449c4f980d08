using System.Text.Json;
using System.Text.Json.Serialization;

namespace Sals.Engine.Evaluation.Results;

/// <summary>What makes two runs comparable; the first line of a result file.</summary>
/// <param name="Model">As the user named it, with the fingerprint of its weights where they are at hand.</param>
/// <param name="Text">Name and fingerprint of the haystack.</param>
public sealed record ResultHeader(string Model, int Seed, string Text);

/// <summary>
/// Answers in a file of JSON lines, appended as they come: the header, then for every cache its settings once, and the answers. Opening a file that a stopped
/// run left gives its answers back; a half-written last line is dropped. Without a file everything is kept in memory only. Thread-safe.
/// </summary>
public sealed class ResultLog : IDisposable
{
    private readonly Lock _gate = new();
    private readonly List<EvalResult> _results = [];
    private readonly Dictionary<string, string> _caches = [];
    private readonly HashSet<(string Cache, string Task, int Length, int Number)> _done = [];
    private readonly StreamWriter? _writer;

    /// <param name="path">Null = no file.</param>
    /// <exception cref="EvalException">The file is of another run, or no result file.</exception>
    public ResultLog(string? path, ResultHeader header)
    {
        if (path is null)
        {
            return;
        }

        var kept = 0L;
        if (File.Exists(path))
        {
            kept = Load(path, header);
        }

        var stream = new FileStream(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.Read);
        stream.SetLength(kept);
        stream.Position = kept;
        _writer = new StreamWriter(stream);
        if (kept == 0)
        {
            Write(new LogLine { Header = header });
        }
    }

    /// <summary>Answers of this and earlier runs.</summary>
    public IReadOnlyList<EvalResult> Results
    {
        get
        {
            lock (_gate)
            {
                return [.. _results];
            }
        }
    }

    public bool Has(string cache, string task, int length, int number)
    {
        lock (_gate)
        {
            return _done.Contains((cache, task, length, number));
        }
    }

    /// <summary>Says what a cache's label stands for, before its first answer.</summary>
    /// <exception cref="EvalException">The file has answers of other settings under this label.</exception>
    public void Describe(string cache, string settings)
    {
        lock (_gate)
        {
            if (_caches.TryAdd(cache, settings))
            {
                Write(new LogLine { Cache = cache, Settings = settings });
            }
            else if (_caches[cache] != settings)
            {
                throw new EvalException($"--resume: the file's answers of {cache} were given with '{_caches[cache]}', now it is '{settings}'; use another file.");
            }
        }
    }

    public void Add(EvalResult result)
    {
        lock (_gate)
        {
            if (_done.Add((result.Cache, result.Task, result.Length, result.Number)))
            {
                _results.Add(result);
                Write(new LogLine { Result = result });
            }
        }
    }

    public void Flush()
    {
        lock (_gate)
        {
            _writer?.Flush();
        }
    }

    public void Dispose() => _writer?.Dispose();

    /// <summary>Reads whole lines; gives the bytes they take.</summary>
    private long Load(string path, ResultHeader header)
    {
        var kept = 0L;
        var bytes = File.ReadAllBytes(path);
        for (var number = 1; kept < bytes.Length; number++)
        {
            var end = Array.IndexOf(bytes, (byte)'\n', (int)kept);
            if (end < 0)
            {
                break;
            }

            LogLine? line;
            try
            {
                line = JsonSerializer.Deserialize(bytes.AsSpan((int)kept, end - (int)kept), ResultJson.Default.LogLine);
            }
            catch (JsonException e)
            {
                throw new EvalException($"--resume {path}, line {number}: no result line: {e.Message}");
            }

            if (number == 1 && line?.Header != header)
            {
                throw new EvalException($"--resume {path}: holds {line?.Header?.ToString() ?? "no header"}, this run is {header}; use another file.");
            }

            if (line is { Cache: { } cache, Settings: { } settings })
            {
                _caches[cache] = settings;
            }

            if (line?.Result is { } result && _done.Add((result.Cache, result.Task, result.Length, result.Number)))
            {
                _results.Add(result);
            }

            kept = end + 1;
        }

        return kept;
    }

    private void Write(LogLine line)
    {
        _writer?.Write(JsonSerializer.Serialize(line, ResultJson.Default.LogLine));
        _writer?.Write('\n');
    }
}

/// <summary>One line of the file; one of its parts is set.</summary>
internal sealed record LogLine
{
    public ResultHeader? Header { get; init; }

    public string? Cache { get; init; }

    public string? Settings { get; init; }

    public EvalResult? Result { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(LogLine))]
internal sealed partial class ResultJson : JsonSerializerContext;
