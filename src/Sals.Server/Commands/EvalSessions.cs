using Sals.Engine.Backends.Cpu;
using Sals.Engine.Evaluation;
using Sals.Server.Hosting;
using Sals.Server.Options;

namespace Sals.Server.Commands;

/// <summary>All caches of an evaluation at once, each with an engine of its own. On the CPU they share prefills, so that a prompt is computed once.</summary>
internal sealed class EvalSessions : IAsyncDisposable
{
    private EvalSessions(IReadOnlyList<EvalSession> all, PrefillShare? share) => (All, Share) = (all, share);

    /// <summary>In the order of the caches.</summary>
    public IReadOnlyList<EvalSession> All { get; }

    /// <summary>Null on a GPU, where caches run side by side.</summary>
    public PrefillShare? Share { get; }

    /// <param name="maxLength">Tokens of the longest sequence; null = what the model takes.</param>
    /// <param name="lengthFlag">Flag that this length comes from, for errors.</param>
    /// <exception cref="SettingException">A setting does not fit the model, or there is no basis.</exception>
    public static async Task<EvalSessions> OpenAsync(EvalSetting setting, int? maxLength, string lengthFlag)
    {
        List<EvalSession> sessions = [];
        PrefillShare? share = null;
        try
        {
            var device = setting.Options.Device;
            if (device == DeviceChoice.Auto)
            {
                // one device for all, or differences between caches would be differences between devices
                device = EvalSession.RunsOnGpu(setting, maxLength) ? DeviceChoice.Cuda : DeviceChoice.Cpu;
            }

            share = device == DeviceChoice.Cpu && setting.Caches.Count > 1 ? new PrefillShare() : null;
            foreach (var cache in setting.Caches)
            {
                var options = setting.OptionsOf(cache, maxLength) with { Device = device };
                sessions.Add(await EvalSession.OpenAsync(cache.Label, options, lengthFlag, share));
            }
        }
        catch
        {
            foreach (var session in sessions)
            {
                await session.DisposeAsync();
            }

            throw;
        }

        return new EvalSessions(sessions, share);
    }

    /// <summary>Puts the same items to every cache that has not answered them yet: side by side on a GPU, one cache after the other on the CPU.</summary>
    /// <param name="wanted">Whether a cache shall answer an item.</param>
    /// <param name="take">Told every answer, from any thread.</param>
    public async Task AnswerAsync(
        IReadOnlyList<EvalItem> items, Func<EvalSession, EvalItem, bool> wanted, Action<EvalSession, EvalItem, EvalAnswer> take, CancellationToken stop)
    {
        if (Share is null)
        {
            await Task.WhenAll(All.Select(session => AskAsync(session)));
            return;
        }

        foreach (var part in items.Chunk(All[0].Info.SlotCount))
        {
            foreach (var session in All)
            {
                await session.AnswerAsync([.. part.Where(item => wanted(session, item))], take, stop);
            }

            Share.Clear();
        }

        Task AskAsync(EvalSession session) => session.AnswerAsync([.. items.Where(item => wanted(session, item))], take, stop);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var session in All)
        {
            await session.DisposeAsync();
        }
    }
}
