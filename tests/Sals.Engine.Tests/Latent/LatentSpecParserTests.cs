using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Xunit;

namespace Sals.Engine.Tests.Latent;

public class LatentSpecParserTests
{
    [Theory]
    [InlineData("sals-25", 256, 128, 64, 4)]
    [InlineData("sals-12.5", 256, 64, 32, 2)]
    [InlineData("sals-25", 512, 256, 128, 4)]
    [InlineData("sals-25", 1024, 512, 192, 4)] // 192 of every 1,024 channels at most
    [InlineData("sals-12.5", 1024, 256, 128, 2)]
    [InlineData("sals-25", 4096, 2048, 768, 4)]
    [InlineData("sals-12.5", 4096, 1024, 512, 2)]
    [InlineData("sals-25", 32, 16, 16, 4)] // 8 scored coordinates rounded up to 16
    public void Presets_resolve_for_the_key_width(string preset, int width, int rank, int scoreRank, int bits)
    {
        var spec = LatentSpecParser.Parse(preset, [], LatentModels.Config(keyValueHeads: width / 32, headSize: 32, heads: width / 32));
        Assert.Equal((rank, scoreRank, bits, 32), (spec.Rank, spec.ScoreRank, spec.ValueBits, spec.ValueGroup));
        Assert.Equal((16, 64, 3072, true, LatentFormat.Int8), (spec.SinkTokens, spec.RecentTokens, spec.DenseBelow, spec.Centred, spec.LatentFormat));
        Assert.Equal(preset, spec.Name);
    }

    [Theory]
    [InlineData("sals-25", "bf16", LatentFormat.BFloat16, 256)]
    [InlineData("sals-12.5", "bf16", LatentFormat.BFloat16, 128)]
    [InlineData("sals-12.5", "float32", LatentFormat.Float32, 128)]
    public void Sixteen_bit_latents_are_the_plain_method_of_the_paper(string preset, string name, LatentFormat format, int rank)
    {
        var spec = LatentSpecParser.Parse(preset, [$"latent_format={name}"], LatentModels.Config(keyValueHeads: 8, headSize: 128, heads: 8));
        Assert.Equal((rank, rank / 2, false, format), (spec.Rank, spec.ScoreRank, spec.Centred, spec.LatentFormat));
    }

    [Theory]
    [InlineData("sals-25", 4096, 4, 2048, 768)]
    [InlineData("sals-12.5", 4096, 8, 1024, 512)]
    [InlineData("sals-25", 4096, 16, 2048, 768)]
    [InlineData("sals-12.5", 256, 4, 64, 64)] // 8 scored coordinates a group rounded up to 16
    [InlineData("sals-25", 160, 5, 80, 80)]
    [InlineData("sals-25", 1024, 8, 512, 256)] // 192 rounded up
    [InlineData("sals-25", 1024, 16, 512, 256)]
    [InlineData("sals-25", 2048, 32, 1024, 512)]
    public void Shares_are_rounded_for_every_group(string preset, int width, int groups, int rank, int scoreRank)
    {
        var spec = LatentSpecParser.Parse(preset, [$"basis_groups={groups}"], LatentModels.Config(keyValueHeads: width / 32, headSize: 32, heads: width / 32));
        Assert.Equal((groups, rank, scoreRank, rank / groups), (spec.BasisGroups, spec.Rank, spec.ScoreRank, spec.GroupRank));
    }

    [Theory]
    [InlineData(8, 128, 1)]
    [InlineData(32, 128, 4)]
    [InlineData(32, 64, 2)]
    [InlineData(40, 128, 5)]
    [InlineData(16, 128, 2)]
    [InlineData(12, 128, 2)]
    [InlineData(12, 64, 1)]
    [InlineData(20, 128, 4)] // 3 do not divide 20 heads
    [InlineData(71, 64, 1)] // nor does anything else than heads alone 71
    public void A_basis_joins_at_most_1024_channels(int keyHeads, int headSize, int groups)
    {
        var model = LatentModels.Config(keyValueHeads: keyHeads, headSize: headSize, heads: keyHeads);
        Assert.Equal(groups, LatentSpecParser.Parse("sals-25", [], model).BasisGroups);
        Assert.Equal(1, LatentSpecParser.Parse("sals-12.5", ["basis_groups=1"], model).BasisGroups);
    }

