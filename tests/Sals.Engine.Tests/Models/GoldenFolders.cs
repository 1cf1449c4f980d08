using Xunit;

namespace Sals.Engine.Tests.Models;

/// <summary>The checkpoints that lie in the repository.</summary>
internal static class GoldenFolders
{
    /// <summary>Folder that holds sals.sln, found upwards from the test assembly.</summary>
    public static string Root { get; } = FindRoot();

    public static string Embedded { get; } = Path.Combine(Root, "src", "Sals.Server", "EmbeddedModel");

    /// <summary>Paths of all checkpoints, relative to the root.</summary>
    public static TheoryData<string> All()
    {
        var all = new TheoryData<string> { Path.GetRelativePath(Root, Embedded) };
        foreach (string kind in new[] { "micro", "micro-gpu" })
        {
            foreach (string folder in Directory.GetDirectories(Path.Combine(Root, "tests", "golden", kind)).Order(StringComparer.Ordinal))
            {
                all.Add(Path.GetRelativePath(Root, folder));
            }
        }

        return all;
    }

    public static string Micro(string name) => Path.Combine(Root, "tests", "golden", "micro", name);

    private static string FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "sals.sln")))
            {
                return folder.FullName;
            }
        }

        throw new InvalidOperationException($"no sals.sln above {AppContext.BaseDirectory}");
    }
}
