namespace Sals.Engine.Tests.Models;

/// <summary>A folder that is deleted with all its content.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("sals-test-").FullName;

    public string this[string name] => System.IO.Path.Combine(Path, name);

    /// <summary>A copy of the files of <paramref name="source"/>.</summary>
    public static TemporaryFolder CopyOf(string source)
    {
        var folder = new TemporaryFolder();
        foreach (string file in Directory.GetFiles(source))
        {
            File.Copy(file, folder[System.IO.Path.GetFileName(file)]);
        }

        return folder;
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
