using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;

namespace Sals.Engine.Backends.Cuda.Benchmarks;

/// <summary>The attention of one layer, from queries to head outputs, of <paramref name="Batch"/> rows.</summary>
/// <param name="Heads">HQ/HK.</param>
/// <param name="Microseconds">Of one layer: all its launches as they follow each other in a graph over many layers, and for a compressed one its shares of the
/// scoring query's projection and of the flush.</param>
/// <param name="Bytes">Of cache read.</param>
/// <param name="FloorMicroseconds">The bytes at the read rate of the run, or where that is longer the reconstruction at its bf16 matrix rate; scoring and reading apart.</param>
/// <param name="Problem">Why there is no figure; null otherwise.</param>
public sealed record OperatorFigure(
    string Heads, string Cache, int Batch, int Context, double Microseconds, long Bytes, double BytesPerSecond, double FloorMicroseconds, double FloorShare,
    IReadOnlyList<KernelFigure> Stages, string? Problem = null);

/// <summary>
/// Times the attention operator alone with the backend's own forward: a model of as many like layers as make the caches of a step exceed L2 several times,
/// of which only the operator's launches run.
/// </summary>
public static class OperatorBench
{
    /// <summary>Several times any L2.</summary>
    private const long Rotation = 160L << 20;

    private const int HeadSize = 128;
    private const int Hidden = 4096;

    private static readonly int[] LayerCounts = [1, 2, 4, 16, 32, 64];

    /// <summary>Every batch and context with one cache and one shape. Points that do not fit come back with a problem.</summary>
    /// <param name="words">Preset and KEY=VALUE changes, as <see cref="LatentSpecParser"/> reads them.</param>
    public static IEnumerable<OperatorFigure> Run(int heads, int keyHeads, string cache, string[] words, int[] batches, int[] contexts, CudaCeilings ceilings, CudaBackendOptions options)
    {
        var longest = contexts.Max() + CudaBench.OperatorTail;
        var points = batches.SelectMany(batch => contexts.Select(context => (batch, context))).ToLookup(p => Layers(p.batch, p.context));
        foreach (var group in points)
        {
            var model = Shape(heads, keyHeads, group.Key, longest);
            var spec = Spec(words, model);
            using var weights = RandomWeights.Of(model);
            var settings = options with
            {
                Slots = batches.Max(),
                MaxModelLength = longest,
                ShortenToFit = true,
                Spec = spec,
                SampleableVocabulary = null,
                Graphs = false,
                MemoryUtilization = 0.96,
                Basis = spec.IsDense ? null : RandomLatentBasis.Of(spec, model),
            };
            using var bench = new CudaBench(weights, settings, cache, ceilings);
            foreach (var (batch, context) in group)
            {
                yield return bench.Operator($"{heads}/{keyHeads}", batch, context)
                    ?? new OperatorFigure($"{heads}/{keyHeads}", cache, batch, context, 0, 0, 0, 0, 0, [], "does not fit the device's memory");
            }
        }

        int Layers(int batch, int context)
        {
            var model = Shape(heads, keyHeads, 1, longest);
            var read = batch * CacheTraffic.BytesRead(new PageLayout(model, Spec(words, model), ElementType.BFloat16), context);
            var enough = LayerCounts.FirstOrDefault(count => count * read >= Rotation, LayerCounts[^1]);

            // bases of many heads are large, and what they multiply is read from them too
            return keyHeads > 8 ? Math.Min(enough, 32) : enough;
        }
    }

    private static LatentSpec Spec(string[] words, ModelConfig model) =>
        LatentSpecParser.Parse(words[0], words[0] == "dense" ? [] : [.. words[1..], "dense_layers=none"], model);

    private static ModelConfig Shape(int heads, int keyHeads, int layers, int length) => new()
    {
        Architecture = ModelArchitecture.Llama,
        LayerCount = layers,
        HiddenSize = Hidden,
        IntermediateSize = 256,
        VocabularySize = 512,
        HeadCount = heads,
        KeyValueHeadCount = keyHeads,
        HeadSize = HeadSize,
        RmsNormEpsilon = 1e-5f,
        TiedEmbeddings = true,
        QueryKeyValueBias = false,
        OutputBias = false,
        MlpBias = false,
        QueryKeyNorm = false,
        Rope = new RopeSettings { Theta = 500_000 },
        MaxModelLength = length,
        EndTokenIds = [],
    };
}
