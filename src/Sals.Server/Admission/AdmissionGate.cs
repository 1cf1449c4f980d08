namespace Sals.Server.Admission;

/// <summary>
/// Bounds the sequences that are alive, running or waiting. Counts choices, not requests: n = 8 takes eight places. A permit is held until
/// the answer has ended, also when its client has gone. Thread-safe.
/// </summary>
public sealed class AdmissionGate
{
    private readonly TimeProvider _time;
    private readonly int _slots;
    private readonly Lock _lock = new();
    private int _live;
    private double _secondsPerSequence = 1;

    /// <param name="slots">Sequences that run at the same time.</param>
    /// <param name="queue">Sequences that may wait beyond them.</param>
    public AdmissionGate(int slots, int queue, TimeProvider time)
    {
        _slots = slots;
        Capacity = slots + queue;
        _time = time;
    }

    /// <summary>Most sequences that may be alive.</summary>
    public int Capacity { get; }

    public int Live
    {
        get
        {
            lock (_lock)
            {
                return _live;
            }
        }
    }

    /// <param name="sequences">At most <see cref="Capacity"/>.</param>
    /// <param name="retryAfter">Seconds until that many places are likely to be free, from how long sequences took lately; 1 to 60.</param>
    /// <returns>Null when there is no room.</returns>
    public Permit? TryEnter(int sequences, out int retryAfter)
    {
        lock (_lock)
        {
            retryAfter = 0;
            if (_live + sequences > Capacity)
            {
                var missing = _live + sequences - Capacity;
                retryAfter = (int)Math.Clamp(Math.Ceiling(missing * _secondsPerSequence / _slots), 1, 60);
                return null;
            }

            _live += sequences;
            return new Permit(this, sequences, _time.GetTimestamp());
        }
    }

    private void Leave(int sequences, long since)
    {
        var seconds = _time.GetElapsedTime(since).TotalSeconds;
        lock (_lock)
        {
            _live -= sequences;
            // what a sequence costs the server is its time divided by those that ran beside it; the slots divide above
            _secondsPerSequence += (Math.Max(seconds, 0.01) - _secondsPerSequence) / 16;
        }
    }

    /// <summary>Places taken; disposing gives them back, once.</summary>
    public sealed class Permit : IDisposable
    {
        private readonly int _sequences;
        private readonly long _since;
        private AdmissionGate? _gate;

        internal Permit(AdmissionGate gate, int sequences, long since)
        {
            _gate = gate;
            _sequences = sequences;
            _since = since;
        }

        public void Dispose() => Interlocked.Exchange(ref _gate, null)?.Leave(_sequences, _since);
    }
}
