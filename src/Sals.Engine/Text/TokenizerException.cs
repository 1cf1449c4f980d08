namespace Sals.Engine.Text;

/// <summary>A tokenizer file cannot be used. The message names the file or field, what was expected and what was found.</summary>
public sealed class TokenizerException : Exception
{
    public TokenizerException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
