using System.Security.Cryptography;
using System.Text;

namespace Sals.Server.Api;

/// <summary>
/// API keys, default-deny: with keys set every route needs one but GET /health, which a load balancer asks without. Keys are compared as
/// SHA-256 hashes in fixed time, against all of them, so that neither their length nor which one nearly fits shows.
/// </summary>
public sealed class ApiKeys
{
    private const string Scheme = "Bearer ";
    private readonly byte[][] _hashes;

    public ApiKeys(IEnumerable<string> keys) => _hashes = [.. keys.Select(Hash)];

    /// <summary>The error to answer with; null = go on.</summary>
    public ApiError? Check(HttpRequest request)
    {
        if (_hashes.Length == 0
            || (HttpMethods.IsGet(request.Method) && request.Path.Equals("/health", StringComparison.Ordinal))
            || IsPreflight(request))
        {
            return null;
        }

        var header = request.Headers.Authorization;
        if (header.Count != 1 || header[0] is not { } text || !text.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
        {
            return ApiError.Unauthorized(keyGiven: header.Count > 0);
        }

        var hash = Hash(text[Scheme.Length..].Trim());
        var known = false;
        foreach (var candidate in _hashes)
        {
            known |= CryptographicOperations.FixedTimeEquals(candidate, hash);
        }

        return known ? null : ApiError.Unauthorized(keyGiven: true);
    }

    /// <summary>A browser asks before it sends the key; the answer says nothing but which origins may.</summary>
    private static bool IsPreflight(HttpRequest request) =>
        HttpMethods.IsOptions(request.Method) && request.Headers.ContainsKey("Access-Control-Request-Method");

    private static byte[] Hash(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));
}
