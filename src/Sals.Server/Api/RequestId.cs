using System.Security.Cryptography;

namespace Sals.Server.Api;

/// <summary>X-Request-Id in and out: the client's when it is short printable ASCII, else a new one.</summary>
public static class RequestId
{
    public const string Header = "X-Request-Id";
    private const int MaxLength = 128;

    /// <summary>Sets the response header and the id that logs and answers carry.</summary>
    public static void Assign(HttpContext context)
    {
        string? given = context.Request.Headers[Header];
        var id = given is { Length: > 0 and <= MaxLength } && given.All(c => c is > ' ' and < (char)127) ? given : New();
        context.TraceIdentifier = id;
        context.Response.Headers[Header] = id;
    }

    public static string New() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));
}