    [Fact]
    public void Scored_codes_of_many_groups_stay_within_what_32_bits_hold()
    {
        var spec = LatentSpecParser.Parse("sals-25", ["basis_groups=5"], LatentModels.Config(keyValueHeads: 40, headSize: 128, heads: 40));
        Assert.Equal((2560, 960), (spec.Rank, spec.ScoreRank));
    }

    [Theory]
    [InlineData(1, new[] { 0 }, new int[0])]
    [InlineData(2, new[] { 0, 1 }, new int[0])]
    [InlineData(4, new[] { 0, 3 }, new[] { 1, 2 })]
    [InlineData(5, new[] { 0, 1, 4 }, new[] { 2, 3 })]
    [InlineData(8, new[] { 0, 1, 7 }, new[] { 2, 3, 4, 5, 6 })]
    public void Default_dense_layers(int layers, int[] dense, int[] sparse)
    {
        var spec = LatentSpecParser.Parse("sals-25", [], LatentModels.Config(layers));
        Assert.Equal(dense, spec.DenseLayers);
        Assert.Equal(sparse, spec.SparseLayers);
        Assert.Equal(sparse.Length == 0, spec.IsDense);
    }

    [Theory]
    [InlineData(100, 432)]
    [InlineData(3456, 432)]
    [InlineData(3464, 433)]
    [InlineData(16384, 2048)]
    [InlineData(131072, 2048)]
    public void Critical_count_is_an_eighth_within_bounds(int length, int expected) =>
        Assert.Equal(expected, LatentSpecParser.Parse("sals-25", [], LatentModels.Config()).CriticalCount(length));

    [Theory]
    [InlineData("critical=100", 5000, 100)]
    [InlineData("sparsity=8", 1024, 128)]
    [InlineData("sparsity=8", 4, 1)]
    [InlineData("sparsity=4", 131072, 32768)]
    [InlineData("critical_max=500", 131072, 500)]
    public void Critical_count_settings(string setting, int length, int expected) =>
        Assert.Equal(expected, LatentSpecParser.Parse("sals-25", [setting], LatentModels.Config()).CriticalCount(length));

    [Fact]
    public void Every_value_is_a_setting()
    {
        var spec = LatentSpecParser.Parse(
            "sals-12.5",
            ["rank_ratio=0.5", "score_ratio=0.25", "sink_tokens=4", "recent_tokens=100", "value_bits=3", "value_group=64", "dense_layers=-1,1", "dense_below=0", "dense_format=int8", "latent_format=int8", "critical=7"],
            LatentModels.Config());
        Assert.True(spec.DenseInt8 && spec.HasCodedPages);
        Assert.Equal((128, 32, 4, 100), (spec.Rank, spec.ScoreRank, spec.SinkTokens, spec.RecentTokens));
        Assert.Equal((3, 64, 0, LatentFormat.Int8, true), (spec.ValueBits, spec.ValueGroup, spec.DenseBelow, spec.LatentFormat, spec.Centred));
        Assert.Equal([1, 7], spec.DenseLayers);
        Assert.Equal(7, spec.CriticalCount(100_000));
        Assert.Equal([0, 1, 2, 3, 4, 5, 6, 7], LatentSpecParser.Parse("sals-25", ["dense_layers=none"], LatentModels.Config()).SparseLayers);
    }

