using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Xunit;

namespace Sals.Server.Tests.Abuse;

/// <summary>
/// Generated requests, one at a time: each is answered with 2xx or 4xx in OpenAI's form, in bounded time and memory, and leaves nothing behind.
/// SALS_FUZZ_REQUESTS sets how many (a million takes some minutes), SALS_FUZZ_SEED repeats a run; request i of a run follows from seed + i alone.
/// </summary>
public class RequestFuzzTests
{
    /// <summary>Allocated for one request at most: a grammar at the limits of its states is the largest thing a small body may ask for; it is garbage afterwards or one of the few that are kept.</summary>
    private const long MostBytes = 192L << 20;

    /// <summary>And for each byte of a body.</summary>
    private const long MostBytesPerByte = 1000;

    [Fact]
    public async Task No_request_makes_the_server_fail_hang_or_waste_memory()
    {
        var count = int.TryParse(Environment.GetEnvironmentVariable("SALS_FUZZ_REQUESTS"), out var asked) ? asked : 4000;
        var seed = int.TryParse(Environment.GetEnvironmentVariable("SALS_FUZZ_SEED"), out var given) ? given : Environment.TickCount;
        await using var server = await InProcessServer.StartAsync(checkIntegrity: count < 100_000);
        var statuses = new SortedDictionary<int, int>();
        var (aborted, most, mostAt, slowest, slowestAt) = (0, 0L, 0, 0.0, 0);
        var began = Stopwatch.GetTimestamp();
        for (var i = 0; i < count; i++)
        {
            var random = new Random(unchecked(seed + i));
            var request = new RequestGenerator(random).Next();
            using var cancel = new CancellationTokenSource();
            var leaves = random.Next(50) == 0;
            if (leaves)
            {
                cancel.CancelAfter(TimeSpan.FromMilliseconds(random.NextDouble() * 3));
            }

            var allocated = GC.GetTotalAllocatedBytes();
            var started = Stopwatch.GetTimestamp();
            var (status, body) = (0, Array.Empty<byte>());
            try
            {
                (status, body) = await server.SendAsync(request, cancel.Token).WaitAsync(TimeSpan.FromSeconds(60));
            }
            catch (Exception exception) when (!(leaves && cancel.IsCancellationRequested && exception is OperationCanceledException))
            {
                Assert.Fail($"seed {seed + i}: {exception}\n{request}");
            }
            catch (OperationCanceledException)
            {
                status = 499;
            }

            var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
            allocated = GC.GetTotalAllocatedBytes() - allocated;
            (slowest, slowestAt) = seconds > slowest ? (seconds, seed + i) : (slowest, slowestAt);
            (most, mostAt) = allocated > most ? (allocated, seed + i) : (most, mostAt);
            statuses[status] = statuses.GetValueOrDefault(status) + 1;
            aborted += leaves && cancel.IsCancellationRequested ? 1 : 0;
            var problem = leaves ? status >= 500 ? $"{status}" : null : Problem(status, body, request);
            Assert.True(problem is null, $"seed {seed + i}: {problem}: {Encoding.UTF8.GetString(body)}\n{request}\n{string.Join("\n", server.Warnings)}");
            Assert.True(allocated <= MostBytes + (MostBytesPerByte * request.Body.Length), $"seed {seed + i}: {allocated:#,0} bytes allocated for {request}");
        }

        var until = DateTime.UtcNow.AddSeconds(30);
        while (server.Stats.Running + server.Stats.Waiting > 0 || server.Stats.CacheBytesUsed > 0 || server.Host.Current!.Gate.Live > 0)
        {
            Assert.True(DateTime.UtcNow < until, $"running {server.Stats.Running}, waiting {server.Stats.Waiting}, bytes {server.Stats.CacheBytesUsed}, live {server.Host.Current!.Gate.Live}");
            await Task.Delay(5);
        }

        Assert.Equal("ok", server.Host.Health().Status);
        Assert.Empty(server.Warnings);
        var report = $"{count:#,0} requests from seed {seed} in {Stopwatch.GetElapsedTime(began).TotalSeconds:0} s: {string.Join(", ", statuses.Select(pair => $"{pair.Key} x {pair.Value:#,0}"))}; "
            + $"{aborted:#,0} given up by the client; slowest {slowest * 1000:0} ms (seed {slowestAt}); most allocated {most / 1e6:0.0} MB (seed {mostAt})";
        TestContext.Current.TestOutputHelper?.WriteLine(report);
        TestContext.Current.SendDiagnosticMessage(report);
        // the generator must reach both sides of the validation
        Assert.True(statuses[200] > count / 20 && statuses[400] > count / 20, report);
    }

    /// <summary>What generated requests once made a 500 of.</summary>
    [Theory]
    [InlineData("/v1/completions", """{"prompt":[5,6,7],"structured_outputs":{"regex":"a*"},"prompt_logprobs":3,"max_tokens":2}""", 200)]
    [InlineData("/v1/completions", """{"prompt":[5,6,7],"structured_outputs":{"choice":["a","b"]},"echo":true,"logprobs":1,"max_tokens":2}""", 200)]
    public async Task Found_by_fuzzing(string path, string body, int status)
    {
        await using var server = await InProcessServer.StartAsync(checkIntegrity: true);
        var (found, answer) = await server.SendAsync(new FuzzRequest("POST", path, "application/json", Encoding.UTF8.GetBytes(body)), CancellationToken.None);
        Assert.True(status == found, Encoding.UTF8.GetString(answer));
    }

    /// <summary>Null = an answer as the API promises.</summary>
    private static string? Problem(int status, byte[] body, FuzzRequest request)
    {
        if (status is not (200 or >= 400 and < 500))
        {
            return $"status {status}";
        }

        if (request.Method == "HEAD" || (status == 200 && request.Path is "/metrics"))
        {
            return null;
        }

        try
        {
            if (body.AsSpan().StartsWith("data:"u8) || body.AsSpan().StartsWith(": "u8) || body.AsSpan().StartsWith("event:"u8))
            {
                return StreamProblem(Encoding.UTF8.GetString(body));
            }

            var root = JsonDocument.Parse(body).RootElement;
            return status == 200 || root.GetProperty("error").GetProperty("message").GetString()!.Length > 0 ? null : "an error without a message";
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            return $"status {status} with a body that is no answer: {exception.Message}";
        }
    }

    private static string? StreamProblem(string body)
    {
        var data = body.Split('\n').Where(line => line.StartsWith("data: ", StringComparison.Ordinal)).Select(line => line[6..]).ToArray();
        if (body.StartsWith("event:", StringComparison.Ordinal))
        {
            var types = data.Select(one => JsonDocument.Parse(one).RootElement.GetProperty("type").GetString()).ToArray();
            return types[^1] is "response.completed" or "response.incomplete" ? null : $"a stream that ends with {types[^1]}";
        }

        return data[^1] != "[DONE]" ? "a stream without [DONE]"
            : data[..^1].Any(one => JsonDocument.Parse(one).RootElement.TryGetProperty("error", out _)) ? "an error event" : null;
    }
}
