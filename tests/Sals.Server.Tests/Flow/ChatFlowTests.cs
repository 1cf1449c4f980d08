using System.Text.Json;
using Sals.Engine.Sampling;
using Sals.Testing;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>Chat and completions over real Kestrel with a fake backend, whose text is known in advance.</summary>
public class ChatFlowTests
{
    private static readonly int[] ChatPromptIds = [.. new NumberTokenizer().Encode("<user> 5 6<assistant>", true, true)];

    [Fact]
    public async Task A_chat_answer_has_the_backends_text_finish_and_usage()
    {
        await using var server = await TestServer.StartAsync();
        var expected = Expected(ChatPromptIds, 5);
        var body = await server.PostJsonAsync("/v1/chat/completions", Chat("\"max_completion_tokens\":5,\"ignore_eos\":true,\"seed\":3"));
        Assert.Equal("chat.completion", body.GetProperty("object").GetString());
        Assert.StartsWith("chatcmpl-", body.GetProperty("id").GetString());
        Assert.Equal("fake", body.GetProperty("model").GetString());
        var choice = body.GetProperty("choices")[0];
        Assert.Equal("assistant", choice.GetProperty("message").GetProperty("role").GetString());
        Assert.Equal(NumberTokenizer.TextOf(expected), choice.GetProperty("message").GetProperty("content").GetString());
        Assert.Equal("length", choice.GetProperty("finish_reason").GetString());
        Assert.Equal(JsonValueKind.Null, choice.GetProperty("logprobs").ValueKind);
        var usage = body.GetProperty("usage");
        Assert.Equal(ChatPromptIds.Length, usage.GetProperty("prompt_tokens").GetInt32());
        Assert.Equal(5, usage.GetProperty("completion_tokens").GetInt32());
        Assert.Equal(ChatPromptIds.Length + 5, usage.GetProperty("total_tokens").GetInt32());
        Assert.Equal(0, usage.GetProperty("prompt_tokens_details").GetProperty("cached_tokens").GetInt32());
        await server.QuietAsync();
    }

    [Fact]
    public async Task A_stream_has_role_deltas_finish_usage_and_done_in_this_order()
    {
        await using var server = await TestServer.StartAsync();
        var events = await server.StreamAsync("/v1/chat/completions", Chat(
            "\"max_tokens\":2,\"ignore_eos\":true,\"seed\":3,\"stream\":true,\"stream_options\":{\"include_usage\":true,\"include_obfuscation\":false}"));
        var ids = Expected(ChatPromptIds, 2);
        var head = "{\"object\":\"chat.completion.chunk\",\"id\":\"ID\",\"created\":0,\"model\":\"fake\",\"choices\":";
        string[] golden =
        [
            head + "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}",
            head + $"[{{\"index\":0,\"delta\":{{\"content\":\" {ids[0]}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null}}",
            head + $"[{{\"index\":0,\"delta\":{{\"content\":\" {ids[1]}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null}}",
            head + "[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\"}],\"usage\":null}",
            head + $"[],\"usage\":{{\"prompt_tokens\":{ChatPromptIds.Length},\"completion_tokens\":2,\"total_tokens\":{ChatPromptIds.Length + 2},\"prompt_tokens_details\":{{\"cached_tokens\":0}}}}}}",
            "[DONE]",
        ];
        Assert.Equal(golden, events.Select(Normal));
        Assert.Single(events.SkipLast(1).Select(text => JsonDocument.Parse(text).RootElement.GetProperty("id").GetString()).Distinct());
    }

    [Fact]
    public async Task Without_include_usage_no_chunk_has_usage()
    {
        await using var server = await TestServer.StartAsync();
        var events = await server.StreamAsync("/v1/chat/completions", Chat("\"max_tokens\":2,\"stream\":true"));
        Assert.All(events, text => Assert.DoesNotContain("usage", text));
        Assert.Equal("[DONE]", events[^1]);
    }

