using System.Diagnostics;
using System.Text;
using Xunit;

namespace Sals.Server.Tests.Abuse;

/// <summary>The process is killed and started again.</summary>
public class RestartTests
{
    [Fact]
    public async Task After_kill_9_clients_notice_and_a_new_process_serves_on_the_same_port()
    {
        var first = await ServerProcess.StartAsync(0, "--max-model-len", "2048", "--kv-cache", "dense");
        var port = first.Client.BaseAddress!.Port;
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions")
        {
            Content = new StringContent("""{"prompt":[100,200,300],"max_tokens":2000,"ignore_eos":true,"stream":true}""", Encoding.UTF8, "application/json"),
        };
        using var response = await first.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        var stream = await response.Content.ReadAsStreamAsync();
        await stream.ReadExactlyAsync(new byte[500]);
        first.Kill();
        var rest = new StringBuilder();
        var broken = await Assert.ThrowsAnyAsync<Exception>(async () =>
        {
            var buffer = new byte[65536];
            for (int count; (count = await stream.ReadAsync(buffer).AsTask().WaitAsync(TimeSpan.FromSeconds(20))) > 0;)
            {
                rest.Append(Encoding.UTF8.GetString(buffer, 0, count));
            }
        });
        Assert.True(broken is IOException or HttpRequestException, $"{broken}");
        Assert.DoesNotContain("[DONE]", rest.ToString());
        await first.DisposeAsync();

        var started = Stopwatch.GetTimestamp();
        await using var second = await ServerProcess.StartAsync(port, "--max-model-len", "2048", "--kv-cache", "dense");
        using var answer = await second.Client.PostAsync(
            "/v1/completions", new StringContent("""{"prompt":[100,200,300],"max_tokens":5,"ignore_eos":true}""", Encoding.UTF8, "application/json"));
        Assert.Equal(200, (int)answer.StatusCode);
        TestContext.Current.TestOutputHelper?.WriteLine($"serving again {Stopwatch.GetElapsedTime(started).TotalSeconds:0.0} s after the start");
        Assert.Equal(0, await second.TerminateAsync());
    }
}
