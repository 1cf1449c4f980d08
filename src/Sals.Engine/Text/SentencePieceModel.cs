namespace Sals.Engine.Text;
internal static class SentencePieceModel { public static Tokenizer Read(string path, TokenizerConfig c)=> throw new TokenizerException(path + ": sentencepiece"); }
