namespace Sals.Engine.Latent;

/// <summary>A basis file cannot be used with this model and these settings; the message says what was expected, what was found and what to run.</summary>
public sealed class LatentBasisException(string message, Exception? cause = null) : Exception(message, cause);
