using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Models;
using Sals.Engine.Text;
using Sals.Server.Api;

namespace Sals.Server.Hosting;

/// <summary>A model read from disk, before its backend is built. What loading gives the host; tests give their own.</summary>
public sealed record LoadedModel : IDisposable
{
    /// <summary>The model as given at start; the embedded model's name when none was.</summary>
    public required string Root { get; init; }

    /// <summary>Names that clients may ask for; the first is the one in answers and metrics.</summary>
    public required string[] Names { get; init; }

    /// <summary>Null when there is no real model behind the backend (tests).</summary>
    public ModelConfig? Config { get; init; }

    /// <summary>Null with --skip-tokenizer-init.</summary>
    public Tokenizer? Tokenizer { get; init; }

    /// <summary>Null when the model has none: chat requests are refused.</summary>
    public ChatRenderer? Template { get; init; }

    /// <summary>How the model writes tool calls and reasoning.</summary>
    public AnswerFormats Formats { get; init; } = AnswerFormats.Unknown;

    public GenerationDefaults Defaults { get; init; } = GenerationDefaults.None;

    /// <summary>Ids that end an answer.</summary>
    public required int[] EndTokenIds { get; init; }

    /// <summary>Ids below this exist; padding rows of the embedding lie above.</summary>
    public required int VocabularySize { get; init; }

    public required EngineOptions EngineOptions { get; init; }

    /// <summary>Name of the cache preset, for /version.</summary>
    public string KvCache { get; init; } = "dense";

    /// <summary>Lines about the model and its memory for the start of the log.</summary>
    public IReadOnlyList<string> Facts { get; init; } = [];

    /// <summary>Where memory is going to be used, before it is.</summary>
    public string Budget { get; init; } = "";

    /// <summary>Said as warnings at start.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>Builds the backend; called once, on the engine's thread.</summary>
    public required Func<IStepBackend> CreateBackend { get; init; }

    /// <summary>Mapped files and the like, disposed after the engine.</summary>
    public IDisposable? Resources { get; init; }

    public void Dispose() => Resources?.Dispose();
}
