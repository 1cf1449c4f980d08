using Sals.Engine.Models;
using Xunit;

namespace Sals.Engine.Tests.Models;

public sealed class ModelLocatorTests : IDisposable
{
    private const string Commit = "0123456789abcdef0123456789abcdef01234567";

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_folder_is_itself()
    {
        Assert.Equal(_folder.Path, Locator().Locate(_folder.Path + "/."));
    }

    [Fact]
    public void Nothing_is_the_embedded_model_beside_the_executable()
    {
        string embedded = Directory.CreateDirectory(_folder["EmbeddedModel"]).FullName;

        Assert.Equal(embedded, Locator().Locate(null));
        Assert.Equal(embedded, Locator().Locate(""));
    }

    [Fact]
    public void A_missing_embedded_model_is_said()
    {
        Assert.Contains("expected the embedded model, found nothing", Fail(null).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("HF_HUB_CACHE", "")]
    [InlineData("HF_HOME", "hub")]
    [InlineData("XDG_CACHE_HOME", "huggingface/hub")]
    [InlineData("HOME", ".cache/huggingface/hub")]
    public void A_Hub_name_is_its_main_snapshot_in_the_cache(string variable, string hub)
    {
        string snapshot = Cache(Path.Combine(_folder.Path, hub), "org/Model-1.5_x");

        Assert.Equal(snapshot, Locator((variable, _folder.Path)).Locate("org/Model-1.5_x"));
    }

    [Fact]
    public void A_snapshot_of_links_into_blobs_opens()
    {
        string snapshot = Cache(_folder["hub"], "org/name");
        string blobs = Directory.CreateDirectory(Path.Combine(snapshot, "..", "..", "blobs")).FullName;
        foreach (string file in Directory.GetFiles(GoldenFolders.Micro("qwen3-qknorm-tied")))
        {
            string name = Path.GetFileName(file);
            File.Copy(file, Path.Combine(blobs, $"hash-of-{name}"));
            File.CreateSymbolicLink(Path.Combine(snapshot, name), Path.Combine("..", "..", "blobs", $"hash-of-{name}"));
        }

        using var model = ModelFolder.Open(Locator(("HF_HOME", _folder.Path)).Locate("org/name"));

        Assert.Equal(ModelArchitecture.Qwen3, model.Config.Architecture);
    }

    [Fact]
    public void A_Hub_name_that_is_not_cached_says_where_it_was_looked_for()
    {
        string message = Fail("meta-llama/Llama-3.1-8B").Message;

        Assert.Contains(Path.Combine(_folder.Path, "hub", "models--meta-llama--Llama-3.1-8B"), message, StringComparison.Ordinal);
        Assert.Contains("does not download", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("not-there")]
    [InlineData("../x")]
    [InlineData("a/..b")]
    [InlineData("org/../../etc")]
    [InlineData("/no/such/folder")]
    [InlineData("org/name\n")]
    [InlineData("org/a..b")]
    public void What_is_no_folder_and_no_Hub_name_is_refused(string model)
    {
        Assert.Contains("expected a model folder, or a Hub name", Fail(model).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_is_refused()
    {
        File.WriteAllText(_folder["model.gguf"], "GGUF");

        Assert.Contains("found a file", Fail(_folder["model.gguf"]).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("../../../etc")]
    [InlineData("main")]
    [InlineData("0123456789ABCDEF0123456789ABCDEF01234567")]
    public void A_reference_that_is_no_commit_is_refused(string reference)
    {
        string snapshot = Cache(_folder["hub"], "org/name");
        File.WriteAllText(Path.Combine(snapshot, "..", "..", "refs", "main"), reference);

        Assert.Contains("expected a commit of 40 hexadecimal digits", Fail("org/name").Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_cache_without_main_or_without_its_snapshot_says_so()
    {
        string snapshot = Cache(_folder["hub"], "org/name");
        Directory.Delete(snapshot);
        Assert.Contains($"{snapshot}: expected the snapshot of org/name", Fail("org/name").Message, StringComparison.Ordinal);

        File.Delete(_folder["hub/models--org--name/refs/main"]);
        Assert.Contains("expected the revision of org/name", Fail("org/name").Message, StringComparison.Ordinal);
    }

    private static string Cache(string hub, string model)
    {
        string repository = Path.Combine(hub, $"models--{model.Replace("/", "--", StringComparison.Ordinal)}");
        Directory.CreateDirectory(Path.Combine(repository, "refs"));
        File.WriteAllText(Path.Combine(repository, "refs", "main"), Commit + "\n");
        return Directory.CreateDirectory(Path.Combine(repository, "snapshots", Commit)).FullName;
    }

    private ModelLocator Locator(params (string Name, string Value)[] variables)
    {
        return new ModelLocator(name => variables.FirstOrDefault(v => v.Name == name).Value, _folder.Path);
    }

    private ModelLoadException Fail(string? model) => Assert.Throws<ModelLoadException>(() => Locator(("HF_HOME", _folder.Path)).Locate(model));
}
