using Sals.Engine.Models;
using Sals.Testing;

namespace Sals.Gpu.Tests.Backends;

/// <summary>A model whose weights have been rounded to bf16, to nearest even as the CUDA backend does when it loads them.</summary>
internal static class Bf16Weights
{
    public static ModelWeights Of(ModelWeights weights)
    {
        var embedding = Rounded(weights.Embedding);
        return new ModelWeights(
            weights.Config,
            embedding,
            [
                .. weights.Layers.Select(l => new LayerWeights
                {
                    InputNorm = Rounded(l.InputNorm),
                    Query = Rounded(l.Query),
                    Key = Rounded(l.Key),
                    Value = Rounded(l.Value),
                    Output = Rounded(l.Output),
                    PostAttentionNorm = Rounded(l.PostAttentionNorm),
                    Gate = Rounded(l.Gate),
                    Up = Rounded(l.Up),
                    Down = Rounded(l.Down),
                    QueryBias = Optional(l.QueryBias),
                    KeyBias = Optional(l.KeyBias),
                    ValueBias = Optional(l.ValueBias),
                    OutputBias = Optional(l.OutputBias),
                    GateBias = Optional(l.GateBias),
                    UpBias = Optional(l.UpBias),
                    DownBias = Optional(l.DownBias),
                    QueryNorm = Optional(l.QueryNorm),
                    KeyNorm = Optional(l.KeyNorm),
                }),
            ],
            Rounded(weights.FinalNorm),
            weights.Config.TiedEmbeddings ? embedding : Rounded(weights.Head),
            new MemoryStream());
    }

    private static ArrayTensor? Optional(Tensor? tensor) => tensor is null ? null : Rounded(tensor);

    private static ArrayTensor Rounded(Tensor tensor)
    {
        var values = new float[tensor.ElementCount];
        tensor.Read(0, tensor.Rows, values);
        return new ArrayTensor(tensor.Name, tensor.Rows, tensor.Columns, ElementType.Float32, Bf16.Widen(Bf16.Narrow(values)));
    }
}
