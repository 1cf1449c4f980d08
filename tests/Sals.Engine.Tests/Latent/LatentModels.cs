using Sals.Engine.Models;

namespace Sals.Engine.Tests.Latent;

/// <summary>Sizes for tests that need a <see cref="ModelConfig"/> and no weights.</summary>
internal static class LatentModels
{
    public static ModelConfig Config(int layers = 8, int keyValueHeads = 4, int headSize = 64, int heads = 8) => new()
    {
        Architecture = ModelArchitecture.Llama,
        LayerCount = layers,
        HiddenSize = heads * headSize,
        IntermediateSize = 64,
        VocabularySize = 320,
        HeadCount = heads,
        KeyValueHeadCount = keyValueHeads,
        HeadSize = headSize,
        RmsNormEpsilon = 1e-5f,
        TiedEmbeddings = false,
        QueryKeyValueBias = false,
        OutputBias = false,
        MlpBias = false,
        QueryKeyNorm = false,
        Rope = new RopeSettings { Theta = 10000 },
        MaxModelLength = 8192,
        EndTokenIds = [],
    };
}
