using System.Text.Json;
using Sals.Engine.Backends;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Tests.Models;
using Sals.Engine.Text;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Latent;

public class CalibratorTests
{
    private static readonly ModelConfig Config = TinyModel.Config(256) with { QueryKeyValueBias = true };

    public static TheoryData<string> Checkpoints() =>
        [.. from folder in Directory.GetDirectories(Path.Combine(GoldenFolders.Root, "tests", "golden", "micro")).Order(StringComparer.Ordinal)
            select Path.GetRelativePath(GoldenFolders.Root, folder)];

    [Theory]
    [MemberData(nameof(Checkpoints))]
    public void Key_statistics_equal_hugging_face_s_in_every_layer(string name)
    {
        var folder = Path.Combine(GoldenFolders.Root, name);
        using var model = ModelFolder.Open(folder);
        using var backend = Backend(model.Weights);
        var golden = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "golden.json"))).RootElement;
        int[] ids = [.. golden.GetProperty("prompts").EnumerateArray().Select(p => p.GetProperty("ids")).MaxBy(x => x.GetArrayLength()).EnumerateArray().Select(x => x.GetInt32())];
        var keys = new CovarianceSet(model.Config.LayerCount, model.Config.KeyWidth);
        backend.AccumulateKeyCovariance(ids, keys);
        foreach (var expected in golden.GetProperty("key_covariance").EnumerateArray())
        {
            var layer = expected.GetProperty("layer").GetInt32();
            Assert.Equal(ids.Length, keys.Count(layer));
            foreach (var (property, centred) in new[] { ("trace_uncentered", false), ("trace_centered", true) })
            {
                var covariance = keys.Covariance(layer, centred);
                var trace = Enumerable.Range(0, keys.Width).Sum(i => covariance[i * keys.Width + i]);
                Assert.Equal(1, trace / expected.GetProperty(property).GetDouble(), 1e-4);
            }
        }
    }

    [Fact]
    public void Interrupted_anywhere_and_resumed_the_file_is_the_same()
    {
        using var folder = new TemporaryFolder();
        using var weights = TinyModel.Build(Config);
        using var backend = Backend(weights);
        var text = Text(5, 40);
        New(backend, weights, text, folder["state"]).Run(folder["whole"], TimeProvider.System, CancellationToken.None);
        for (var stopAfter = 1; stopAfter <= 5 + Config.LayerCount; stopAfter++)
        {
            using var stop = new CancellationTokenSource();
            var steps = 0;
            var interrupted = New(backend, weights, text, folder["state"], _ => StopAt(++steps, stopAfter, stop));
            if (stopAfter < 5 + Config.LayerCount)
            {
                Assert.Throws<OperationCanceledException>(() => interrupted.Run(folder["resumed"], TimeProvider.System, stop.Token));
                Assert.True(Directory.Exists(folder["state"]));
                steps = 0;
                New(backend, weights, text, folder["state"], _ => steps++).Run(folder["resumed"], TimeProvider.System, CancellationToken.None);
                Assert.InRange(steps, Config.LayerCount, 5 + Config.LayerCount - Math.Min(stopAfter, 5));
            }
            else
            {
                interrupted.Run(folder["resumed"], TimeProvider.System, CancellationToken.None);
            }

            Assert.Equal(File.ReadAllBytes(folder["whole"]), File.ReadAllBytes(folder["resumed"]));
            Assert.False(Directory.Exists(folder["state"]));
        }
    }

    [Fact]
    public void Backend_that_gathers_in_groups_adds_the_same_groups_after_an_interruption()
    {
        using var folder = new TemporaryFolder();
        using var weights = TinyModel.Build(Config);
        using var cpu = Backend(weights);
        var text = Text(7, 40);
        using var grouped = new GroupedBackend(cpu, 3);
        New(grouped, weights, text, folder["state"]).Run(folder["whole"], TimeProvider.System, CancellationToken.None);
        Assert.Equal([3, 3, 1], grouped.Collected);
        for (var stopAfter = 1; stopAfter <= 7; stopAfter++)
        {
            using var stop = new CancellationTokenSource();
            var steps = 0;
            using var first = new GroupedBackend(cpu, 3);
            Assert.Throws<OperationCanceledException>(
                () => New(first, weights, text, folder["state"], _ => StopAt(++steps, stopAfter, stop)).Run(folder["resumed"], TimeProvider.System, stop.Token));
            using var second = new GroupedBackend(cpu, 3);
            New(second, weights, text, folder["state"]).Run(folder["resumed"], TimeProvider.System, CancellationToken.None);
            Assert.Equal([3, 3, 1], [.. first.Collected, .. second.Collected]);
            Assert.Equal(File.ReadAllBytes(folder["whole"]), File.ReadAllBytes(folder["resumed"]));
        }
    }

    [Fact]
    public void State_of_another_text_is_not_continued()
    {
        using var folder = new TemporaryFolder();
        using var weights = TinyModel.Build(Config);
        using var backend = Backend(weights);
        using var stop = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => New(backend, weights, Text(3, 30), folder["state"], _ => stop.Cancel()).Run(folder["a"], TimeProvider.System, stop.Token));
        New(backend, weights, Text(4, 40), folder["state"]).Run(folder["b"], TimeProvider.System, CancellationToken.None);
        New(backend, weights, Text(4, 40), folder["other"]).Run(folder["c"], TimeProvider.System, CancellationToken.None);
        Assert.Equal(File.ReadAllBytes(folder["c"]), File.ReadAllBytes(folder["b"]));
    }

    [Fact]
    public void Vectors_are_orthonormal_ordered_and_diagonalise_the_moment()
    {
        using var folder = new TemporaryFolder();
        using var weights = TinyModel.Build(Config);
        using var backend = Backend(weights);
        var text = Text(5, 100);
        New(backend, weights, text, folder["state"]).Run(folder["basis"], TimeProvider.System, CancellationToken.None);
        var keys = new CovarianceSet(Config.LayerCount, Config.KeyWidth);
        foreach (var sequence in text.Sequences)
        {
            backend.AccumulateKeyCovariance(sequence, keys);
        }

        var (origin, layers) = LatentBasisFile.ReadAll(folder["basis"]);
        Assert.Equal(new LatentBasisOrigin(ModelFingerprint.Of(weights), text.Fingerprint, 500), origin);
        Assert.Equal(Config.LayerCount, layers.Count);
        foreach (var layer in layers)
        {
            foreach (var (basis, centred) in new[] { (layer.Uncentred, false), (layer.Centred, true) })
            {
                var moment = keys.Covariance(layer.Layer, centred);
                for (var i = 0; i < basis.Rank; i++)
                {
                    for (var j = 0; j < basis.Rank; j++)
                    {
                        double dot = 0, form = 0;
                        for (var a = 0; a < basis.Width; a++)
                        {
                            dot += (double)basis.Vectors[i * basis.Width + a] * basis.Vectors[j * basis.Width + a];
                            for (var b = 0; b < basis.Width; b++)
                            {
                                form += basis.Vectors[i * basis.Width + a] * moment[a * basis.Width + b] * basis.Vectors[j * basis.Width + b];
                            }
                        }

                        Assert.Equal(i == j ? 1 : 0, dot, 1e-6);
                        Assert.Equal(i == j ? basis.Eigenvalues[i] : 0, form, 1e-5 * basis.Eigenvalues[0]);
                    }

                    Assert.True(i == 0 || basis.Eigenvalues[i] <= basis.Eigenvalues[i - 1]);

                    // the mean of a latent coordinate: of all keys, less what was subtracted
                    var mean = keys.Mean(layer.Layer);
                    Assert.Equal(Enumerable.Range(0, basis.Width).Sum(a => basis.Vectors[i * basis.Width + a] * (mean[a] - basis.Mean[a])), basis.LatentMean[i], 1e-5);
                }
            }
        }
    }

    [Fact]
    public void A_basis_of_another_model_or_too_low_a_rank_is_refused()
    {
        using var folder = new TemporaryFolder();
        using var weights = TinyModel.Build(Config);
        using var other = TinyModel.Build(Config, seed: 2);
        using var backend = Backend(weights);
        string mine = ModelFingerprint.Of(weights), theirs = ModelFingerprint.Of(other);
        Assert.NotEqual(mine, theirs);
        new Calibrator(backend, Config, mine, Text(2, 40), 16, folder["state"]).Run(folder["basis"], TimeProvider.System, CancellationToken.None);
        var spec = LatentSpecParser.Parse("sals-25", ["rank=16", "latent_format=float32"], Config);
        Assert.Equal(16, LatentBasisFile.Read(folder["basis"], spec, Config, mine).Layer(1).Rank);
        var message = Assert.Throws<LatentBasisException>(() => LatentBasisFile.Read(folder["basis"], spec, Config, theirs)).Message;
        Assert.Contains(mine, message, StringComparison.Ordinal);
        Assert.Contains(theirs, message, StringComparison.Ordinal);
        Assert.Contains("holds rank 16, the settings ask for rank 32", Assert.Throws<LatentBasisException>(
            () => LatentBasisFile.Read(folder["basis"], LatentSpecParser.Parse("sals-25", ["rank=32"], Config), Config, mine)).Message, StringComparison.Ordinal);
        File.WriteAllText(folder["text"], "hello");
        Assert.Throws<LatentBasisException>(() => LatentBasisFile.Read(folder["text"], spec, Config, mine));
        Assert.Throws<LatentBasisException>(() => LatentBasisFile.Read(folder["absent"], spec, Config, mine));
    }

    [Fact]
    public void A_smaller_rank_reads_the_leading_vectors()
    {
        using var folder = new TemporaryFolder();
        using var weights = TinyModel.Build(Config);
        using var backend = Backend(weights);
        New(backend, weights, Text(3, 50), folder["state"]).Run(folder["basis"], TimeProvider.System, CancellationToken.None);
        var all = LatentBasisFile.ReadAll(folder["basis"]).Layers[1].Centred;
        var read = LatentBasisFile.Read(folder["basis"], LatentSpecParser.Parse("sals-25", ["rank=16", "centred=true"], Config), Config, ModelFingerprint.Of(weights)).Layer(1);
        Assert.Equal(all.Vectors[..(16 * 32)], read.Vectors);
        Assert.Equal(all.Mean, read.Mean);
        Assert.Equal(6 * MathF.Sqrt(all.Eigenvalues[3]) / 127, read.Scale[3]);
    }

    [Fact]
    public void Text_is_cut_into_whole_sequences_from_all_documents()
    {
        var tokenizer = TokenizerLoader.Open(GoldenFolders.Embedded);
        var documents = string.Join("\n\f\n", Enumerable.Range(0, 7).Select(i => string.Join(' ', Enumerable.Repeat($"word{i}", 60))));
        var text = CalibrationText.Cut([documents], tokenizer, 4, 50);
        Assert.Equal(4, text.Sequences.Count);
        Assert.All(text.Sequences, s => Assert.Equal(50, s.Length));
        Assert.Equal(text.Fingerprint, CalibrationText.Cut([documents], tokenizer, 4, 50).Fingerprint);
        Assert.NotEqual(text.Fingerprint, CalibrationText.Cut([documents], tokenizer, 3, 50).Fingerprint);
        Assert.InRange(CalibrationText.Cut([documents], tokenizer, 1000, 50).Sequences.Count, 5, 100);
        Assert.Contains("at least one sequence of 5000", Assert.Throws<ArgumentException>(() => CalibrationText.Cut(["short"], tokenizer, 1, 5000)).Message, StringComparison.Ordinal);
    }

    /// <summary>Keeps its sums to itself until they are collected, as a device does.</summary>
    private sealed class GroupedBackend(CpuBackend cpu, int group) : ICalibrationBackend
    {
        private CovarianceSet _own = new(Config.LayerCount, Config.KeyWidth);
        private int _sequences;

        /// <summary>Sequences of each collection.</summary>
        public List<int> Collected { get; } = [];

        public int MaxCalibrationLength => cpu.MaxCalibrationLength;

        public int SequenceGroup => group;

        public void AccumulateKeyCovariance(ReadOnlySpan<int> tokens, CovarianceSet keys)
        {
            cpu.AccumulateKeyCovariance(tokens, _own);
            _sequences++;
        }

        public void CollectKeyCovariance(CovarianceSet keys)
        {
            keys.Merge(_own);
            Collected.Add(_sequences);
            (_own, _sequences) = (new CovarianceSet(Config.LayerCount, Config.KeyWidth), 0);
        }

        public void AccumulateQueries(ReadOnlySpan<int> tokens, QueryMoments queries) => cpu.AccumulateQueries(tokens, queries);

        public SymmetricEigen Decompose(double[] matrix, int size) => cpu.Decompose(matrix, size);

        public void Dispose()
        {
            // the CPU backend is the test's
        }
    }

    private static void StopAt(int step, int last, CancellationTokenSource stop)
    {
        if (step == last)
        {
            stop.Cancel();
        }
    }

    private static Calibrator New(ICalibrationBackend backend, ModelWeights weights, CalibrationText text, string state, Action<CalibrationProgress>? progress = null) =>
        new(backend, Config, ModelFingerprint.Of(weights), text, Config.KeyWidth, state) { Progress = progress };

    private static CpuBackend Backend(ModelWeights weights) => new(weights, new CpuBackendOptions
    {
        MaxModelLength = 256,
        CacheBytes = 1 << 20,
        Slots = 1,
        Spec = LatentSpec.Dense(weights.Config.LayerCount),
        Threads = 2,
    });

    private static CalibrationText Text(int count, int length) => new([.. Enumerable.Range(0, count).Select(i => Enumerable.Range(0, length).Select(t => (t * t + 7 * i + 3) % 300).ToArray())], $"text {count} {length}");
}
