using Sals.Engine;

namespace Sals.Server.Admission;

/// <summary>
/// Notices an engine that has work and ends no step. Progress is steps, not tokens, so that a long prefill is not mistaken for a hang,
/// and an idle engine is well.
/// </summary>
public sealed class Watchdog
{
    private readonly EngineStats _stats;
    private readonly TimeSpan _limit;
    private readonly TimeProvider _time;
    private readonly Lock _lock = new();
    private long _steps = -1;
    private long _progress;

    public Watchdog(EngineStats stats, TimeSpan limit, TimeProvider time)
    {
        _stats = stats;
        _limit = limit;
        _time = time;
        _progress = time.GetTimestamp();
    }

    /// <summary>Looks at the counters; call it several times within the limit.</summary>
    /// <returns>True when there has been work and no step for longer than the limit.</returns>
    public bool Check()
    {
        lock (_lock)
        {
            var now = _time.GetTimestamp();
            var steps = _stats.Steps;
            if (steps != _steps || _stats.Running + _stats.Waiting == 0)
            {
                _steps = steps;
                _progress = now;
            }

            return _time.GetElapsedTime(_progress, now) > _limit;
        }
    }
}
