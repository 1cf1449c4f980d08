using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;

namespace Sals.Engine.Backends.Cpu;

/// <summary>State of one slot that lives with the backend: length, next input, sampling settings and token counts for penalties.</summary>
internal sealed class CpuSlot
{
    private readonly uint[] _prompt;
    private readonly ushort[] _output;

    public CpuSlot(int vocabularySize)
    {
        _prompt = new uint[(vocabularySize + 31) / 32];
        _output = new ushort[vocabularySize];
    }

    /// <summary>Tokens whose keys and values are in the cache: the position of the next input.</summary>
    public int Length { get; set; }

    /// <summary>Input of the next decode row unless the plan forces another.</summary>
    public int LastToken { get; set; }

    public SamplingOptions Sampling { get; private set; } = new();

    /// <summary>Tokens before the output.</summary>
    public int PromptLength { get; private set; }

    /// <summary>Counts are kept only when a penalty reads them.</summary>
    public bool Counts { get; private set; }

    /// <summary>[V], times each id was an input after the prompt; saturates.</summary>
    public ReadOnlySpan<ushort> OutputCounts => _output;

    public void Start(SlotStart start)
    {
        var s = start.Sampling;
        Length = 0;
        LastToken = 0;
        Sampling = s;
        PromptLength = start.Prompt.Length;
        Counts = s.RepetitionPenalty != 1 || s.PresencePenalty != 0 || s.FrequencyPenalty != 0;
        if (Counts)
        {
            Array.Clear(_prompt);
            Array.Clear(_output);
            foreach (var token in start.Prompt.Span)
            {
                _prompt[token / 32] |= 1u << (token % 32);
            }
        }
    }

    public bool InPrompt(int token) => (_prompt[token / 32] >> (token % 32) & 1) != 0;

    /// <summary>A token became an output: it was sampled and is now the input of a decode row, or was forced there.</summary>
    public void CountOutput(int token)
    {
        if (Counts && _output[token] < ushort.MaxValue)
        {
            _output[token]++;
        }
    }
}
