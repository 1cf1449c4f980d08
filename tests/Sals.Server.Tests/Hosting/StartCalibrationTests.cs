using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Sals.Server.Tests.Flow;
using Xunit;

namespace Sals.Server.Tests.Hosting;

/// <summary>Explicit presets on a model folder without a basis.</summary>
public sealed class StartCalibrationTests : IDisposable
{
    private static readonly string Micro = Path.Combine(AppContext.BaseDirectory, "..", "..", "..", "..", "golden", "micro-gpu", "llama31-gqa-d64-rope-scaled");
    private readonly string _root = Directory.CreateTempSubdirectory("sals-start-").FullName;
    private readonly List<string> _said = [];

    [Fact]
    public void An_explicit_preset_makes_the_basis_once_and_says_where()
    {
        using var model = ModelFolder.Open(Micro);
        var first = Resolve(model, "sals-25");
        var file = Path.Combine(_root, "bases", $"{ModelFingerprint.Of(model.Weights)}.safetensors");
        Assert.Contains(file, Assert.Single(_said));
        Assert.Contains("at most 1200 s", _said[0]);
        Assert.Contains("sals calibrate --model micro --data FILE...", _said[0]);
        Assert.Equal([file], Directory.GetFileSystemEntries(Path.GetDirectoryName(file)!)); // no state left behind
        Assert.Equal(64L * model.Config.KeyWidth / 1024 * 1024, LatentBasisFile.ReadAll(file).Origin.TokenCount);

        var second = Resolve(model, "sals-12.5");
        Assert.Single(_said);
        Assert.Equal(LatentPresets.RoundedShare(0.25, model.Config.KeyWidth), second.Spec.Rank);
        Assert.NotNull(first.Basis);
        Assert.NotNull(second.Basis);
    }

    [Fact]
    public void A_basis_of_too_low_a_rank_is_made_again()
    {
        using var model = ModelFolder.Open(Micro);
        Resolve(model, "sals-25");
        var wide = Resolve(model, "sals-25", "rank_ratio=1");
        Assert.Equal(2, _said.Count);
        Assert.Contains("--ranks 1", _said[1]);
        Assert.Equal(model.Config.KeyWidth, wide.Basis!.Layer(wide.Spec.SparseLayers[0]).Rank);
    }

    [Fact]
    public void Groups_have_a_file_of_their_own()
    {
        using var model = ModelFolder.Open(Micro);
        Resolve(model, "sals-25");
        var grouped = Resolve(model, "sals-25", "basis_groups=2");
        Assert.Equal(2, _said.Count);
        Assert.Contains("--basis-groups 2", _said[1]);
        Assert.Equal(2, LatentBasisFile.ReadAll(Path.Combine(_root, "bases", $"{ModelFingerprint.Of(model.Weights)}-groups-2.safetensors")).Origin.Groups);
        Assert.Equal(2, grouped.Spec.BasisGroups);
        Assert.Equal(("sals-basis.safetensors", "sals-basis-groups-4.safetensors"), (CacheSettings.BasisNameOf(1), CacheSettings.BasisNameOf(4)));
        Resolve(model, "sals-25");
        Resolve(model, "sals-12.5", "basis_groups=2");
        Assert.Equal(2, _said.Count);
    }

    [Fact]
    public void Auto_without_a_basis_is_dense_and_says_why()
    {
        using var model = ModelFolder.Open(Micro);
        var cache = Resolve(model, "auto");
        Assert.True(cache.Spec.IsDense);
        Assert.StartsWith("Cache: dense, because there is no basis", cache.Note);
        Assert.Contains("--kv-cache sals-25", cache.Note);
        Assert.Null(Resolve(model, "dense").Note);
        Assert.Empty(_said);
    }

    [Fact]
    public void Latents_are_the_same_on_both_devices_and_what_the_kernels_cannot_keep_is_named()
    {
        using var model = ModelFolder.Open(Micro);
        Assert.Equal(LatentFormat.Int8, Resolve(model, "sals-25").Spec.LatentFormat);
        Assert.Equal(LatentFormat.Int8, Resolve(model, "sals-25", gpu: true).Spec.LatentFormat);
        foreach (var setting in new[] { "latent_format=float32", "rank=17", "score_rank=5", "latent_format=int4", "value_rotation=hadamard" })
        {
            Assert.StartsWith($"--sals {setting}: the CUDA backend", Assert.Throws<SettingException>(() => Resolve(model, "sals-25", setting, gpu: true)).Message, StringComparison.Ordinal);
        }

        var grouped = LatentSpecParser.Parse("sals-25", ["basis_groups=2", "rank=48"], model.Config);
        Assert.Equal("rank=48: the CUDA backend needs a multiple of 16 for each of the basis_groups=2.", CudaBackend.Unsupported(grouped, model.Config));
    }

    [Fact]
    public void Without_a_tokenizer_the_refusal_names_the_command()
    {
        using var model = ModelFolder.Open(Micro);
        var refusal = Assert.Throws<SettingException>(() => Resolve(model, "sals-25", tokenizer: false));
        Assert.Equal("--kv-cache sals-25: there is no basis, and without a tokenizer (--skip-tokenizer-init) none can be made; make one with: sals calibrate --model micro --data FILE...", refusal.Message);
    }

    [Fact]
    public void A_model_too_slow_for_the_limit_is_refused_and_leaves_nothing()
    {
        using var model = ModelFolder.Open(Micro);
        var refusal = Assert.Throws<SettingException>(() => Resolve(model, "sals-25", limit: TimeSpan.FromTicks(1)));
        Assert.EndsWith("make one with: sals calibrate --model micro --data FILE...", refusal.Message);
        Assert.Empty(Directory.GetFileSystemEntries(Path.Combine(_root, "bases")));
    }

    [Fact]
    public void A_text_that_is_too_short_is_refused()
    {
        using var model = ModelFolder.Open(Micro);
        var refusal = Assert.Throws<SettingException>(() => Resolve(model, "sals-25", characters: 100));
        Assert.Contains("100 tokens", refusal.Message);
    }

    [Fact]
    public void The_bundled_text_is_enough_for_keys_of_1024_channels()
    {
        var text = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "CalibrationText", "calibration.txt"));
        Assert.InRange(text.Length / 4.5, 60_000, 100_000);
        Assert.InRange(text.Split('\f').Length, 20, 40);
    }

    [Theory]
    [InlineData("/cache", "/home/a", "/cache/sals/bases")]
    [InlineData("", "/home/a", "/home/a/.cache/sals/bases")]
    public void Bases_lie_in_the_cache_folder_of_the_user(string cache, string home, string expected) =>
        Assert.Equal(expected, StartCalibration.FolderOf(name => name == "XDG_CACHE_HOME" ? cache : name == "HOME" ? home : null));

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private CacheSettings Resolve(ModelFolder model, string preset, string? setting = null, bool tokenizer = true, TimeSpan? limit = null, int characters = 40_000, bool gpu = false)
    {
        var random = new Random(5);
        var text = Path.Combine(_root, "text.txt");
        File.WriteAllText(text, string.Concat(Enumerable.Range(0, characters).Select(_ => (char)random.Next('!', '~'))));
        var calibration = new StartCalibration(text, Path.Combine(_root, "bases"), limit ?? TimeSpan.FromMinutes(20), TimeProvider.System);
        var options = SalsOptions.Default with { Model = "micro", KvCache = preset, CacheSettings = setting is null ? [] : [setting] };
        return CacheSettings.Resolve(options, Micro, model, tokenizer ? new NumberTokenizer() : null, gpu, calibration, _said.Add);
    }
}
