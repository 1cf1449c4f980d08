using Sals.Engine.Backends;
using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using static Sals.Testing.PlanRule;

namespace Sals.Testing;

/// <summary>
/// The sequence in a slot of a <see cref="FakeBackend"/>: page tables, and the tokens that are written and read through them as the cache's timeline
/// demands. A page that is missing, or was never written where it is read, breaks the contract.
/// </summary>
internal sealed class FakeSlot(FakePages pages, BackendInfo info, SamplingOptions sampling)
{
    private const int P = PageLayout.PageSize;

    private readonly Dictionary<int, int>[] _tables = [[], [], []];

    public SamplingOptions Sampling => sampling;

    /// <summary>Tokens in the pages.</summary>
    public int Length { get; set; }

    public int PromptLength { get; set; }

    /// <summary>The token last sampled, which the next decode row takes in.</summary>
    public int Last { get; set; }

    /// <summary>Mask of the step, a bit a token; null = all.</summary>
    public uint[]? Allowed { get; set; }

    public void Set(PageEdit edit) => _tables[(int)edit.Pool][edit.Index] = edit.Page;

    /// <summary>Requires that the pages written for a prefix hit hold the tokens of the prompt.</summary>
    public void RequireHistory(ReadOnlySpan<int> history)
    {
        for (var t = 0; t < history.Length; t++)
        {
            foreach (var kind in PoolKinds.All)
            {
                // a hit on a hot page has its latent page flushed with the next plan
                var page = PageOf(kind, t);
                var written = page != 0 && (kind != PoolKind.Latent || PageOf(PoolKind.Hot, t) == 0);
                Require(!written || pages[page][t % P] == history[t], $"history token {t} is not what {kind} page {page} holds");
            }
        }
    }

    /// <summary>All tokens, each from the pages that a row of this length reads.</summary>
    public void Read(Span<int> tokens)
    {
        var latent = CacheTimeline.LatentPages(Length, info.Spec);
        for (var t = 0; t < Length; t++)
        {
            var token = info.BytesOf(PoolKind.Dense) > 0 ? Read(PoolKind.Dense, t) : -1;
            if (info.BytesOf(PoolKind.Hot) > 0)
            {
                var hot = t / P >= latent || t < Math.Min(P, info.Spec.SinkTokens);
                var sparse = Read(hot ? PoolKind.Hot : PoolKind.Latent, t);
                Require(token < 0 || token == sparse, $"token {t} differs between the dense and the {(hot ? "hot" : "latent")} page");
                token = sparse;
            }

            tokens[t] = token;
        }
    }

    /// <summary>Writes one token to every page that holds it in a sequence of <paramref name="length"/>.</summary>
    public void Write(int position, int length, int token)
    {
        foreach (var kind in PoolKinds.All)
        {
            var wanted = info.BytesOf(kind) > 0 && kind switch
            {
                PoolKind.Dense => true,
                PoolKind.Hot => CacheTimeline.NeedsHot(position / P, length, info.Spec),
                _ => CacheTimeline.NeedsLatent(position / P, length, info.Spec),
            };
            if (!wanted)
            {
                continue;
            }

            var page = PageOf(kind, position);
            Require(page != 0, $"position {position} has no {kind} page to write");
            if (position % P == 0)
            {
                // whatever an earlier owner left must never be read again
                Array.Fill(pages[page], -1);
            }

            pages[page][position % P] = token;
        }
    }

    private int Read(PoolKind kind, int position)
    {
        var page = PageOf(kind, position);
        Require(page != 0, $"position {position} has no {kind} page");
        var token = pages[page][position % P];
        Require(token >= 0, $"position {position} of {kind} page {page} was never written");
        return token;
    }

    private int PageOf(PoolKind kind, int position) => _tables[(int)kind].GetValueOrDefault(position / P);
}
