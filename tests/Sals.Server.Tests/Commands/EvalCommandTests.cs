using System.Text.Json;
using Sals.Server.Commands;
using Xunit;

namespace Sals.Server.Tests.Commands;

public class EvalCommandTests
{
    [Fact]
    public async Task Needle_writes_one_row_for_each_cache_and_length()
    {
        var (code, json) = await RunAsync("needle", "--kv-cache", "dense,sals-12.5", "--lengths", "256,512", "--samples", "2", "--seed", "5");
        Assert.Equal(0, code);
        var rows = json!.RootElement.GetProperty("rows").EnumerateArray().ToArray();
        Assert.Equal(
            ["dense 256", "dense 512", "sals-12.5 256", "sals-12.5 512"],
            rows.Select(row => $"{row.GetProperty("cache").GetString()} {row.GetProperty("length").GetInt32()}"));
        Assert.All(rows, row => Assert.Equal(2, row.GetProperty("samples").GetInt32()));
        Assert.Equal([0, 0, 1, 1], rows.Select(row => row.GetProperty("use").GetProperty("sparse_token_share").GetDouble()));
        var setup = json.RootElement.GetProperty("setup");
        Assert.Equal(5, setup.GetProperty("seed").GetInt32());
        Assert.Contains("dense_below=0", setup.GetProperty("caches")[1].GetString());
        Assert.Contains("sparsity=8 critical_min=1 ", setup.GetProperty("caches")[1].GetString());
    }

    [Fact]
    public async Task Perplexity_writes_one_row_for_each_cache()
    {
        var (code, json) = await RunAsync("perplexity", "--kv-cache", "sals-25", "--windows", "2", "--prompt", "200", "--tokens", "20");
        Assert.Equal(0, code);
        var row = Assert.Single(json!.RootElement.GetProperty("rows").EnumerateArray());
        Assert.Equal(20, row.GetProperty("forced_tokens").GetInt32());
        Assert.Equal(2, row.GetProperty("window_nats").GetArrayLength());
        Assert.InRange(row.GetProperty("nats_per_token").GetDouble(), 0.01, 12);
        Assert.Equal(40, row.GetProperty("use").GetProperty("decoded_tokens").GetInt32());
    }

    [Fact]
    public async Task A_compressed_row_that_was_never_sparse_is_an_error()
    {
        var (code, json) = await RunAsync("needle", "--kv-cache", "sals-25", "--sals", "dense_below=1000", "--lengths", "256", "--samples", "1");
        Assert.Equal(1, code);
        Assert.Contains("sparse share 0", json!.RootElement.GetProperty("rows")[0].GetProperty("use").GetProperty("problem").GetString());
    }

    [Theory]
    [InlineData("needle", "--kv-cache", "sals-50")]
    [InlineData("needle", "--lengths", "many")]
    [InlineData("needle", "--lengths", "100000")]
    [InlineData("perplexity", "--text", "no such file")]
    public async Task What_cannot_be_run_is_refused(params string[] arguments)
    {
        var (code, json) = await RunAsync(arguments);
        Assert.Equal(2, code);
        Assert.Null(json);
    }

    private static async Task<(int Code, JsonDocument? Json)> RunAsync(params string[] arguments)
    {
        var file = Path.Combine(Path.GetTempPath(), $"sals-eval-{Guid.NewGuid():N}.json");
        try
        {
            var code = await EvalCommand.Create().Parse([.. arguments, "--json", file]).InvokeAsync(cancellationToken: TestContext.Current.CancellationToken);
            return (code, File.Exists(file) ? JsonDocument.Parse(await File.ReadAllTextAsync(file)) : null);
        }
        finally
        {
            File.Delete(file);
        }
    }
}
