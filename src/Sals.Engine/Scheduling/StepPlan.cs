using Sals.Engine.Paging;
using Sals.Engine.Sampling;

namespace Sals.Engine.Scheduling;

/// <summary>One token of one running slot. The input is the slot's last sampled token, which only the backend knows, unless forced.</summary>
/// <param name="Slot">Slot whose next position is computed.</param>
/// <param name="ForcedToken">Replaces the last sampled token as input (replay, teacher forcing); -1 = none.</param>
/// <param name="TargetToken">Token whose log-probability under this row's raw logits is wanted; -1 = none.</param>
public readonly record struct DecodeRow(int Slot, int ForcedToken = -1, int TargetToken = -1);

/// <summary>
/// A piece of one prompt's way through the layers: layers [FirstLayer, EndLayer) for tokens [FirstToken, EndToken).
/// A slice of several layers covers all of the prompt's computed tokens. Slices of a prompt arrive in layer-major order; the one
/// that ends the last layer at the prompt's last token sets the length of every slot to the prompt's and samples one row per slot.
/// </summary>
/// <param name="Lane">Workspace that holds the prompt's hidden states and the exact K/V of one layer.</param>
/// <param name="LaneOffset">First row of the prompt in the lane; short prompts share a lane side by side.</param>
/// <param name="Slots">Slots of the request's choices; pages are written through the table of Slots[0].</param>
/// <param name="Prompt">All ids of the prompt [PromptLength].</param>
/// <param name="TargetToken">As <see cref="DecodeRow.TargetToken"/>, of the sampling row.</param>
/// <param name="HistoryLength">Tokens covered by cached pages of Slots[0] (whole pages), read and not computed; FirstToken &gt;= HistoryLength.</param>
public readonly record struct PrefillSlice(
    int Lane,
    int LaneOffset,
    int[] Slots,
    ReadOnlyMemory<int> Prompt,
    int HistoryLength,
    int FirstLayer,
    int EndLayer,
    int FirstToken,
    int EndToken,
    bool Samples,
    int TargetToken = -1)
{
    public int PromptLength => Prompt.Length;
}

/// <summary>table[Slot][Pool][Index] = Page; 0 clears.</summary>
public readonly record struct PageEdit(PoolKind Pool, int Slot, int Index, int Page);

/// <summary>Compress hot page <paramref name="HotPage"/> (tokens 64 * Index onwards, all 64 present) into <paramref name="LatentPage"/>, all compressible layers.</summary>
public readonly record struct PageFlush(int Slot, int Index, int HotPage, int LatentPage);

/// <summary>Copy a whole page (the partly filled last page of a fork).</summary>
public readonly record struct PageCopy(PoolKind Pool, int From, int To);

/// <summary>
/// A slot begins a new sequence: length 0, no pages, counts of penalties reset and rebuilt from the prompt.
/// The boundary between prompt and output for penalties is Prompt.Length.
/// </summary>
public readonly record struct SlotStart(int Slot, SamplingOptions Sampling, ReadOnlyMemory<int> Prompt);

/// <summary>Tokens that may be sampled for a slot in this step: bit t of Bits, [ceil(V / 32)].</summary>
public readonly record struct SlotMask(int Slot, uint[] Bits);

/// <summary>
/// Everything one step does; the only thing that crosses the boundary to a backend, and host data only. Reused: two instances alternate.
/// A backend carries it out in this order: starts, edits, copies, flushes, then decode rows and prefill slices, which touch nothing of each other:
/// either may come first.
/// Results come in the order of the decode rows, then one row per slot of each sampling slice.
/// </summary>
public sealed class StepPlan
{
    /// <summary>
    /// Caps of one plan; what does not fit goes into the next one. A plan always has room for the starts and the page edits of one
    /// longest sequence and for one flush per slot, so that planning cannot stall.
    /// </summary>
    /// <param name="slots">Slots of the backend; bounds rows, starts and masks.</param>
    /// <param name="maxModelLength">Longest sequence in tokens.</param>
    public StepPlan(int slots, int maxModelLength)
    {
        var pages = (maxModelLength + PageLayout.PageSize - 1) / PageLayout.PageSize;
        Starts = new PlanList<SlotStart>(slots);
        Edits = new PlanList<PageEdit>(PoolKinds.Count * 2 * (pages + slots) + 1024);
        Copies = new PlanList<PageCopy>(PoolKinds.Count * slots);
        Flushes = new PlanList<PageFlush>(pages + slots + 64);
        Decodes = new PlanList<DecodeRow>(slots);
        Prefills = new PlanList<PrefillSlice>(64);
        Masks = new PlanList<SlotMask>(slots);
    }

    public PlanList<SlotStart> Starts { get; }
    public PlanList<PageEdit> Edits { get; }
    public PlanList<PageCopy> Copies { get; }
    public PlanList<PageFlush> Flushes { get; }
    public PlanList<DecodeRow> Decodes { get; }
    public PlanList<PrefillSlice> Prefills { get; }
    public PlanList<SlotMask> Masks { get; }

    public bool IsEmpty => Starts.Count + Edits.Count + Copies.Count + Flushes.Count + Decodes.Count + Prefills.Count == 0;

    public void Clear()
    {
        Starts.Clear();
        Edits.Clear();
        Copies.Clear();
        Flushes.Clear();
        Decodes.Clear();
        Prefills.Clear();
        Masks.Clear();
    }
}
