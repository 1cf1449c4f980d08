namespace Sals.Engine;

/// <summary>The backend died: what every live request is told and why health is red. A device context does not recover.</summary>
public sealed record EngineFault(string Message, Exception Cause);

/// <summary>Thrown by a backend whose device is lost.</summary>
public sealed class EngineFaultException : Exception
{
    public EngineFaultException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
