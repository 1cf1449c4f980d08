using Sals.Engine.Paging;

namespace Sals.Engine.Scheduling;

/// <summary>One request on the engine thread: its choices and the caller's handle.</summary>
public sealed class Generation
{
    /// <param name="fingerprint">Of weights and cache settings; null = no prefix caching.</param>
    public Generation(GenerationHandle handle, string? fingerprint)
    {
        Handle = handle;
        var prompt = handle.Request.Prompt;
        // hashed here, on the caller's thread: a long prompt must not hold up a step
        Hashes = fingerprint is not null && handle.Request.UsePrefixCache ? new PrefixHash[prompt.Length / PageLayout.PageSize] : [];
        var hash = PrefixHash.Root(fingerprint ?? "", handle.Request.CacheSalt);
        for (var i = 0; i < Hashes.Length; i++)
        {
            Hashes[i] = hash = hash.Next(prompt.AsSpan(i * PageLayout.PageSize, PageLayout.PageSize));
        }

        Choices = new Sequence[handle.Request.Choices];
        for (var i = 0; i < Choices.Length; i++)
        {
            Choices[i] = new Sequence(this, i);
        }

        Unfinished = Choices.Length;
    }

    public GenerationHandle Handle { get; }

    public GenerationRequest Request => Handle.Request;

    public Sequence[] Choices { get; }

    /// <summary>One per full page of the prompt; empty when the request keeps out of the prefix cache.</summary>
    public PrefixHash[] Hashes { get; }

    /// <summary>Order of arrival, set by the engine thread.</summary>
    public long Arrival { get; set; }

    /// <summary>Choices without a finishing event.</summary>
    public int Unfinished { get; set; }
}
