namespace Sals.Engine.Text;

/// <summary>Finds and reads the tokenizer of a model folder.</summary>
public static class TokenizerLoader
{
    /// <summary>
    /// Reads tokenizer.json, or tokenizer.model (sentencepiece) when there is none. Nothing in the folder is executed.
    /// </summary>
    /// <exception cref="TokenizerException">Neither file is there, or the file is broken or uses something unsupported.</exception>
    public static Tokenizer Open(string folder)
    {
        var json = Path.Combine(folder, "tokenizer.json");
        if (File.Exists(json))
        {
            try
            {
                return TokenizerJson.Read(json);
            }
            catch (InvalidOperationException e)
            {
                throw new TokenizerException($"{json}: a name is not valid text: {e.Message}", e);
            }
        }

        var model = Path.Combine(folder, "tokenizer.model");
        if (File.Exists(model))
        {
            return SentencePieceModel.Read(model, TokenizerConfig.Read(folder));
        }

        throw new TokenizerException($"{folder}: neither tokenizer.json nor tokenizer.model found");
    }
}
