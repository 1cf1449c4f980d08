namespace Sals.Server.Telemetry;

/// <summary>Ids of log messages; a number is never used again for something else.</summary>
public static class EventIds
{
    public const int RequestFinished = 1;
    public const int RequestRefused = 2;
    public const int RequestUnexpected = 3;
    public const int FieldIgnored = 4;

    public const int Listening = 10;
    public const int ModelLoaded = 11;
    public const int ModelFailed = 12;
    public const int Draining = 13;
    public const int Drained = 14;
    public const int EngineFaulted = 15;
    public const int SlidingWindow = 16;
    public const int MemoryBudget = 17;
    public const int Configuration = 18;
    public const int OpenToEveryone = 19;
    public const int ForcedStop = 20;
    public const int Calibrating = 21;
    public const int NotRehearsed = 22;
}
