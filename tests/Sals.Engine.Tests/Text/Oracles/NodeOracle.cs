using System.Diagnostics;
using System.Text.Json;
using Xunit;

namespace Sals.Engine.Tests.Text.Oracles;

/// <summary>Runs a script of tests/oracles. Without Node or its packages the test is a reported skip, a failure under CI=true.</summary>
internal static class NodeOracle
{
    private static readonly JsonSerializerOptions Wire = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static JsonDocument Run(string script, object request)
    {
        var folder = Path.Combine(TestTokenizers.RepositoryRoot, "tests", "oracles");
        if (!Directory.Exists(Path.Combine(folder, "node_modules")))
        {
            TestTokenizers.Missing("tests/oracles/node_modules is missing: run npm ci in tests/oracles");
        }

        var work = Directory.CreateTempSubdirectory("sals-oracle").FullName;
        try
        {
            var input = Path.Combine(work, "request.json");
            var output = Path.Combine(work, "response.json");
            File.WriteAllText(input, JsonSerializer.Serialize(request, Wire));
            using var node = Start(folder, script, input, output);
            var errors = node.StandardError.ReadToEnd();
            node.WaitForExit();
            Assert.True(node.ExitCode == 0, $"{script}: {errors}");
            return JsonDocument.Parse(File.ReadAllText(output));
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }
    }

    private static Process Start(string folder, string script, string input, string output)
    {
        var start = new ProcessStartInfo("node") { WorkingDirectory = folder, RedirectStandardError = true };
        start.ArgumentList.Add("--max-old-space-size=4096");
        start.ArgumentList.Add(script);
        start.ArgumentList.Add(input);
        start.ArgumentList.Add(output);
        try
        {
            return Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            TestTokenizers.Missing("node is not installed");
            throw;
        }
    }
}
