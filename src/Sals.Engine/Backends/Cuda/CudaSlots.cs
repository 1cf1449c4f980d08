using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Kernels.SampleToken;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>What the device knows of every slot: length, last token, sampling settings, token counts. Lengths are mirrored on the host.</summary>
internal sealed class CudaSlots : IDisposable
{
    private readonly DeviceArena _arena;
    private readonly int[] _lengths;
    private readonly int[] _latentPages;
    private readonly int _vocabulary;
    private readonly int _words;

    public CudaSlots(CudaStream stream, int slots, int vocabulary)
    {
        _vocabulary = vocabulary;
        _words = (vocabulary + 31) / 32;
        _lengths = new int[slots];
        _latentPages = new int[slots];
        _arena = new DeviceArena("slots", Bytes(slots, vocabulary));
        State = new SamplingState(
            _arena.Take<SlotSampling>(slots),
            _arena.Take<int>(slots + 1),
            _arena.Take<int>(slots + 1),
            _arena.Take<LogitBias>((long)slots * SampleTokenKernel.MaxBias),
            _arena.Take<int>((long)slots * SampleTokenKernel.MaxHeld),
            _arena.Take<ushort>((long)slots * vocabulary),
            _arena.Take<uint>((long)slots * _words));
        stream.Fill(_arena.Start, _arena.Bytes, 0);
    }

    public SamplingState State { get; }

    /// <summary>Tokens in the cache of each slot once the submitted steps are done.</summary>
    public Span<int> Lengths => _lengths;

    /// <summary>Leading latent pages of each slot that have been seen to exist.</summary>
    public Span<int> LatentPages => _latentPages;

    public static long Bytes(int slots, int vocabulary) =>
        DeviceArena.SizeOf<SlotSampling>(slots)
        + (2 * DeviceArena.SizeOf<int>(slots + 1))
        + DeviceArena.SizeOf<LogitBias>((long)slots * SampleTokenKernel.MaxBias)
        + DeviceArena.SizeOf<int>((long)slots * SampleTokenKernel.MaxHeld)
        + DeviceArena.SizeOf<ushort>((long)slots * vocabulary)
        + DeviceArena.SizeOf<uint>((long)slots * ((vocabulary + 31) / 32));

    /// <summary>
    /// Begins a sequence. The copies are from ordinary memory: the driver takes them over before the calls return, which costs microseconds
    /// once a request.
    /// </summary>
    public void Start(CudaStream stream, SlotStart start)
    {
        var (slot, s) = (start.Slot, start.Sampling);
        var held = Math.Min(s.HeldBackIds.Length, SampleTokenKernel.MaxHeld);
        if (s.LogitBias.Length > SampleTokenKernel.MaxBias || held < s.HeldBackIds.Length)
        {
            throw new InvalidOperationException(
                $"At most {SampleTokenKernel.MaxBias} biases and {SampleTokenKernel.MaxHeld} held-back ids fit; given {s.LogitBias.Length} and {s.HeldBackIds.Length}.");
        }

        var counts = s.RepetitionPenalty != 1 || s.PresencePenalty != 0 || s.FrequencyPenalty != 0;
        var settings = new SlotSampling
        {
            Temperature = s.Temperature,
            TopP = s.TopP,
            MinP = s.MinP,
            Presence = s.PresencePenalty,
            Frequency = s.FrequencyPenalty,
            Repetition = s.RepetitionPenalty,
            TopK = s.TopK,
            PromptLength = start.Prompt.Length,
            MinTokens = s.MinTokens,
            BiasCount = s.LogitBias.Length,
            HeldCount = held,
            LogProbabilities = s.LogProbabilities,
            Counts = counts ? 1 : 0,
            Stream = s.Stream,
            Seed = s.Seed,
        };
        _lengths[slot] = 0;
        _latentPages[slot] = 0;
        stream.Fill(State.Length + slot, 1, 0);
        stream.Fill(State.LastToken + slot, 1, 0);
        stream.Upload<SlotSampling>([settings], State.Sampling + slot);
        if (s.LogitBias.Length > 0)
        {
            stream.Upload<LogitBias>([.. s.LogitBias.Select(b => new LogitBias(b.Key, b.Value))], State.Bias + ((long)slot * SampleTokenKernel.MaxBias));
        }

        stream.Upload<int>(s.HeldBackIds, State.Held + ((long)slot * SampleTokenKernel.MaxHeld));
        if (counts)
        {
            var prompt = new uint[_words];
            foreach (var token in start.Prompt.Span)
            {
                prompt[token / 32] |= 1u << (token % 32);
            }

            stream.Upload<uint>(prompt, State.Prompt + ((long)slot * _words));
            stream.Fill(State.Counts + ((long)slot * _vocabulary), _vocabulary, 0);
        }
    }

    public void Dispose() => _arena.Dispose();
}
