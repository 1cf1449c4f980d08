using System.Security.Cryptography;
using Sals.Engine.Text.Answers;

namespace Sals.Server.Api;

/// <summary>Ids of tool calls: new ones, since models give none that are unique. Mistral's templates take nine letters and digits, nothing else.</summary>
public static class ToolCallId
{
    private const string Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

    public static string New(ToolCallFormat? format) =>
        format is ToolCallFormat.Mistral or ToolCallFormat.MistralArguments ? RandomNumberGenerator.GetString(Alphabet, 9) : "call_" + RandomNumberGenerator.GetString(Alphabet, 24);
}
