using Sals.Engine.Models;
using Xunit;

namespace Sals.Engine.Tests.Models;

/// <summary>Hostile and broken files: each gives one error that names what is wrong.</summary>
public sealed class SafetensorsFileTests : IDisposable
{
    private const string Good = """{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"I8","shape":[4],"data_offsets":[24,28]}}""";

    private readonly TemporaryFolder _folder = new();

    private string File => _folder["x.safetensors"];

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_good_file_lists_its_tensors()
    {
        System.IO.File.WriteAllBytes(File, RawSafetensors.Bytes(Good + "   ", 28));

        using var file = new SafetensorsFile(File);

        Assert.Equal(["a", "b"], file.Entries.Keys.Order());
        Assert.Equal((2, 3), (file.Tensor("a").Rows, file.Tensor("a").Columns));
        Assert.Equal(4, file.Bytes(file.Entry("b")).Length);
    }

    [Theory]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 7, "a.data_offsets: expected begin <= end <= 7, the bytes behind the header, found [0, 8]")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", 8, "a.data_offsets: expected begin <= end <= 8")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[-1,7]}}""", 8, "a.data_offsets[0]: expected an integer from 0 to 2^63 - 1, found -1")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9223372036854775808]}}""", 8, "a.data_offsets[1]: expected an integer")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}""", 8, "a.data_offsets: expected [begin, end]")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}}""", 8, "a.data_offsets: expected at most 2 items, found 3")]
    [InlineData("""{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "a.data_offsets: expected 12 bytes for F32 [3], found 8")]
    [InlineData("""{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}""", 8, "a.shape[0]: expected an integer from 0 to 2^63 - 1, found -2")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}""", 8, "a.shape[0]: expected an integer")]
    [InlineData("""{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}""", 0, "a.shape: expected a size in bytes below 2^63")]
    [InlineData("""{"a":{"dtype":"F32","shape":[9223372036854775807,9223372036854775807,9223372036854775807],"data_offsets":[0,0]}}""", 0, "a.shape: expected a size in bytes below 2^63")]
    [InlineData("""{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}""", 2, "a.shape: expected a size in bytes")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}""", 4, "a.shape: expected at most 16 items, found 17")]
    [InlineData("""{"a":{"dtype":"Q4_K","shape":[2],"data_offsets":[0,8]}}""", 8, "a.dtype: expected one of BOOL, U8")]
    [InlineData("""{"a":{"dtype":"5","shape":[2],"data_offsets":[0,8]}}""", 8, "a.dtype: expected one of")]
    [InlineData("""{"a":{"dtype":"U8, I8","shape":[2],"data_offsets":[0,2]}}""", 2, "a.dtype: expected one of")]
    [InlineData("""{"a":{"dtype":"","shape":[2],"data_offsets":[0,8]}}""", 8, "a.dtype: expected one of")]
    [InlineData("""{"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}}""", 8, "a.dtype: expected a string, found 7")]
    [InlineData("""{"a":{"shape":[2],"data_offsets":[0,8]}}""", 8, "a.dtype: expected a string, found nothing")]
    [InlineData("""{"a":{"dtype":"F32","data_offsets":[0,8]}}""", 8, "a.shape: expected an array, found nothing")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2]}}""", 8, "a.data_offsets: expected an array, found nothing")]
    [InlineData("""{"a":5}""", 0, "a: expected an object, found 5")]
    [InlineData("""{"a":null}""", 0, "a: expected an object, found null")]
    [InlineData("""[1]""", 0, "header: expected an object, found an array of 1")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "b.data_offsets: expected data right behind a, found an overlap of 4 bytes")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "b.data_offsets: expected data right behind a, found an overlap of 8 bytes")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}""", 12, "a.data_offsets: expected data right behind the header, found a gap of 4 bytes")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 9, "expected 70 bytes, as the header describes, found 71")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "header: expected valid JSON, found Duplicate")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"\u0061":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "header: expected valid JSON, found Duplicate")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}""", 8, "header: expected valid JSON, found Duplicate")]
    [InlineData("""{"__metadata__":{"format":7}}""", 0, "__metadata__.format: expected a string, found 7")]
    [InlineData("""{"__metadata__":[]}""", 0, "__metadata__: expected an object")]
    [InlineData("""{"\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", 8, "header: expected valid JSON")]
    [InlineData("""{"a":{"dtype":"\udc00","shape":[2],"data_offsets":[0,8]}}""", 8, "a.dtype: expected a string, found an escape that is no character")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},}""", 8, "header: expected valid JSON")]
    [InlineData("""{"a":NaN}""", 0, "header: expected valid JSON")]
    [InlineData("{ ", 0, "header: expected valid JSON")]
    public void A_wrong_header_is_refused(string header, int dataBytes, string expected)
    {
        System.IO.File.WriteAllBytes(File, RawSafetensors.Bytes(header, dataBytes));

        AssertRefused(expected);
    }

    [Theory]
    [InlineData(0ul, "header length: expected 2 to ")]
    [InlineData(ulong.MaxValue, "header length: expected 2 to ")]
    [InlineData(1ul << 63, "header length: expected 2 to ")]
    [InlineData(200ul, "header length: expected 2 to ")]
    [InlineData(100_000_001ul, "header length: expected 2 to ")]
    public void A_forged_header_length_is_refused(ulong length, string expected)
    {
        System.IO.File.WriteAllBytes(File, RawSafetensors.Bytes(Good, 28, length));

        AssertRefused(expected);
    }

    [Fact]
    public void A_header_beyond_the_limit_is_refused_though_the_file_is_that_long()
    {
        using (var stream = System.IO.File.Create(File))
        {
            stream.Write(RawSafetensors.Bytes("{}", 0, SafetensorsFile.LongestHeader + 1));
            stream.SetLength(SafetensorsFile.LongestHeader + 100L);
        }

        AssertRefused("header length: expected 2 to 100000000 in a file of");
    }

    [Fact]
    public void A_file_cut_anywhere_is_refused()
    {
        byte[] whole = RawSafetensors.Bytes(Good, 28);
        for (int length = 0; length < whole.Length; length++)
        {
            System.IO.File.WriteAllBytes(File, whole[..length]);
            Assert.Throws<ModelLoadException>(() => new SafetensorsFile(File));
        }
    }

    [Fact]
    public void Deep_nesting_is_refused()
    {
        System.IO.File.WriteAllBytes(File, RawSafetensors.Bytes(new string('[', 100_000), 0));

        AssertRefused("header: expected valid JSON");
    }

    [Fact]
    public void Bytes_that_are_not_UTF8_are_refused()
    {
        System.IO.File.WriteAllBytes(File, RawSafetensors.Bytes([(byte)'{', (byte)'"', 0xff, (byte)'"', (byte)':', (byte)'1', (byte)'}'], 0));

        AssertRefused("header: expected UTF-8 text");
    }

    [Fact]
    public void A_Git_LFS_pointer_is_recognised()
    {
        System.IO.File.WriteAllText(File, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n");

        AssertRefused("a Git LFS pointer");
    }

    [Fact]
    public void Control_characters_of_a_name_do_not_reach_the_message()
    {
        System.IO.File.WriteAllBytes(File, RawSafetensors.Bytes("""{"a\u001b[31m\n\u202e":5}""", 0));

        var e = Assert.Throws<ModelLoadException>(() => new SafetensorsFile(File));
        Assert.DoesNotContain(e.Message, c => char.IsControl(c) || c == '\u202e');
    }

    [Fact]
    public void Empty_and_missing_files_folders_devices_and_loops_of_links_are_refused()
    {
        AssertRefused("expected a file, found nothing");
        System.IO.File.WriteAllBytes(File, []);
        AssertRefused("found an empty file or a device");
        System.IO.File.Delete(File);
        Directory.CreateDirectory(File);
        AssertRefused("expected a file, found a folder");
        Directory.Delete(File);
        System.IO.File.CreateSymbolicLink(File, "nowhere");
        AssertRefused("which does not exist");
        System.IO.File.Delete(File);
        System.IO.File.CreateSymbolicLink(File, "/dev/zero");
        AssertRefused("found an empty file or a device");
        System.IO.File.Delete(File);
        System.IO.File.CreateSymbolicLink(File, "y");
        System.IO.File.CreateSymbolicLink(_folder["y"], Path.GetFileName(File));
        AssertRefused("cannot be opened");
    }

    [Fact]
    public void Types_and_ranks_that_are_not_computed_with_are_refused_when_needed()
    {
        const string Header = """{"f8":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},"cube":{"dtype":"F16","shape":[1,1,1],"data_offsets":[4,6]},"none":{"dtype":"F32","shape":[0],"data_offsets":[6,6]}}""";
        System.IO.File.WriteAllBytes(File, RawSafetensors.Bytes(Header, 6));
        using var file = new SafetensorsFile(File);

        Assert.Contains("f8: expected dtype F32, F16 or BF16, found F8_E4M3", Fail("f8"), StringComparison.Ordinal);
        Assert.Contains("cube: expected one or two dimensions", Fail("cube"), StringComparison.Ordinal);
        Assert.Contains("none: expected one or two dimensions of 1 to", Fail("none"), StringComparison.Ordinal);
        Assert.Contains("lost: expected a tensor, found nothing", Fail("lost"), StringComparison.Ordinal);

        string Fail(string name) => Assert.Throws<ModelLoadException>(() => file.Tensor(name)).Message;
    }

    private void AssertRefused(string expected)
    {
        var e = Assert.Throws<ModelLoadException>(() => new SafetensorsFile(File));
        Assert.StartsWith(ModelLoadException.Shown(File, 400) + ": ", e.Message, StringComparison.Ordinal);
        Assert.Contains(expected, e.Message, StringComparison.Ordinal);
    }
}
