using Sals.Server.Hosting;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>A few hundred schemas, written and drawn, answered by the embedded model through the official SDK and judged by somebody else's validator.</summary>
public sealed class SchemaCorpusTests
{
    [Fact]
    public async Task Every_answer_parses_and_validates_and_unsupported_keywords_are_named()
    {
        await using var server = await TestServer.StartAsync(options => ModelOpener.Open(options, _ => { }));
        var output = await Outside.NodeAsync("openai-schemas.mjs", server.Address.ToString().TrimEnd('/'), ModelOpener.EmbeddedName);
        TestContext.Current.TestOutputHelper!.WriteLine(output.Trim());
        Assert.StartsWith("ok ", output);
        await server.QuietAsync();
    }
}
