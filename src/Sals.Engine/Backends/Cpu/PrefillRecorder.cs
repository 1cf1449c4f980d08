using Sals.Engine.Models;

namespace Sals.Engine.Backends.Cpu;

/// <summary>Keeps prompts layer by layer for a <see cref="PrefillShare"/>, which gets one when its last layer is there.</summary>
internal sealed class PrefillRecorder(ModelConfig model)
{
    private readonly List<SharedPrefill> _recorded = [];

    /// <summary>Takes a layer of a prompt from its lane.</summary>
    /// <param name="hidden">[H], of the prompt's last token behind the layer.</param>
    public void Add(PrefillShare share, ReadOnlySpan<int> prompt, int layer, CpuLane lane, int laneOffset, ReadOnlySpan<float> hidden)
    {
        SharedPrefill? shared = null;
        foreach (var other in _recorded)
        {
            shared = other.Prompt.AsSpan().SequenceEqual(prompt) ? other : shared;
        }

        if (shared is null)
        {
            shared = new SharedPrefill(prompt.ToArray(), model);
            _recorded.Add(shared);
        }

        for (var token = 0; token < prompt.Length; token++)
        {
            lane.Load(laneOffset + token, shared.Keys(layer, token), shared.Values(layer, token));
        }

        if (layer == model.LayerCount - 1)
        {
            hidden.CopyTo(shared.Hidden);
            _recorded.Remove(shared);
            share.Add(shared);
        }
    }
}
