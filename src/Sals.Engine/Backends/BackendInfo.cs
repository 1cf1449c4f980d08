using Sals.Engine.Latent;
using Sals.Engine.Paging;

namespace Sals.Engine.Backends;

/// <summary>What a backend offers; fixed once it is constructed.</summary>
public sealed record BackendInfo
{
    /// <summary>"cpu", "cuda", "fake".</summary>
    public required string Name { get; init; }

    public required int VocabularySize { get; init; }

    /// <summary>L.</summary>
    public required int LayerCount { get; init; }

    /// <summary>Sequences that can hold a slot at once; slots are 0 .. SlotCount - 1.</summary>
    public required int SlotCount { get; init; }

    /// <summary>Longest sequence, prompt and output together.</summary>
    public required int MaxModelLength { get; init; }

    /// <summary>Steps that may be submitted ahead of the one being collected: 0 or 1.</summary>
    public required int LookAhead { get; init; }

    /// <summary>Bytes of the cache arena behind the page ids, the unusable first part (page 0, which absorbs padding rows) included.</summary>
    public required long CacheBytes { get; init; }

    /// <summary>
    /// Bytes of a slab: a pool takes and returns cache memory in slabs and a page never straddles two. A multiple of 4 KiB, at least
    /// the largest page; CacheBytes is a multiple of it.
    /// </summary>
    public required long SlabBytes { get; init; }

    /// <summary>Which layers are compressed and when: the scheduler plans pages and flushes by it.</summary>
    public required LatentSpec Spec { get; init; }

    /// <summary>Bytes of a page for each <see cref="PoolKind"/>, multiples of 4 KiB; 0 = that pool does not exist.</summary>
    public required long[] PageBytes { get; init; }

    /// <summary>Bytes that 64 tokens of all layers would take if everything were exact; see <c>PageLayout.ExactPageBytes</c>.</summary>
    public required long ExactPageBytes { get; init; }

    /// <summary>Tokens that the cache keeps when it is full of sequences of the longest length, whatever of them is compressed.</summary>
    public required long CacheTokens { get; init; }

    /// <summary>Token capacity of each prefill lane.</summary>
    public required int[] LaneLengths { get; init; }

    /// <summary>Memory of the latent bases in every form that is kept, folded scoring queries included; 0 when nothing is compressed.</summary>
    public long BasisBytes { get; init; }

    /// <summary>Tokens of a prefill slice are a multiple of this, but for the prompt's tail.</summary>
    public required int PrefillChunk { get; init; }

    /// <summary>Prompts that are a <see cref="Scheduling.PromptPack"/> cost what one chunk of all their tokens does.</summary>
    public bool PacksPrompts { get; init; }

    /// <summary>How long prefill takes, measured at warm-up.</summary>
    public required PrefillCost PrefillCost { get; init; }

    public long BytesOf(PoolKind pool) => PageBytes[(int)pool];
}
