using System.Text.Json;
using Sals.Engine.Models;
using Xunit;

namespace Sals.Engine.Tests.Models;

/// <summary>Folders of tensors: single files, shards, and what must not be loaded.</summary>
public sealed class CheckpointTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_single_file_is_enough()
    {
        Write("model.safetensors", "a", "b");

        using var checkpoint = new Checkpoint(_folder.Path);

        Assert.Equal(["a", "b"], checkpoint.Names.Order());
    }

    [Fact]
    public void Shards_hold_what_the_index_says()
    {
        Write("one.safetensors", "a", "b");
        Write("two.safetensors", "b", "c");
        Index(("a", "one.safetensors"), ("b", "two.safetensors"), ("c", "two.safetensors"));

        using var checkpoint = new Checkpoint(_folder.Path);

        Assert.Equal(["a", "b", "c"], checkpoint.Names.Order());
        Assert.Equal(_folder["two.safetensors"], checkpoint.PathOf("b"));
    }

    [Fact]
    public void Consolidated_files_are_not_opened()
    {
        Write("model.safetensors", "a");
        File.WriteAllText(_folder["consolidated.safetensors"], "broken");

        using var checkpoint = new Checkpoint(_folder.Path);

        Assert.Equal(["a"], checkpoint.Names);
    }

    [Theory]
    [InlineData("../x.safetensors")]
    [InlineData("/etc/x.safetensors")]
    [InlineData("sub/x.safetensors")]
    [InlineData("..\\\\x.safetensors")]
    [InlineData("c:x.safetensors")]
    [InlineData(".safetensors")]
    [InlineData("..safetensors")]
    [InlineData("x.bin")]
    [InlineData("x.safetensors\\u0000")]
    [InlineData("")]
    public void An_index_entry_that_is_no_plain_file_name_is_refused(string entry)
    {
        File.WriteAllText(_folder["model.safetensors.index.json"], $$$"""{"weight_map":{"a":"{{{entry}}}"}}""");

        AssertRefused("weight_map.a: expected the plain name of a .safetensors file in this folder");
    }

    [Fact]
    public void Missing_shards_are_counted_and_named()
    {
        Write("s0.safetensors", "t0");
        Index([.. Enumerable.Range(0, 8).Select(i => ($"t{i}", $"s{i}.safetensors"))]);

        AssertRefused("weight_map: expected 8 files in the folder, found 7 missing: s1.safetensors, s2.safetensors, s3.safetensors, s4.safetensors, s5.safetensors and 2 more");
    }

    [Fact]
    public void A_tensor_that_its_shard_does_not_have_is_named()
    {
        Write("one.safetensors", "a");
        Index(("a", "one.safetensors"), ("b", "one.safetensors"));

        AssertRefused("one.safetensors: expected the 2 tensors that model.safetensors.index.json places here, found 1 missing: b");
    }

    [Theory]
    [InlineData("""{"weight_map":{}}""", "weight_map: expected 1 to 4096 files, found 0")]
    [InlineData("""{"weight_map":[]}""", "weight_map: expected an object")]
    [InlineData("""{}""", "weight_map: expected an object, found nothing")]
    [InlineData("""{"weight_map":{"a":1}}""", "weight_map.a: expected a string, found 1")]
    [InlineData("""{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}""", "expected valid JSON")]
    public void A_broken_index_is_refused(string index, string expected)
    {
        File.WriteAllText(_folder["model.safetensors.index.json"], index);

        AssertRefused(expected);
    }

    [Theory]
    [InlineData("pytorch_model.bin", "pickle files, which can run code and are not read: pytorch_model.bin")]
    [InlineData("model.pt", "pickle files")]
    [InlineData("consolidated.00.pth", "pickle files")]
    [InlineData("model.gguf", "GGUF files, which are not supported: model.gguf")]
    [InlineData("consolidated.safetensors", "other safetensors files only: consolidated.safetensors")]
    [InlineData("README.md", "no weights")]
    public void A_folder_without_a_checkpoint_says_what_it_has_instead(string name, string expected)
    {
        File.WriteAllText(_folder[name], "x");

        AssertRefused(expected);
    }

    [Fact]
    public void A_broken_link_is_named_rather_than_passed_over()
    {
        Write("one.safetensors", "a");
        Index(("a", "one.safetensors"));
        File.CreateSymbolicLink(_folder["model.safetensors"], "../blobs/gone");

        AssertRefused("model.safetensors: expected a file, found a link to ../blobs/gone, which does not exist");
    }

    private void Write(string file, params string[] names)
    {
        var writer = new SafetensorsWriter();
        foreach (string name in names)
        {
            writer.Add(name, SafetensorsType.F32, new float[] { 1, 2 }, 2);
        }

        writer.Write(_folder[file]);
    }

    private void Index(params (string Tensor, string File)[] entries)
    {
        var map = entries.ToDictionary(entry => entry.Tensor, entry => entry.File);
        File.WriteAllText(_folder["model.safetensors.index.json"], JsonSerializer.Serialize(new { metadata = new { total_size = 1 }, weight_map = map }));
    }

    private void AssertRefused(string expected)
    {
        var e = Assert.Throws<ModelLoadException>(() => new Checkpoint(_folder.Path));
        Assert.Contains(expected, e.Message, StringComparison.Ordinal);
    }
}