    [Fact]
    public async Task Streamed_and_whole_answers_are_the_same_text_also_with_stop_strings_across_tokens()
    {
        await using var server = await TestServer.StartAsync();
        var ids = Expected(ChatPromptIds, 12);
        var text = NumberTokenizer.TextOf(ids);
        // from the middle of the fifth token to the middle of the seventh
        var start = NumberTokenizer.TextOf(ids.Take(4)).Length + 1;
        var end = NumberTokenizer.TextOf(ids.Take(6)).Length + 2;
        var stop = text[start..end];
        var fields = $"\"max_tokens\":12,\"ignore_eos\":true,\"seed\":3,\"stop\":[\"never\",{JsonSerializer.Serialize(stop)}]";
        var whole = await server.PostJsonAsync("/v1/chat/completions", Chat(fields));
        var choice = whole.GetProperty("choices")[0];
        Assert.Equal(text[..start], choice.GetProperty("message").GetProperty("content").GetString());
        Assert.Equal("stop", choice.GetProperty("finish_reason").GetString());
        Assert.Equal(stop, choice.GetProperty("stop_reason").GetString());
        Assert.Equal(7, whole.GetProperty("usage").GetProperty("completion_tokens").GetInt32());

        var events = await server.StreamAsync("/v1/chat/completions", Chat(fields + ",\"stream\":true"));
        Assert.Equal(text[..start], Content(events, 0));
        var included = await server.PostJsonAsync("/v1/chat/completions", Chat(fields + ",\"include_stop_str_in_output\":true"));
        Assert.Equal(text[..end], included.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString());
        await server.QuietAsync();
    }

