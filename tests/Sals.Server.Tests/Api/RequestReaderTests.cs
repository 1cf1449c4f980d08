using System.Text.Json;
using Sals.Engine.Models;
using Sals.Server.Api;
using Sals.Server.Options;
using Sals.Server.Tests.Flow;
using Sals.Testing;
using Xunit;

namespace Sals.Server.Tests.Api;

/// <summary>Every field of a request with valid, silent and hostile values: acted on, ignored or refused with its name.</summary>
public class RequestReaderTests
{
    private const int Slots = 8;
    private const int MaxLength = 1024;

    /// <summary>field, value, path named by the 400.</summary>
    public static readonly TheoryData<string, string, string> RefusedInChat = new()
    {
        { "messages", "\"hello\"", "messages" },
        { "messages", "[]", "messages" },
        { "messages", "null", "messages" },
        { "messages", "{}", "messages" },
        { "messages", "[1]", "messages[0]" },
        { "messages", "[{}]", "messages[0].role" },
        { "messages", "[{\"role\":\"wizard\",\"content\":\"x\"}]", "messages[0].role" },
        { "messages", "[{\"role\":\"user\"}]", "messages[0].content" },
        { "messages", "[{\"role\":\"user\",\"content\":5}]", "messages[0].content" },
        { "messages", "[{\"role\":\"user\",\"content\":[]}]", "messages[0].content" },
        { "messages", "[{\"role\":\"user\",\"content\":\"\\ud800\"}]", "messages[0].content" },
        { "messages", "[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"http://x\"}}]}]", "messages[0].content[0].type" },
        { "messages", "[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]", "messages[0].content[0].text" },
        { "messages", "[{\"role\":\"assistant\",\"content\":\"x\",\"tool_calls\":[{}]}]", "messages[0].tool_calls[0].function" },
        { "model", "\"gpt-9\"", "model" },
        { "model", "5", "model" },
        { "max_completion_tokens", "0", "max_completion_tokens" },
        { "max_completion_tokens", "-1", "max_completion_tokens" },
        { "max_completion_tokens", "1.5", "max_completion_tokens" },
        { "max_completion_tokens", "\"5\"", "max_completion_tokens" },
        { "max_completion_tokens", "1e300", "max_completion_tokens" },
        { "max_completion_tokens", "2000", "max_completion_tokens" },
        { "max_tokens", "true", "max_tokens" },
        { "temperature", "-0.1", "temperature" },
        { "temperature", "2.1", "temperature" },
        { "temperature", "\"hot\"", "temperature" },
        { "temperature", "1e999", "temperature" },
        { "top_p", "0", "top_p" },
        { "top_p", "1.01", "top_p" },
        { "top_k", "-2", "top_k" },
        { "min_p", "1.1", "min_p" },
        { "n", "0", "n" },
        { "n", "9", "n" },
        { "n", "129", "n" },
        { "n", "9223372036854775807", "n" },
        { "stop", "5", "stop" },
        { "stop", "\"\"", "stop" },
        { "stop", "[1]", "stop[0]" },
        { "stop", "[\"a\",\"\"]", "stop[1]" },
        { "seed", "1.5", "seed" },
        { "seed", "9223372036854775808", "seed" },
        { "logprobs", "5", "logprobs" },
        { "top_logprobs", "5", "top_logprobs" },
        { "top_logprobs", "21", "top_logprobs" },
        { "logit_bias", "[]", "logit_bias" },
        { "logit_bias", "{\"x\":1}", "logit_bias" },
        { "logit_bias", "{\"1000\":1}", "logit_bias" },
        { "logit_bias", "{\"1\":101}", "logit_bias.1" },
        { "logit_bias", "{\"1\":1,\"01\":2}", "logit_bias" },
        { "presence_penalty", "2.5", "presence_penalty" },
        { "frequency_penalty", "-2.5", "frequency_penalty" },
        { "repetition_penalty", "0", "repetition_penalty" },
        { "stream", "\"yes\"", "stream" },
        { "stream_options", "{\"include_usage\":true}", "stream_options" },
        { "min_tokens", "-1", "min_tokens" },
        { "min_tokens", "1024", "min_tokens" },
        { "stop_token_ids", "[1000]", "stop_token_ids[0]" },
        { "stop_token_ids", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", "stop_token_ids" },
        { "ignore_eos", "1", "ignore_eos" },
        { "cache_salt", "\"\"", "cache_salt" },
        { "priority", "1e20", "priority" },
        { "truncate_prompt_tokens", "0", "truncate_prompt_tokens" },
        { "chat_template_kwargs", "{\"tokenize\":true}", "chat_template_kwargs.tokenize" },
        { "chat_template_kwargs", "{\"enable_thinking\":{}}", "chat_template_kwargs.enable_thinking" },
        { "response_format", "{\"type\":\"yaml\"}", "response_format.type" },
        { "response_format", "{\"type\":\"json_schema\",\"json_schema\":{}}", "response_format.json_schema.schema" },
        { "response_format", "7", "response_format" },
        { "tools", "[{\"type\":\"custom\"}]", "tools[0].type" },
        { "tool_choice", "{\"type\":\"web\"}", "tool_choice.type" },
        { "functions", "[{\"name\":\"f\"}]", "functions" },
        { "function_call", "{\"name\":\"f\"}", "function_call" },
        { "modalities", "[\"audio\"]", "modalities" },
        { "chat_template", "\"{{ 1 }}\"", "chat_template" },
        { "structured_outputs", "{\"grammar\":\"root ::= x\"}", "structured_outputs.grammar" },
        { "use_beam_search", "true", "use_beam_search" },
        { "best_of", "2", "best_of" },
        { "prompt_logprobs", "-1", "prompt_logprobs" },
        { "prompt_logprobs", "21", "prompt_logprobs" },
        { "prompt_logprobs", "1,\"stream\":true", "prompt_logprobs" },
        { "allowed_token_ids", "[]", "allowed_token_ids" },
        { "allowed_token_ids", "[1000]", "allowed_token_ids[0]" },
        { "allowed_token_ids", "[2],\"stop_token_ids\":[2],\"min_tokens\":1", "allowed_token_ids" },
        { "allowed_token_ids", "[5],\"bad_words\":[\" 5\"]", "allowed_token_ids" },
        { "bad_words", "[\" 5 6\"]", "bad_words[0]" },
        { "bad_words", "[\" 5\",\"\"]", "bad_words[1]" },
        { "truncation_side", "\"right\"", "truncation_side" },
        { "regex", "\"a+\"", "regex" },
        { "grammar", "\"root ::= x\"", "grammar" },
        { "lora_path", "\"/x\"", "lora_path" },
    };

    public static readonly TheoryData<string, string> AcceptedInChat = new()
    {
        { "stop", "null" }, { "stop", "[]" }, { "temperature", "0" }, { "temperature", "2" }, { "top_p", "1.0" }, { "top_k", "-1" },
        { "max_tokens", "5.0" }, { "seed", "-9223372036854775808" }, { "tools", "[]" }, { "tools", "null" }, { "tool_choice", "\"auto\"" },
        { "tool_choice", "\"none\"" }, { "response_format", "{\"type\":\"text\"}" }, { "modalities", "[\"text\"]" }, { "user", "\"me\"" },
        { "metadata", "{\"a\":\"b\"}" }, { "store", "true" }, { "safety_identifier", "\"x\"" }, { "service_tier", "\"auto\"" },
        { "prompt_cache_key", "\"k\"" }, { "prompt_cache_retention", "\"24h\"" }, { "prompt_cache_options", "{}" }, { "verbosity", "\"low\"" },
        { "prediction", "{\"type\":\"content\",\"content\":\"x\"}" }, { "audio", "null" }, { "web_search_options", "{}" }, { "moderation", "{}" },
        { "parallel_tool_calls", "true" }, { "reasoning_effort", "\"low\"" }, { "logprobs", "false" }, { "logit_bias", "{\"5\":-100}" },
        { "some_unknown_field", "[1,2]" }, { "n", "8" }, { "best_of", "1" }, { "use_beam_search", "false" },
    };

    [Theory]
    [MemberData(nameof(RefusedInChat))]
    public void Refuses_and_names_the_field(string field, string value, string path)
    {
        var error = Assert.Throws<ApiException>(() => Chat(field, value)).Error;
        Assert.Equal(path, error.Param);
        Assert.Equal(field == "model" && value != "5" ? 404 : 400, error.Status);
        Assert.Equal("invalid_request_error", error.Type);
        Assert.NotEmpty(error.Message);
    }

    [Theory]
    [MemberData(nameof(AcceptedInChat))]
    public void Accepts(string field, string value) => Assert.Single(Chat(field, value).Requests);

    [Fact]
    public void Allowed_ids_and_bad_words_become_one_mask()
    {
        var request = Chat("allowed_token_ids", "[3,35,999],\"bad_words\":[\" 35\"]").Requests[0];
        Assert.Equal((1000 + 31) / 32, request.AllowedTokens!.Length);
        Assert.Equal([3, 999], Enumerable.Range(0, 1000).Where(id => (request.AllowedTokens[id / 32] >> (id % 32) & 1) == 1));
        Assert.Equal(999, Chat("bad_words", "[\" 35\"]").Requests[0].AllowedTokens!.Sum(System.Numerics.BitOperations.PopCount));
        Assert.Null(Chat("bad_words", "[]").Requests[0].AllowedTokens);
    }

    [Fact]
    public void No_tokens_are_generated_only_where_the_prompt_is_the_answer()
    {
        Assert.True(Reader().ReadCompletion(Parse("""{"prompt":[1,2],"max_tokens":0,"echo":true}""")).ScoreOnly);
        Assert.True(Reader().ReadCompletion(Parse("""{"prompt":[1,2],"max_tokens":0,"prompt_logprobs":1}""")).ScoreOnly);
        Assert.False(Reader().ReadCompletion(Parse("""{"prompt":[1,2],"max_tokens":1,"echo":true}""")).ScoreOnly);
        Assert.Equal("max_tokens", Assert.Throws<ApiException>(() => Reader().ReadCompletion(Parse("""{"prompt":[1,2],"max_tokens":0}"""))).Error.Param);
    }

    [Fact]
    public void Settings_reach_the_engine()
    {
        var call = Reader().ReadChat(Parse("""
            {"messages":[{"role":"user","content":" 1"}],"temperature":0.5,"top_p":0.9,"top_k":7,"min_p":0.1,"presence_penalty":1,"frequency_penalty":-1,
             "repetition_penalty":1.1,"logit_bias":{"3":2.5},"seed":-1,"min_tokens":2,"max_completion_tokens":9,"max_tokens":5,"n":2,"stop_token_ids":[9],
             "cache_salt":"s","priority":-3,"stop":"x","logprobs":true,"top_logprobs":4,"return_token_ids":true,"include_stop_str_in_output":true,
             "skip_special_tokens":false,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}
            """));
        var request = call.Requests[0];
        var sampling = request.Sampling;
        Assert.Equal((0.5f, 0.9f, 7, 0.1f), (sampling.Temperature, sampling.TopP, sampling.TopK, sampling.MinP));
        Assert.Equal((1f, -1f, 1.1f), (sampling.PresencePenalty, sampling.FrequencyPenalty, sampling.RepetitionPenalty));
        Assert.Equal(new KeyValuePair<int, float>(3, 2.5f), Assert.Single(sampling.LogitBias));
        Assert.Equal(ulong.MaxValue, sampling.Seed);
        Assert.Equal(4, sampling.LogProbabilities);
        Assert.Equal(2, sampling.MinTokens);
        Assert.Equal([NumberTokenizer.EndToken, 9], sampling.HeldBackIds);
        Assert.Equal([NumberTokenizer.EndToken, 9], request.StopTokenIds);
        Assert.Equal((9, 2, "s", -3), (request.MaxTokens, request.Choices, request.CacheSalt, request.Priority));
        Assert.Equal(new AnswerForm
        {
            Stream = true,
            IncludeUsage = true,
            ContinuousUsage = true,
            Stop = call.Form.Stop,
            IncludeStop = true,
            SkipSpecialTokens = false,
            LogProbabilities = 4,
            ReturnTokenIds = true,
        }, call.Form);
        Assert.Equal("x", Assert.Single(call.Form.Stop));
    }

    [Fact]
    public void Ignore_eos_leaves_only_the_requests_own_stop_ids()
    {
        var request = Chat("ignore_eos", "true,\"stop_token_ids\":[9]").Requests[0];
        Assert.Equal([9], request.StopTokenIds);
    }

    [Fact]
    public void A_silent_request_gets_the_models_defaults_and_the_rest_of_the_context()
    {
        var model = TestServer.Fake(() => new FakeBackend()) with
        {
            Defaults = new GenerationDefaults { Temperature = 0.6f, TopP = 0.8f, TopK = 20, RepetitionPenalty = 1.05f },
        };
        var request = Reader(model).ReadChat(Parse("""{"messages":[{"role":"user","content":" 1"}]}""")).Requests[0];
        Assert.Equal((0.6f, 0.8f, 20, 1.05f), (request.Sampling.Temperature, request.Sampling.TopP, request.Sampling.TopK, request.Sampling.RepetitionPenalty));
        Assert.Equal(MaxLength - request.Prompt.Length, request.MaxTokens);
        var limited = Reader(model with { Defaults = new GenerationDefaults { MaxNewTokens = 5 } }).ReadChat(Parse("""{"messages":[{"role":"user","content":" 1"}]}"""));
        Assert.Equal(5, limited.Requests[0].MaxTokens);
    }

    [Fact]
    public void Too_long_names_both_numbers_and_the_code_clients_look_for()
    {
        var ids = string.Join(',', Enumerable.Repeat(1, 1000));
        var error = Assert.Throws<ApiException>(() => Reader().ReadCompletion(Parse($"{{\"prompt\":[{ids}],\"max_tokens\":100}}"))).Error;
        Assert.Equal(("context_length_exceeded", "max_tokens", 400), (error.Code, error.Param, error.Status));
        Assert.Contains("maximum context length is 1024 tokens. However, you requested 1100 tokens (1000 in the prompt, 100 in the completion)", error.Message);
    }

    [Fact]
    public void A_huge_text_is_refused_before_it_is_tokenised()
    {
        var model = TestServer.Fake(() => new FakeBackend()) with { Tokenizer = new RefusingTokenizer() };
        var text = new string('a', 10_000_000);
        var error = Assert.Throws<ApiException>(() => Reader(model).ReadCompletion(Parse($"{{\"prompt\":\"{text}\"}}"))).Error;
        Assert.Equal("context_length_exceeded", error.Code);
    }

    [Theory]
    [InlineData("\"\"", "prompt")]
    [InlineData("[]", "prompt")]
    [InlineData("5", "prompt")]
    [InlineData("{}", "prompt")]
    [InlineData("[[]]", "prompt[0]")]
    [InlineData("[1,\"a\"]", "prompt[1]")]
    [InlineData("[\"a\",1]", "prompt[1]")]
    [InlineData("[\"a\",\"\"]", "prompt[1]")]
    [InlineData("[-1]", "prompt[0]")]
    [InlineData("[1000]", "prompt[0]")]
    [InlineData("[1.5]", "prompt[0]")]
    [InlineData("[[1],[99999999999]]", "prompt[1][0]")]
    public void Broken_prompts_are_refused_and_named(string prompt, string path) =>
        Assert.Equal(path, Assert.Throws<ApiException>(() => Reader().ReadCompletion(Parse($"{{\"prompt\":{prompt}}}"))).Error.Param);

    [Fact]
    public void Suffix_is_refused_and_a_batch_counts_its_choices()
    {
        Assert.Equal("suffix", Assert.Throws<ApiException>(() => Reader().ReadCompletion(Parse("""{"prompt":"a","suffix":"b"}"""))).Error.Param);
        var prompts = string.Join(',', Enumerable.Repeat("\"a\"", 40));
        Assert.Equal("n", Assert.Throws<ApiException>(() => Reader().ReadCompletion(Parse($"{{\"prompt\":[{prompts}],\"n\":7}}"))).Error.Param);
    }

    [Fact]
    public void Truncation_keeps_the_last_tokens_and_only_when_asked()
    {
        Assert.Equal([2, 3], Reader().ReadCompletion(Parse("""{"prompt":[1,2,3],"truncate_prompt_tokens":2}""")).Requests[0].Prompt);
        Assert.Equal([1, 2, 3], Reader().ReadCompletion(Parse("""{"prompt":[1,2,3]}""")).Requests[0].Prompt);
    }

    private static Call Chat(string field, string value)
    {
        var messages = field == "messages" ? "" : "\"messages\":[{\"role\":\"user\",\"content\":\" 1\"}],";
        using var document = JsonDocument.Parse($"{{{messages}\"{field}\":{value}}}");
        return RequestBody.Read(document, root => Reader().ReadChat(root));
    }

    private static JsonElement Parse(string json) => JsonDocument.Parse(json).RootElement;

    private static RequestReader Reader(Sals.Server.Hosting.LoadedModel? model = null) => new(
        model ?? TestServer.Fake(() => new FakeBackend()), new FakeBackend(Slots, MaxLength).Info, SalsOptions.Default, 264, () => 1, TimeProvider.System);

    /// <summary>Fails the test when it is asked for more than its table.</summary>
    private sealed class RefusingTokenizer : Sals.Engine.Text.Tokenizer
    {
        public override int VocabularySize => 10;
        public override bool StripsLeadingSpace => false;
        public override List<int> Encode(string text, bool addSpecialTokens, bool parseSpecialTokens) => throw new InvalidOperationException("tokenised");
        public override string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens) => "";
        public override ReadOnlySpan<byte> TokenBytes(int id) => "abcdefgh"u8;
        public override string? TokenText(int id) => null;
        public override int? TokenId(string token) => null;
        public override bool IsSpecial(int id) => false;
    }
}
