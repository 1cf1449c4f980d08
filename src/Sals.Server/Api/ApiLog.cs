using Sals.Server.Telemetry;

namespace Sals.Server.Api;

/// <summary>Messages of the routes.</summary>
internal static partial class ApiLog
{
    /// <param name="cache">What a compressed cache did for the request, with a space in front; empty when the cache is dense.</param>
    [LoggerMessage(EventIds.RequestFinished, LogLevel.Information,
        "{Id} {Route} {Finish} prompt={Prompt} cached={Cached} generated={Generated} ttft={FirstTokenMs:0.0}ms tpot={PerTokenMs:0.00}ms queue={QueueMs:0.0}ms total={TotalMs:0.0}ms{Cache:l}")]
    public static partial void Finished(
        ILogger logger, string id, string route, string finish, int prompt, int cached, int generated,
        double firstTokenMs, double perTokenMs, double queueMs, double totalMs, string cache);

    [LoggerMessage(EventIds.RequestRefused, LogLevel.Information, "{Id} {Route} refused {Status} {Code} {Param}")]
    public static partial void Refused(ILogger logger, string id, string route, int status, string code, string param);

    [LoggerMessage(EventIds.RequestUnexpected, LogLevel.Error, "Unexpected failure at {Path}")]
    public static partial void Unexpected(ILogger logger, Exception exception, string path);

    [LoggerMessage(EventIds.FieldIgnored, LogLevel.Debug, "{Id} fields without effect: {Ignored}; unknown fields: {Unknown}")]
    public static partial void Ignored(ILogger logger, string id, string ignored, string unknown);
}
