using System.Text.RegularExpressions;

namespace Sals.Engine.Models;

/// <summary>
/// Finds the model folder a user means: a folder, a Hub name ("org/name") whose files are in the local Hugging Face cache, or nothing
/// for the embedded model. Nothing is downloaded.
/// </summary>
public sealed partial class ModelLocator
{
    private const string EmbeddedFolder = "EmbeddedModel";

    private readonly string _hub;
    private readonly string _baseFolder;

    /// <param name="variable">Reads an environment variable.</param>
    /// <param name="baseFolder">Folder of the executable, which holds the embedded model.</param>
    public ModelLocator(Func<string, string?> variable, string baseFolder)
    {
        _hub = HubFolder(variable);
        _baseFolder = baseFolder;
    }

    /// <summary>For this process: its environment, and the folder it was started from.</summary>
    public static ModelLocator ForThisProcess { get; } = new(Environment.GetEnvironmentVariable, AppContext.BaseDirectory);

    /// <summary>Absolute path of the folder of <paramref name="model"/>.</summary>
    /// <param name="model">A folder, a Hub name, or null for the embedded model. An existing folder wins over a Hub name.</param>
    /// <exception cref="ModelLoadException">Not found; the message says what was looked for and where.</exception>
    public string Locate(string? model)
    {
        if (string.IsNullOrEmpty(model))
        {
            string embedded = Path.Combine(_baseFolder, EmbeddedFolder);
            return Directory.Exists(embedded) ? embedded : throw new ModelLoadException(embedded, null, "the embedded model", "nothing");
        }

        if (Directory.Exists(model))
        {
            return Path.GetFullPath(model);
        }

        if (File.Exists(model))
        {
            throw new ModelLoadException(model, null, "a model folder with config.json and model.safetensors", "a file");
        }

        return HubName().IsMatch(model) && !model.Contains("..", StringComparison.Ordinal)
            ? InCache(model)
            : throw new ModelLoadException(model, null, "a model folder, or a Hub name such as org/name", "neither");
    }

    private string InCache(string model)
    {
        string repository = Path.Combine(_hub, $"models--{model.Replace("/", "--", StringComparison.Ordinal)}");
        if (!Directory.Exists(repository))
        {
            throw new ModelLoadException(
                model, $"no such folder, and not in the Hugging Face cache: {repository} does not exist. Sals does not download; fetch it with: hf download {model}");
        }

        string reference = Path.Combine(repository, "refs", "main");
        if (!File.Exists(reference))
        {
            throw new ModelLoadException(reference, null, $"the revision of {model} in the Hugging Face cache", "nothing");
        }

        string revision;
        try
        {
            revision = MappedFile.LengthOf(reference) <= 256 ? File.ReadAllText(reference).Trim() : "a long file";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ModelLoadException(reference, $"cannot be read: {e.Message}", e);
        }

        if (!Revision().IsMatch(revision))
        {
            throw new ModelLoadException(reference, null, "a commit of 40 hexadecimal digits", ModelLoadException.Shown(revision, 60));
        }

        string snapshot = Path.Combine(repository, "snapshots", revision);
        return Directory.Exists(snapshot) ? snapshot : throw new ModelLoadException(snapshot, null, $"the snapshot of {model} that refs/main names", "nothing");
    }

    /// <summary>As huggingface_hub: HF_HUB_CACHE, else hub under HF_HOME, else under XDG_CACHE_HOME/huggingface, else under ~/.cache/huggingface.</summary>
    private static string HubFolder(Func<string, string?> variable)
    {
        if (variable("HF_HUB_CACHE") is { Length: > 0 } cache)
        {
            return cache;
        }

        if (variable("HF_HOME") is { Length: > 0 } home)
        {
            return Path.Combine(home, "hub");
        }

        string root = variable("XDG_CACHE_HOME") is { Length: > 0 } xdg
            ? xdg
            : Path.Combine(variable("HOME") is { Length: > 0 } user ? user : Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache");
        return Path.Combine(root, "huggingface", "hub");
    }

    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}\z", RegexOptions.CultureInvariant)]
    private static partial Regex HubName();

    [GeneratedRegex(@"\A[0-9a-f]{40}\z", RegexOptions.CultureInvariant)]
    private static partial Regex Revision();
}