    [Theory]
    [InlineData("rank_ratio=0", "rank_ratio=0: expected a number over 0")]
    [InlineData("rank_ratio=nan", "rank_ratio=nan: expected a number over 0")]
    [InlineData("rank=257", "rank=257: expected a whole number from 1 to 256")]
    [InlineData("score_rank=129", "score_rank=129: expected a whole number from 1 to 128")]
    [InlineData("sink_tokens=65", "sink_tokens=65: expected a whole number from 0 to 64")]
    [InlineData("recent_tokens=0", "recent_tokens=0: expected a whole number from 1")]
    [InlineData("critical=0", "critical=0: expected a whole number of at least 1")]
    [InlineData("sparsity=x", "sparsity=x: expected a whole number of at least 1")]
    [InlineData("value_bits=5", "value_bits=5: expected 2, 3, 4 or 16")]
    [InlineData("value_group=48", "value_group=48: expected a multiple of 32")]
    [InlineData("value_group=96", "that divides the key width D = 256")]
    [InlineData("dense_layers=8", "8 is no layer of a model with 8 layers")]
    [InlineData("dense_layers=-9", "-9 is no layer")]
    [InlineData("dense_below=-1", "dense_below=-1: expected a whole number of at least 0")]
    [InlineData("dense_format=bf16", "dense_format=bf16: expected exact or int8")]
    [InlineData("latent_format=fp8", "latent_format=fp8: expected float32, bf16, int8 or int4")]
    [InlineData("centred=yes", "centred=yes: expected true or false")]
    [InlineData("critical_min=4096", "critical_min=4096: is more than critical_max=2048")]
    [InlineData("score_rope=pages", "score_rope=pages: expected none or bands")]
    [InlineData("value_rotation=yes", "value_rotation=yes: expected none or hadamard")]
    [InlineData("basis_groups=0", "basis_groups=0: expected a whole number from 1 to 4")]
    [InlineData("basis_groups=3", "basis_groups=3: expected a divisor of the model's 4 KV heads")]
    [InlineData("score_heads=max", "score_heads=max: expected sum or zscore")]
    [InlineData("critical_mass=1", "critical_mass=1: expected a number over 0 and below 1")]
    [InlineData("critical_mass=0", "critical_mass=0: expected a number over 0")]
    [InlineData("layer_ranks=64,64", "layer_ranks=64,64: expected 5 multiples of 16 up to the key width D = 256")]
    [InlineData("layer_ranks=64,64,64,64,24", "expected 5 multiples of 16")]
    [InlineData("layer_ranks=64,64,64,64,272", "expected 5 multiples of 16")]
    [InlineData("layer_ranks=64,,64,64,64", "expected 5 multiples of 16")]
    [InlineData("ranks=4", "ranks: no such setting")]
    [InlineData("rank", "rank: expected KEY=VALUE")]
    public void A_wrong_value_is_named(string setting, string message)
    {
        var error = Assert.Throws<LatentSpecException>(() => LatentSpecParser.Parse("sals-25", [setting], LatentModels.Config()));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.Single(error.Errors);
    }

    [Theory]
    [InlineData("critical_mass=0.5", "sparsity=8")]
    [InlineData("critical_mass=0.5", "critical=8")]
    [InlineData("layer_ranks=64,64,64,64,64", "rank=64")]
    [InlineData("layer_ranks=64,64,64,64,64", "rank_ratio=0.25")]
    public void Settings_that_exclude_each_other(string one, string other) =>
        Assert.Contains("give one of the two", Assert.Throws<LatentSpecException>(() => LatentSpecParser.Parse("sals-25", [one, other], LatentModels.Config())).Message, StringComparison.Ordinal);

    [Fact]
    public void Ranks_of_their_own_score_as_many_coordinates_in_every_layer()
    {
        var spec = LatentSpecParser.Parse("sals-25", ["layer_ranks=96,96,128,160,160"], LatentModels.Config());
        Assert.Equal((160, 64), (spec.Rank, spec.ScoreRank));
        Assert.Equal([(2, 96), (4, 128), (6, 160)], new[] { 2, 4, 6 }.Select(layer => (layer, spec.RankOf(layer))));
        Assert.Equal(16, LatentSpecParser.Parse("sals-25", ["layer_ranks=16,96,128,160,160"], LatentModels.Config()).ScoreRank);
        Assert.Throws<LatentSpecException>(() => LatentSpecParser.Parse("sals-25", ["layer_ranks=16,96,128,160,160", "score_rank=32"], LatentModels.Config()));
    }

