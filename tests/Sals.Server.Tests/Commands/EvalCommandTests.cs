using System.Text.Json;
using Sals.Server.Commands;
using Xunit;

namespace Sals.Server.Tests.Commands;

public class EvalCommandTests
{
    [Fact]
    public async Task Ruler_compares_caches_on_the_same_prompts_and_goes_on_where_it_was_stopped()
    {
        var log = Path.Combine(Path.GetTempPath(), $"sals-eval-{Guid.NewGuid():N}.jsonl");
        string[] arguments = ["ruler", "--tasks", "single,lines", "--kv-cache", "dense,sals-12.5,sals-25/value_bits=16", "--lengths", "256,512", "--seed", "5", "--resume", log];
        try
        {
            var (code, json) = await RunAsync([.. arguments, "--samples", "1"]);
            Assert.Equal(0, code);
            var cells = json!.RootElement.GetProperty("cells").EnumerateArray().ToArray();
            Assert.Equal(2 * 2 * 3, cells.Length);
            Assert.All(cells, cell => Assert.Equal(1, cell.GetProperty("count").GetInt32()));
            var caches = json.RootElement.GetProperty("caches").EnumerateArray().ToArray();
            Assert.Equal(["dense", "sals-12.5", "sals-25/value_bits=16"], caches.Select(cache => cache.GetProperty("cache").GetString()));
            Assert.Equal([0, 1, 1], caches.Select(cache => cache.GetProperty("use").GetProperty("sparse_token_share").GetDouble()));
            Assert.Contains("dense_below=0", caches[1].GetProperty("settings").GetString());
            Assert.Contains("sparsity=8 critical_min=1 ", caches[1].GetProperty("settings").GetString());
            Assert.Contains("value_bits=16", caches[2].GetProperty("settings").GetString());

            // a line cut in the middle is asked again, what is whole is not
            var lines = await File.ReadAllLinesAsync(log);
            Assert.Equal(1 + 3 + 12, lines.Length);
            await File.WriteAllTextAsync(log, string.Join('\n', lines[..^1]) + "\n" + lines[^1][..20]);
            (code, json) = await RunAsync([.. arguments, "--samples", "2"]);
            Assert.Equal(0, code);
            Assert.All(json!.RootElement.GetProperty("cells").EnumerateArray(), cell => Assert.Equal(2, cell.GetProperty("count").GetInt32()));
            Assert.Equal(lines[..^1], (await File.ReadAllLinesAsync(log))[..(lines.Length - 1)]);
            Assert.Equal(1 + 3 + 24, (await File.ReadAllLinesAsync(log)).Length);

            (code, _) = await RunAsync([.. arguments, "--samples", "2", "--seed", "6"]);
            Assert.Equal(1, code);
        }
        finally
        {
            File.Delete(log);
        }
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
        var (code, json) = await RunAsync("ruler", "--tasks", "single", "--kv-cache", "sals-25", "--sals", "dense_below=1000", "--lengths", "256", "--samples", "1");
        Assert.Equal(1, code);
        Assert.Contains("sparse share 0", json!.RootElement.GetProperty("caches")[0].GetProperty("use").GetProperty("problem").GetString());
    }

    [Theory]
    [InlineData("ruler", "--kv-cache", "sals-50")]
    [InlineData("ruler", "--kv-cache", "dense,dense")]
    [InlineData("ruler", "--kv-cache", "sals-25/rank")]
    [InlineData("ruler", "--kv-cache", "sals-25/rank=32", "--ablations")]
    [InlineData("ruler", "--lengths", "many")]
    [InlineData("ruler", "--lengths", "100000")]
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