    [Fact]
    public async Task N_choices_have_their_own_streams_of_the_seed_and_choice_0_equals_n_1()
    {
        await using var server = await TestServer.StartAsync();
        var one = await server.PostJsonAsync("/v1/chat/completions", Chat("\"max_tokens\":6,\"ignore_eos\":true,\"seed\":3,\"temperature\":1"));
        var three = await server.PostJsonAsync("/v1/chat/completions", Chat("\"max_tokens\":6,\"ignore_eos\":true,\"seed\":3,\"temperature\":1,\"n\":3"));
        var texts = three.GetProperty("choices").EnumerateArray().Select(c => c.GetProperty("message").GetProperty("content").GetString()).ToArray();
        Assert.Equal(3, texts.Distinct().Count());
        Assert.Equal(one.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString(), texts[0]);
        Assert.Equal(18, three.GetProperty("usage").GetProperty("completion_tokens").GetInt32());

        var events = await server.StreamAsync("/v1/chat/completions", Chat("\"max_tokens\":6,\"ignore_eos\":true,\"seed\":3,\"temperature\":1,\"n\":3,\"stream\":true"));
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(texts[i], Content(events, i));
            Assert.Contains(events, text => text.Contains($"\"index\":{i}") && text.Contains("\"finish_reason\":\"length\""));
        }
    }

    [Fact]
    public async Task Logprobs_come_in_chat_form()
    {
        await using var server = await TestServer.StartAsync();
        var ids = Expected(ChatPromptIds, 2);
        var body = await server.PostJsonAsync("/v1/chat/completions", Chat("\"max_tokens\":2,\"ignore_eos\":true,\"seed\":3,\"logprobs\":true,\"top_logprobs\":2"));
        var content = body.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content");
        Assert.Equal(2, content.GetArrayLength());
        Assert.Equal($" {ids[0]}", content[0].GetProperty("token").GetString());
        Assert.Equal(-ids[0] / 1000.0, content[0].GetProperty("logprob").GetDouble(), 5);
        Assert.Equal([.. $" {ids[0]}".Select(c => (int)c)], content[0].GetProperty("bytes").EnumerateArray().Select(b => b.GetInt32()).ToArray());
        Assert.Equal(2, content[0].GetProperty("top_logprobs").GetArrayLength());
        Assert.Equal($" {(ids[0] + 1) % 1000}", content[0].GetProperty("top_logprobs")[1].GetProperty("token").GetString());
    }

    [Fact]
    public async Task Completions_take_batches_of_prompts_in_all_four_forms()
    {
        await using var server = await TestServer.StartAsync();
        foreach (var (prompt, count) in new[] { ("\" 1 2\"", 1), ("[\" 1 2\",\" 3\"]", 2), ("[1,2]", 1), ("[[1,2],[3]]", 2) })
        {
            var body = await server.PostJsonAsync("/v1/completions", $"{{\"prompt\":{prompt},\"max_tokens\":3,\"seed\":3,\"ignore_eos\":true,\"logprobs\":1}}");
            Assert.Equal(count, body.GetProperty("choices").GetArrayLength());
            var first = body.GetProperty("choices")[0];
            var ids = Expected([1, 2], 3);
            Assert.Equal(NumberTokenizer.TextOf(ids), first.GetProperty("text").GetString());
            var logprobs = first.GetProperty("logprobs");
            Assert.Equal(ids.Select(id => $" {id}"), logprobs.GetProperty("tokens").EnumerateArray().Select(t => t.GetString()));
            Assert.Equal(0, logprobs.GetProperty("text_offset")[0].GetInt32());
            Assert.Equal(3, logprobs.GetProperty("token_logprobs").GetArrayLength());
            Assert.Equal(JsonValueKind.Object, logprobs.GetProperty("top_logprobs")[0].ValueKind);
        }
    }

    [Fact]
    public async Task Echo_puts_the_prompt_before_the_answer()
    {
        await using var server = await TestServer.StartAsync();
        var body = """{"prompt":" 1 2","max_tokens":2,"seed":3,"ignore_eos":true,"echo":true}""";
        var expected = " 1 2" + NumberTokenizer.TextOf(Expected([1, 2], 2));
        var whole = await server.PostJsonAsync("/v1/completions", body);
        Assert.Equal(expected, whole.GetProperty("choices")[0].GetProperty("text").GetString());
        var events = await server.StreamAsync("/v1/completions", body[..^1] + ",\"stream\":true}");
        Assert.Equal(expected, string.Concat(events.SkipLast(1).Select(e => JsonDocument.Parse(e).RootElement.GetProperty("choices")[0].GetProperty("text").GetString())));
    }

    [Fact]
    public async Task Only_allowed_tokens_are_generated_by_every_choice_while_others_run_free()
    {
        await using var server = await TestServer.StartAsync();
        var free = Content(await server.PostJsonAsync("/v1/chat/completions", Chat("\"max_tokens\":40,\"ignore_eos\":true,\"seed\":3")));
        var masked = server.PostJsonAsync("/v1/chat/completions", Chat("\"max_tokens\":40,\"ignore_eos\":true,\"seed\":3,\"n\":3,\"temperature\":1,\"allowed_token_ids\":[11,12,999]"));
        var beside = server.PostJsonAsync("/v1/chat/completions", Chat("\"max_tokens\":40,\"ignore_eos\":true,\"seed\":3"));
        foreach (var choice in (await masked).GetProperty("choices").EnumerateArray())
        {
            var words = choice.GetProperty("message").GetProperty("content").GetString()!.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            Assert.Equal(40, words.Length);
            Assert.All(words, word => Assert.Contains(word, new[] { "11", "12", "999" }));
        }

        Assert.Equal(free, Content(await beside));
        await server.QuietAsync();
    }

    [Fact]
    public async Task A_bad_word_is_never_generated()
    {
        await using var server = await TestServer.StartAsync();
        const string fields = "\"max_tokens\":40,\"ignore_eos\":true,\"seed\":3";
        var word = Content(await server.PostJsonAsync("/v1/chat/completions", Chat(fields)))!.Split(' ', StringSplitOptions.RemoveEmptyEntries)[7];
        var without = Content(await server.PostJsonAsync("/v1/chat/completions", Chat(fields + $",\"bad_words\":[\" {word}\"]")))!;
        Assert.DoesNotContain(word, without.Split(' '));
        Assert.Equal(40, without.Split(' ', StringSplitOptions.RemoveEmptyEntries).Length);
    }

    [Fact]
    public async Task No_tokens_with_echo_answers_with_the_scored_prompt_and_generates_nothing()
    {
        await using var server = await TestServer.StartAsync();
        const string request = """{"prompt":[[1,2,3],[4]],"n":2,"max_tokens":0,"echo":true,"logprobs":1""";
        var body = await server.PostJsonAsync("/v1/completions", request + "}");
        Assert.Equal(0, body.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        Assert.Equal([" 1 2 3", " 1 2 3", " 4", " 4"], body.GetProperty("choices").EnumerateArray().Select(choice => choice.GetProperty("text").GetString()));
        Assert.All(body.GetProperty("choices").EnumerateArray(), choice => Assert.Equal("length", choice.GetProperty("finish_reason").GetString()));
        Assert.Equal(3, body.GetProperty("choices")[1].GetProperty("logprobs").GetProperty("token_logprobs").GetArrayLength());
        var events = await server.StreamAsync("/v1/completions", request + ",\"stream\":true}");
        Assert.Equal("[DONE]", events[^1]);
        Assert.Equal(4, events.Count(text => text.Contains("\"finish_reason\":\"length\"")));
        await server.QuietAsync();
    }

    [Fact]
    public async Task Prompt_logprobs_have_an_entry_a_token_with_id_rank_and_text()
    {
        await using var server = await TestServer.StartAsync();
        var body = await server.PostJsonAsync("/v1/completions", """{"prompt":[1,2,3],"max_tokens":1,"prompt_logprobs":2}""");
        var choice = body.GetProperty("choices")[0];
        Assert.Equal(JsonValueKind.Null, choice.GetProperty("logprobs").ValueKind);
        var entries = choice.GetProperty("prompt_logprobs").EnumerateArray().ToArray();
        Assert.Equal(3, entries.Length);
        Assert.Equal(JsonValueKind.Null, entries[0].ValueKind);
        Assert.Equal(" 2", entries[1].GetProperty("2").GetProperty("decoded_token").GetString());
        Assert.Equal(-1, entries[1].GetProperty("2").GetProperty("logprob").GetDouble());
        Assert.Equal([1, 2], entries[1].EnumerateObject().Where(token => token.Name != "2").Select(token => token.Value.GetProperty("rank").GetInt32()));
        var chat = await server.PostJsonAsync("/v1/chat/completions", Chat("\"max_tokens\":1,\"prompt_logprobs\":0"));
        Assert.Equal(ChatPromptIds.Length, chat.GetProperty("prompt_logprobs").GetArrayLength());
        var ids = await server.PostJsonAsync("/v1/chat/completions", Chat("\"max_tokens\":1,\"logprobs\":true,\"return_tokens_as_token_ids\":true"));
        Assert.StartsWith("token_id:", ids.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content")[0].GetProperty("token").GetString());
    }

    [Fact]
    public async Task A_request_given_up_while_its_prompt_is_scored_has_its_log_line()
    {
        var slow = new FakeBackend(slots: 8, maxModelLength: 1024) { OnSubmit = _ => Thread.Sleep(20) };
        await using var server = await TestServer.StartAsync(backend: () => slow);
        using var cancel = new CancellationTokenSource();
        var answer = server.PostAsync("/v1/completions", $"{{\"prompt\":[{string.Join(',', Enumerable.Repeat(1, 900))}],\"max_tokens\":1,\"echo\":true,\"logprobs\":1}}", cancel.Token);
        await server.UntilRunningAsync();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => answer);
        await server.QuietAsync();
        var line = Assert.Single(server.Logs.Lines, line => line.Contains("/v1/completions abort"));
        Assert.Contains("/v1/completions abort prompt=900 cached=0 generated=0", line);
    }

    [Fact]
    public async Task Sixteen_equal_requests_at_once_give_one_text()
    {
        await using var server = await TestServer.StartAsync();
        var alone = Content(await server.PostJsonAsync("/v1/chat/completions", Chat("\"max_tokens\":40,\"ignore_eos\":true,\"seed\":3")));
        var all = await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => server.PostJsonAsync("/v1/chat/completions", Chat("\"max_tokens\":40,\"ignore_eos\":true,\"seed\":3"))));
        Assert.All(all, body => Assert.Equal(alone, Content(body)));
        await server.QuietAsync();
    }

    [Fact]
    public async Task One_log_line_a_request_and_no_prompt_in_it()
    {
        await using var server = await TestServer.StartAsync();
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions") { Content = new StringContent(Chat("\"max_tokens\":3,\"ignore_eos\":true"), null, "application/json") };
        request.Headers.Add("X-Request-Id", "my-id-1");
        using var response = await server.Client.SendAsync(request);
        Assert.Equal("my-id-1", response.Headers.GetValues("X-Request-Id").Single());
        await server.QuietAsync();
        var line = Assert.Single(server.Logs.Lines, line => line.StartsWith("1 my-id-1 "));
        Assert.Contains("/v1/chat/completions length prompt=", line);
        Assert.Contains("generated=3", line);
        Assert.DoesNotContain(" 5 6", line);
    }

    private static string Chat(string fields) => $"{{\"model\":\"fake\",\"messages\":[{{\"role\":\"user\",\"content\":\" 5 6\"}}],{fields}}}";

    private static string? Content(JsonElement body) => body.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString();

    private static string Content(List<string> events, int choice) => string.Concat(events.SkipLast(1)
        .SelectMany(text => JsonDocument.Parse(text).RootElement.GetProperty("choices").EnumerateArray())
        .Where(c => c.GetProperty("index").GetInt32() == choice)
        .Select(c => c.GetProperty("delta").TryGetProperty("content", out var content) ? content.GetString() : ""));

    private static string Normal(string text)
    {
        text = System.Text.RegularExpressions.Regex.Replace(text, "chatcmpl-[0-9a-f]+", "ID");
        return System.Text.RegularExpressions.Regex.Replace(text, "\"created\":\\d+", "\"created\":0");
    }

    private static int[] Expected(int[] prompt, int count)
    {
        var sampling = new SamplingOptions { Seed = 3 };
        var ids = new List<int>();
        for (var i = 0; i < count; i++)
        {
            ids.Add(FakeBackend.Expected(prompt, ids.ToArray(), sampling));
        }

        return [.. ids];
    }
}
