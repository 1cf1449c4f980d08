using System.Runtime.CompilerServices;
using System.Text.Json;
using Sals.Engine.Text;
using Xunit;

namespace Sals.Engine.Tests.Text;

/// <summary>Tokenizers for the tests: the embedded model's, and the real vocabularies when they are found (see SALS_SHARED).</summary>
internal static class TestTokenizers
{
    private static readonly Lazy<Tokenizer> Tiny = new(() => TokenizerLoader.Open(EmbeddedModel));

    public static Tokenizer SalsTiny => Tiny.Value;

    public static string RepositoryRoot { get; } = FindRoot();

    public static string EmbeddedModel => Path.Combine(RepositoryRoot, "src", "Sals.Server", "EmbeddedModel");

    public static bool IsCi => string.Equals(Environment.GetEnvironmentVariable("CI"), "true", StringComparison.OrdinalIgnoreCase);

    /// <summary>Path of a file of the shared assets; skips the test when it is missing, fails it under CI=true.</summary>
    public static string Shared(params string[] parts)
    {
        var shared = Environment.GetEnvironmentVariable("SALS_SHARED") ?? Path.Combine(RepositoryRoot, "..", "shared");
        var path = Path.Combine([shared, .. parts]);
        if (!File.Exists(path))
        {
            Missing($"{Path.Combine(parts)} is not in SALS_SHARED (or ../shared)");
        }

        return path;
    }

    /// <summary>Something outside the repository is missing: a reported skip, a failure under CI=true.</summary>
    public static void Missing(string what)
    {
        Assert.False(IsCi, what);
        Assert.Skip(what);
    }

    public static Tokenizer OpenShared(string name) => TokenizerJson.Read(Shared("tokenizers", name + ".tokenizer.json"));

    /// <summary>A tokenizer.json written in a test.</summary>
    public static Tokenizer Parse(string json)
    {
        using var document = JsonDocument.Parse(json);
        return TokenizerJson.Read(document.RootElement, "tokenizer.json");
    }

    /// <summary>The embedded vocabulary behind another family's split pattern and normaliser, as tokenizer.json text.</summary>
    public static string JsonWithPattern(string pattern, bool nfc)
    {
        var json = System.Text.Json.Nodes.JsonNode.Parse(File.ReadAllText(Path.Combine(EmbeddedModel, "tokenizer.json")))!;
        json["pre_tokenizer"]!["pretokenizers"]![0]!["pattern"]!["Regex"] = pattern;
        json["normalizer"] = nfc ? new System.Text.Json.Nodes.JsonObject { ["type"] = "NFC" } : null;
        return json.ToJsonString();
    }

    public static Tokenizer WithPattern(string pattern, bool nfc) => Parse(JsonWithPattern(pattern, nfc));

    private static string FindRoot([CallerFilePath] string source = "")
    {
        foreach (var start in new[] { AppContext.BaseDirectory, Path.GetDirectoryName(source)! })
        {
            for (var folder = start; folder is not null; folder = Path.GetDirectoryName(folder))
            {
                if (File.Exists(Path.Combine(folder, "sals.sln")))
                {
                    return folder;
                }
            }
        }

        throw new InvalidOperationException("sals.sln not found above the test binaries");
    }
}
