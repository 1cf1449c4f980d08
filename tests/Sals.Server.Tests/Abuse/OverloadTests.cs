using System.Diagnostics;
using System.Net;
using System.Text;
using System.Text.Json;
using Sals.Server.Hosting;
using Sals.Server.Tests.Flow;
using Sals.Testing;
using Xunit;

namespace Sals.Server.Tests.Abuse;

/// <summary>More than fits, and a backend that dies under it.</summary>
public class OverloadTests
{
    private const string Body = """{"prompt":[1,2,3,4],"max_tokens":30,"ignore_eos":true}""";

    [Fact]
    public async Task At_ten_times_capacity_what_was_admitted_finishes_and_the_rest_is_refused_at_once()
    {
        using var gate = new ManualResetEventSlim();
        await using var server = await TestServer.StartAsync(options => options with { MaxQueued = 6 }, () => new FakeBackend(slots: 4) { OnSubmit = _ => gate.Wait() });
        var began = Stopwatch.GetTimestamp();
        var sent = Enumerable.Range(0, 100).Select(async _ =>
        {
            using var response = await server.PostAsync("/v1/completions", Body);
            var seconds = Stopwatch.GetElapsedTime(began).TotalSeconds;
            return (Status: (int)response.StatusCode, Seconds: seconds, Retry: response.Headers.RetryAfter?.Delta, Text: await response.Content.ReadAsStringAsync());
        }).ToArray();

        // nothing can end before the gate opens, so every refusal comes while all places are taken
        var until = DateTime.UtcNow.AddSeconds(30);
        while (sent.Count(one => one.IsCompleted) < 90)
        {
            Assert.True(DateTime.UtcNow < until, $"{sent.Count(one => one.IsCompleted)} answers");
            await Task.Delay(5);
        }

        var refused = sent.Where(one => one.IsCompleted).Select(one => one.Result).ToArray();
        Assert.All(refused, one => Assert.Equal(429, one.Status));
        Assert.All(refused, one => Assert.InRange(one.Retry!.Value.TotalSeconds, 1, 60));
        Assert.Equal("{\"status\":\"ok\"}", await server.Client.GetStringAsync("/health"));
        gate.Set();
        var all = await Task.WhenAll(sent);
        var admitted = all.Where(one => one.Status == 200).ToArray();
        Assert.Equal(10, admitted.Length);
        Assert.All(admitted, one => Assert.Equal(30, JsonDocument.Parse(one.Text).RootElement.GetProperty("usage").GetProperty("completion_tokens").GetInt32()));
        await server.QuietAsync();
        Assert.Equal(200, (int)(await server.PostAsync("/v1/completions", Body)).StatusCode);
        TestContext.Current.TestOutputHelper?.WriteLine($"90 refusals, the last after {refused.Max(one => one.Seconds):0.000} s");
    }

    [Fact]
    public async Task Many_choices_count_as_many()
    {
        using var gate = new ManualResetEventSlim();
        await using var server = await TestServer.StartAsync(options => options with { MaxQueued = 0 }, () => new FakeBackend(slots: 4) { OnSubmit = _ => gate.Wait() });
        var first = server.PostAsync("/v1/completions", """{"prompt":[1],"n":3,"max_tokens":2}""");
        while (server.Host.Current!.Gate.Live < 3)
        {
            await Task.Delay(5);
        }

        using var refused = await server.PostAsync("/v1/completions", """{"prompt":[[1],[2]],"max_tokens":2}""");
        Assert.Equal(HttpStatusCode.TooManyRequests, refused.StatusCode);
        gate.Set();
        Assert.Equal(HttpStatusCode.OK, (await first).StatusCode);
        await server.QuietAsync();
    }

    [Fact]
    public async Task A_dead_backend_is_told_to_everyone_running_and_waiting()
    {
        await using var server = await TestServer.StartAsync(
            options => options with { MaxQueued = 40 }, () => new FakeBackend(slots: 4) { FaultAtStep = 40, OnSubmit = _ => Thread.Sleep(3) });
        const string body = """{"prompt":[1,2,3],"max_tokens":900,"ignore_eos":true,"stream":STREAM}""";
        var whole = Enumerable.Range(0, 12).Select(_ => server.PostAsync("/v1/completions", body.Replace("STREAM", "false"))).ToArray();
        var streams = Enumerable.Range(0, 12).Select(_ => StreamAsync(server, body.Replace("STREAM", "true"))).ToArray();
        foreach (var response in await Task.WhenAll(whole))
        {
            Assert.True((int)response.StatusCode is 500 or 503, $"{response.StatusCode}");
            Assert.Contains("\"error\"", await response.Content.ReadAsStringAsync());
        }

        Assert.All(await Task.WhenAll(streams), text =>
        {
            Assert.Contains("\"error\"", text);
            Assert.DoesNotContain("[DONE]", text);
        });

        // requests are told before the host hears of it; once the process has ended, both are true
        Assert.Equal(ServerRun.FailedExitCode, await server.Exit.WaitAsync(TimeSpan.FromSeconds(20)));
        Assert.Equal("failed", server.Host.Health().Status);
    }

    /// <summary>What came before the connection broke.</summary>
    private static async Task<string> StreamAsync(TestServer server, string body)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/completions") { Content = new StringContent(body, Encoding.UTF8, "application/json") };
        using var response = await server.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        var text = new StringBuilder();
        var buffer = new byte[8192];
        try
        {
            var stream = await response.Content.ReadAsStreamAsync();
            for (int count; (count = await stream.ReadAsync(buffer)) > 0;)
            {
                text.Append(Encoding.UTF8.GetString(buffer, 0, count));
            }
        }
        catch (Exception exception) when (exception is IOException or HttpRequestException)
        {
            text.Append(' ');
        }

        return text.ToString();
    }
}
