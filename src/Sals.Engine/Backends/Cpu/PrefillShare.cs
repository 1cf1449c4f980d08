using Sals.Engine.Models;

namespace Sals.Engine.Backends.Cpu;

/// <summary>
/// Exact keys and values of whole prompts, handed from one CPU backend to others of the same weights, whatever their caches: a prefill is exact with every
/// cache, so an evaluation that puts one prompt to many caches computes it once. Its bytes are the user's business: see <see cref="Clear"/>. Thread-safe.
/// </summary>
public sealed class PrefillShare
{
    private readonly Lock _gate = new();
    private readonly List<SharedPrefill> _prompts = [];

    /// <summary>Forgets all prompts.</summary>
    public void Clear()
    {
        lock (_gate)
        {
            _prompts.Clear();
        }
    }

    /// <summary>A prompt whose every layer is there; null otherwise.</summary>
    internal SharedPrefill? Find(ReadOnlySpan<int> prompt)
    {
        lock (_gate)
        {
            foreach (var shared in _prompts)
            {
                if (shared.Prompt.AsSpan().SequenceEqual(prompt))
                {
                    return shared;
                }
            }

            return null;
        }
    }

    internal void Add(SharedPrefill prompt)
    {
        lock (_gate)
        {
            _prompts.Add(prompt);
        }
    }
}

/// <param name="model">Of the weights that computed it.</param>
internal sealed class SharedPrefill(int[] prompt, ModelConfig model)
{
    private readonly float[] _rows = GC.AllocateUninitializedArray<float>(checked(model.LayerCount * prompt.Length * 2 * model.KeyWidth));

    public int[] Prompt { get; } = prompt;

    /// <summary>[H], last hidden state of the last token.</summary>
    public float[] Hidden { get; } = new float[model.HiddenSize];

    /// <summary>Keys of one token after rope, [HK, DH].</summary>
    public Span<float> Keys(int layer, int token) => _rows.AsSpan(((layer * Prompt.Length) + token) * 2 * model.KeyWidth, model.KeyWidth);

    /// <summary>Values of one token, [HK, DH].</summary>
    public Span<float> Values(int layer, int token) => _rows.AsSpan((((layer * Prompt.Length) + token) * 2 * model.KeyWidth) + model.KeyWidth, model.KeyWidth);
}