    [Fact]
    public void A_mass_leaves_the_number_to_the_scores()
    {
        var spec = LatentSpecParser.Parse("sals-25", ["critical_mass=0.5"], LatentModels.Config());
        Assert.Equal((1, int.MaxValue), (spec.LeastCount(5000), spec.CriticalCount(5000)));
        var bound = LatentSpecParser.Parse("sals-25", ["critical_mass=0.5", "critical_min=10", "critical_max=500"], LatentModels.Config());
        Assert.Equal((10, 500), (bound.LeastCount(5000), bound.CriticalCount(5000)));
        var plain = LatentSpecParser.Parse("sals-25", [], LatentModels.Config());
        Assert.Equal((625, 625), (plain.LeastCount(5000), plain.CriticalCount(5000)));
    }

    [Theory]
    [InlineData("score_heads=zscore")]
    [InlineData("critical_mass=0.5")]
    [InlineData("layer_ranks=64,64,64,64,64")]
    [InlineData("latent_format=int4")]
    public void What_the_gpu_cannot_keep_is_refused_by_name(string setting) =>
        Assert.StartsWith(setting + ": the CUDA backend ", CudaBackend.Unsupported(LatentSpecParser.Parse("sals-25", [setting], LatentModels.Config()), LatentModels.Config()), StringComparison.Ordinal);

    [Fact]
    public void Ranks_that_the_groups_cannot_share_are_named()
    {
        var error = Assert.Throws<LatentSpecException>(() => LatentSpecParser.Parse("sals-25", ["basis_groups=4", "rank=66", "score_rank=33"], LatentModels.Config()));
        Assert.Equal(2, error.Errors.Count);
        Assert.Contains("rank=66: expected a multiple of basis_groups=4", error.Errors[0], StringComparison.Ordinal);
        Assert.Contains("score_rank=33: expected a multiple of basis_groups=4", error.Errors[1], StringComparison.Ordinal);
    }

    [Fact]
    public void All_wrong_values_are_named_at_once()
    {
        var error = Assert.Throws<LatentSpecException>(() => LatentSpecParser.Parse(
            "sals-25", ["value_bits=7", "sink_tokens=-1", "latent_format=int8", "centred=false", "critical=3", "sparsity=2"], LatentModels.Config()));
        Assert.Equal(4, error.Errors.Count);
    }

    [Fact]
    public void Dense_takes_only_its_format_and_unknown_presets_are_refused()
    {
        Assert.True(LatentSpecParser.Parse("dense", [], LatentModels.Config()) is { IsDense: true, DenseInt8: false });
        Assert.True(LatentSpecParser.Parse("dense", ["dense_format=int8"], LatentModels.Config()) is { IsDense: true, DenseInt8: true });
        Assert.Contains("no meaning", Assert.Throws<LatentSpecException>(() => LatentSpecParser.Parse("dense", ["rank=3"], LatentModels.Config())).Message, StringComparison.Ordinal);
        Assert.Contains("sals-25, sals-12.5, dense", Assert.Throws<LatentSpecException>(() => LatentSpecParser.Parse("kivi", [], LatentModels.Config())).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("sals-25", "sink_tokens=3")]
    [InlineData("sals-12.5", "latent_format=bf16")]
    [InlineData("sals-12.5", "dense_format=int8")]
    [InlineData("dense", "dense_format=int8")]
    [InlineData("sals-25", "dense_layers=none")]
    [InlineData("sals-25", "score_rope=bands")]
    [InlineData("sals-25", "value_rotation=hadamard")]
    [InlineData("sals-12.5", "latent_format=int4")]
    [InlineData("sals-25", "basis_groups=2")]
    [InlineData("sals-12.5", "score_heads=zscore")]
    [InlineData("sals-25", "critical_mass=0.725")]
    [InlineData("sals-25", "layer_ranks=96,96,128,160,160")]
    public void A_description_parses_to_itself(string preset, string setting)
    {
        var model = LatentModels.Config();
        var text = LatentSpecParser.Parse(preset, [setting], model).Describe();
        Assert.Equal(text, LatentSpecParser.Parse(preset, text.Split(' ')[1..], model).Describe());
    }
}
