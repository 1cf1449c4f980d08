using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;

namespace Sals.Engine.Paging;

/// <summary>
/// Identity of a full page of a prompt: SHA-256 over the parent's hash and the page's tokens. The chain starts from the fingerprint of
/// model and basis and from the request's cache salt, so equal hashes mean equal prefixes, equal weights and the same tenant.
/// </summary>
public readonly record struct PrefixHash(ulong A, ulong B, ulong C, ulong D)
{
    /// <summary>The start of a chain.</summary>
    public static PrefixHash Root(string fingerprint, string? salt)
    {
        // length-prefixed, so that (ab, c) and (a, bc) differ
        Span<byte> hash = stackalloc byte[32];
        SHA256.HashData(Encoding.UTF8.GetBytes($"{fingerprint.Length}:{fingerprint}:{salt?.Length ?? -1}:{salt}"), hash);
        return From(hash);
    }

    /// <param name="tokens">The page's ids [P].</param>
    public PrefixHash Next(ReadOnlySpan<int> tokens)
    {
        Span<byte> input = stackalloc byte[32 + PageLayout.PageSize * sizeof(int)];
        var self = this;
        MemoryMarshal.Write(input, in self);
        MemoryMarshal.AsBytes(tokens).CopyTo(input[32..]);
        Span<byte> hash = stackalloc byte[32];
        SHA256.HashData(input, hash);
        return From(hash);
    }

    private static PrefixHash From(ReadOnlySpan<byte> hash) => MemoryMarshal.Read<PrefixHash>(hash);
}
