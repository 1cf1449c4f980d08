using System.Reflection;
using System.Text.RegularExpressions;
using Sals.Engine;
using Sals.Kernels.Cuda.Interop;
using Sals.Server.Hosting;
using Xunit;

namespace Sals.Server.Tests;

/// <summary>Arrows point downwards: Sals.Server to Sals.Engine to Sals.Kernels.Cuda. Read off the compiled references and the sources.</summary>
public partial class ArchitectureTests
{
    private static readonly string Root = FindRoot();

    private static string[] SalsReferences(Assembly assembly) =>
        [.. assembly.GetReferencedAssemblies().Select(name => name.Name!).Where(name => name.StartsWith("Sals.", StringComparison.Ordinal)).Order()];

    private static string FindRoot()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "sals.sln")))
        {
            folder = Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("sals.sln was not found above the tests.");
        }

        return folder;
    }

    private static IEnumerable<(string Path, string Text)> Sources(string folder) =>
        Directory.EnumerateFiles(Path.Combine(Root, folder), "*.cs", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(Root, file).Replace('\\', '/'))
            .Where(file => !file.Contains("/obj/", StringComparison.Ordinal) && !file.Contains("/bin/", StringComparison.Ordinal))
            .Select(file => (file, File.ReadAllText(Path.Combine(Root, file))));

    [Fact]
    public void Kernels_know_nobody() => Assert.Empty(SalsReferences(typeof(NativeLibraries).Assembly));

    [Fact]
    public void The_engine_knows_nothing_of_http()
    {
        var engine = typeof(InferenceEngine).Assembly;
        Assert.DoesNotContain(SalsReferences(engine), name => name != "Sals.Kernels.Cuda");
        Assert.DoesNotContain(engine.GetReferencedAssemblies(), name => name.Name!.StartsWith("Microsoft.AspNetCore", StringComparison.Ordinal));
    }

    [Fact]
    public void The_server_is_on_top() => Assert.Contains("Sals.Engine", SalsReferences(typeof(EngineHost).Assembly));

    [Fact]
    public void Production_assemblies_are_no_friends()
    {
        foreach (var assembly in new[] { typeof(NativeLibraries).Assembly, typeof(InferenceEngine).Assembly, typeof(EngineHost).Assembly })
        {
            foreach (var friend in assembly.GetCustomAttributes<System.Runtime.CompilerServices.InternalsVisibleToAttribute>())
            {
                Assert.Matches("Test|Bench", friend.AssemblyName);
            }
        }
    }

    [Theory]
    [InlineData("src/Sals.Engine/Scheduling", @"Backends\.(Cpu|Cuda)|Sals\.Kernels")]
    [InlineData("src/Sals.Engine/Paging", @"Sals\.Engine\.Scheduling|Backends\.(Cpu|Cuda)")]
    [InlineData("src/Sals.Engine/Models", @"Sals\.Engine\.(Scheduling|Paging|Backends)")]
    [InlineData("src/Sals.Engine/Text", @"Sals\.Engine\.(Scheduling|Paging|Backends|Latent)")]
    [InlineData("src/Sals.Engine/Backends/Cpu", @"Backends\.Cuda|Sals\.Kernels")]
    [InlineData("src/Sals.Server/Api", @"Backends\.(Cpu|Cuda)|Sals\.Kernels")]
    public void Folders_do_not_look_up(string folder, string forbidden)
    {
        foreach (var (path, text) in Sources(folder))
        {
            Assert.False(Regex.IsMatch(text, forbidden), $"{path} mentions {Regex.Match(text, forbidden).Value}");
        }
    }

    [Fact]
    public void Unsafe_code_stays_in_three_places()
    {
        foreach (var (path, text) in Sources("src").Where(source => Unsafe().IsMatch(source.Text)))
        {
            Assert.True(
                path.StartsWith("src/Sals.Kernels.Cuda/", StringComparison.Ordinal)
                || path.StartsWith("src/Sals.Engine/Backends/Cuda/", StringComparison.Ordinal)
                || path == "src/Sals.Engine/Models/MappedFile.cs",
                $"{path} uses unsafe code");
        }
    }

    /// <summary>SECURITY.md promises it: nothing is deserialized into objects of the sender's choice, started or fetched.</summary>
    [Fact]
    public void No_serializer_of_objects_and_no_process_from_requests()
    {
        Assert.All(Sources("src"), source => Assert.DoesNotMatch(@"BinaryFormatter|Process\.Start\(|ProcessStartInfo|Assembly\.Load|Activator\.Create|TcpClient", source.Text));
        // the load generator and sals eval ask servers that the command line names
        Assert.All(Sources("src").Where(source => !source.Path.StartsWith("src/Sals.Server/Load/", StringComparison.Ordinal) && !source.Path.StartsWith("src/Sals.Server/Commands/", StringComparison.Ordinal)),
            source => Assert.DoesNotMatch("HttpClient|WebRequest", source.Text));
    }

    [Fact]
    public void Every_test_that_the_security_document_names_exists()
    {
        var tests = Sources("tests").Select(source => source.Text).ToArray();
        var named = Regex.Matches(File.ReadAllText(Path.Combine(Root, "SECURITY.md")), @"`(?<class>\w+Tests)\.(?<test>\w+)`");
        Assert.InRange(named.Count, 25, 200);
        Assert.All(named, match => Assert.Contains(tests, text =>
            Regex.IsMatch(text, $@"class {match.Groups["class"].Value}\b") && text.Contains($" {match.Groups["test"].Value}(", StringComparison.Ordinal)));
    }

    [GeneratedRegex(@"^\s*[^/\s].*\bunsafe\b|^\s*unsafe\b", RegexOptions.Multiline)]
    private static partial Regex Unsafe();
}
