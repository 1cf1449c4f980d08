using System.Text.Json;
using Sals.Server.Api;
using Sals.Server.Options;
using Sals.Server.Tests.Flow;
using Sals.Testing;
using Xunit;

namespace Sals.Server.Tests.Api;

/// <summary>
/// Every field of OpenAI's chat schema and of vLLM's extras: a valid value is acted on, ignored or refused as the table says, and hostile
/// values of every kind give an answer or a 400 that names the field, never another failure.
/// </summary>
public class FieldTableTests
{
    public enum Way
    {
        /// <summary>The valid value changes what is generated or how the answer looks.</summary>
        Acts,

        /// <summary>Nothing it could hold changes anything.</summary>
        Ignored,

        /// <summary>Checked, but the valid value asks for what happens anyway.</summary>
        Checked,

        /// <summary>Any value that asks for something is a 400.</summary>
        Refused,
    }

    /// <summary>The 37 fields of OpenAI's schema.</summary>
    private static readonly (string Name, Way Way, string Valid)[] Schema =
    [
        ("messages", Way.Acts, """[{"role":"system","content":" 9"},{"role":"user","content":[{"type":"text","text":" 1"}]}]"""),
        ("model", Way.Acts, "\"org/alias\""),
        ("modalities", Way.Checked, "[\"text\"]"),
        ("verbosity", Way.Ignored, "\"low\""),
        ("reasoning_effort", Way.Checked, "\"high\""),
        ("max_completion_tokens", Way.Acts, "7"),
        ("frequency_penalty", Way.Acts, "0.5"),
        ("presence_penalty", Way.Acts, "-0.5"),
        ("web_search_options", Way.Ignored, "{}"),
        ("top_logprobs", Way.Acts, "3,\"logprobs\":true"),
        ("response_format", Way.Checked, """{"type":"text"}"""),
        ("audio", Way.Ignored, """{"voice":"alloy","format":"wav"}"""),
        ("store", Way.Ignored, "true"),
        ("stream", Way.Acts, "true"),
        ("stop", Way.Acts, "[\" 4\",\" 5\"]"),
        ("logit_bias", Way.Acts, """{"5":-100}"""),
        ("logprobs", Way.Acts, "true"),
        ("max_tokens", Way.Acts, "7"),
        ("n", Way.Acts, "2"),
        ("prediction", Way.Ignored, """{"type":"content","content":"x"}"""),
        ("seed", Way.Acts, "42"),
        ("stream_options", Way.Acts, """{"include_usage":true},"stream":true"""),
        ("tools", Way.Acts, """[{"type":"function","function":{"name":"f"}}]"""),
        ("tool_choice", Way.Checked, "\"none\""),
        ("parallel_tool_calls", Way.Checked, "false"),
        ("function_call", Way.Refused, """{"name":"f"}"""),
        ("functions", Way.Refused, """[{"name":"f"}]"""),
        ("metadata", Way.Ignored, """{"a":"b"}"""),
        ("temperature", Way.Acts, "0.7"),
        ("top_p", Way.Acts, "0.5"),
        ("user", Way.Ignored, "\"me\""),
        ("safety_identifier", Way.Ignored, "\"me\""),
        ("prompt_cache_key", Way.Ignored, "\"k\""),
        ("service_tier", Way.Ignored, "\"auto\""),
        ("prompt_cache_retention", Way.Ignored, "\"24h\""),
        ("prompt_cache_options", Way.Ignored, "{}"),
        ("moderation", Way.Ignored, "{}"),
    ];

    private static readonly (string Name, Way Way, string Valid)[] Extras =
    [
        ("top_k", Way.Acts, "5"),
        ("min_p", Way.Acts, "0.1"),
        ("repetition_penalty", Way.Acts, "1.2"),
        ("ignore_eos", Way.Acts, "true"),
        ("min_tokens", Way.Acts, "3"),
        ("stop_token_ids", Way.Acts, "[9]"),
        ("include_stop_str_in_output", Way.Acts, "true"),
        ("skip_special_tokens", Way.Acts, "false"),
        ("spaces_between_special_tokens", Way.Ignored, "false"),
        ("truncate_prompt_tokens", Way.Acts, "1"),
        ("truncation_side", Way.Checked, "\"left\""),
        ("continue_final_message", Way.Acts, "true,\"messages\":[{\"role\":\"assistant\",\"content\":\" 1\"}]"),
        ("add_generation_prompt", Way.Acts, "false"),
        ("chat_template_kwargs", Way.Checked, """{"enable_thinking":false}"""),
        ("chat_template", Way.Refused, "\"{{ 1 }}\""),
        ("documents", Way.Refused, """[{"text":"x"}]"""),
        ("priority", Way.Acts, "-1"),
        ("cache_salt", Way.Acts, "\"tenant\""),
        ("return_token_ids", Way.Acts, "true"),
        ("return_tokens_as_token_ids", Way.Acts, "true"),
        ("prompt_logprobs", Way.Acts, "2"),
        ("allowed_token_ids", Way.Acts, "[4,5]"),
        ("bad_words", Way.Acts, "[\" 5\"]"),
        ("logprob_token_ids", Way.Refused, "[5]"),
        ("best_of", Way.Checked, "1"),
        ("use_beam_search", Way.Refused, "true"),
        ("length_penalty", Way.Checked, "1.0"),
        ("structured_outputs", Way.Checked, """{"json_object":false}"""),
        ("guided_json", Way.Refused, """{"type":"object"}"""),
        ("guided_regex", Way.Refused, "\"a+\""),
        ("guided_choice", Way.Refused, "[\"a\"]"),
        ("guided_grammar", Way.Refused, "\"root ::= x\""),
        ("stop_regex", Way.Refused, "\"a+\""),
        ("logits_processors", Way.Refused, "[\"x\"]"),
        ("prompt_embeds", Way.Refused, "\"AAAA\""),
        ("mm_processor_kwargs", Way.Refused, """{"a":1}"""),
        ("kv_transfer_params", Way.Refused, """{"a":1}"""),
        ("thinking_token_budget", Way.Refused, "5"),
        ("lora_request", Way.Refused, """{"name":"x"}"""),
        ("include_reasoning", Way.Acts, "false"),
        ("request_id", Way.Ignored, "\"x\""),
        ("a_field_of_next_year", Way.Ignored, "1"),
    ];

    private static readonly string[] Hostile =
    [
        "null", "true", "false", "0", "-1", "1", "1.5", "-0.0", "1e999", "-1e999", "1e-999", "9223372036854775807", "9223372036854775808",
        "-9223372036854775809", "123456789012345678901234567890", "\"\"", "\"x\"", "\"0\"", "\"\\u0000\"", "\"\\ud800\"", "\"\\udc00x\"", "[]", "[null]", "[[]]",
        "[[[[[[1]]]]]]", "[1,\"a\",{},[]]", "[\"\\ud800\"]", "[-1]", "[1e999]", "{}", "{\"a\":{}}", "{\"\":1}", "{\"5\":\"x\"}", "{\"type\":\"\\ud800\"}",
        "{\"role\":\"user\"}", "[{}]", "[{\"role\":[]}]", "[{\"role\":\"user\",\"content\":{}}]",
        """[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":5}}]}]""", """[{"role":"assistant","content":null,"tool_calls":[{"type":"x"}]}]""",
        """[{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":"}}]},{"role":"tool","tool_call_id":"c","content":""}]""",
        """[{"type":"function"}]""", """[{"type":"web_search"}]""", """[{"type":"function","function":{"name":""}}]""", """[{"type":"function","function":{"name":"a b"}}]""",
        """[{"type":"function","function":{"name":"f","parameters":5}}]""", """[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"f"}}]""",
        """[{"type":"function","function":{"name":"f","description":[],"strict":"x"}}]""", "\"auto\"", "\"required\"", "\"none\"", """{"type":"function","function":{"name":"f"}}""",
        """{"type":"function"}""", """{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"function":{"name":"f"}}]}}""", """{"type":"allowed_tools"}""",
        Repeat("[", 60) + Repeat("]", 60),
        "\"" + Repeat("x", 100_000) + "\"", "[" + Repeat("1,", 100_000) + "1]", "[" + Repeat("\"\",", 5000) + "\"\"]",
        "{" + string.Join(',', Enumerable.Range(0, 3000).Select(i => $"\"{i}\":1")) + "}",
    ];

    public static TheoryData<string> Names => new(Schema.Concat(Extras).Select(row => row.Name));

    [Fact]
    public void The_table_has_all_37_fields_of_the_schema_and_no_name_twice()
    {
        Assert.Equal(37, Schema.Length);
        Assert.Equal(Schema.Length + Extras.Length, Schema.Concat(Extras).Select(field => field.Name).Distinct().Count());
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void A_valid_value_is_acted_on_ignored_or_refused(string name)
    {
        var (_, way, valid) = Find(name);
        if (way == Way.Refused)
        {
            var error = Assert.Throws<ApiException>(() => Read(name, valid)).Error;
            Assert.Equal((400, "unsupported_parameter", name), (error.Status, error.Code, error.Param));
            Assert.StartsWith(name + ": ", error.Message);
            Assert.True(FieldPolicy.Refuses(name));
            return;
        }

        var plain = Show(Read("unrelated", "1"));
        var given = Show(Read(name, valid));
        if (way == Way.Acts)
        {
            Assert.NotEqual(plain, given);
        }
        else
        {
            Assert.Equal(plain, given);
        }

        // what acts or is checked is known to the reader; what is ignored is on the list of what is ignored, or not on any
        Assert.Equal(way != Way.Ignored, RequestReader.KnownFields.Contains(name));
        Assert.Equal(way == Way.Ignored && name != "a_field_of_next_year", FieldPolicy.Ignored.Contains(name));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Hostile_values_are_answered_or_refused_with_the_fields_name(string name)
    {
        var way = Find(name).Way;
        var plain = Show(Read("unrelated", "1"));
        foreach (var value in Hostile)
        {
            try
            {
                var call = Read(name, value);
                Assert.True(way != Way.Ignored || Show(call) == plain, $"{name} = {Short(value)} has an effect");
            }
            catch (ApiException refusal)
            {
                var error = refusal.Error;
                Assert.True(way != Way.Ignored, $"{name} = {Short(value)} is not ignored: {error.Message}");
                Assert.Equal(name == "model" && error.Status == 404 ? 404 : 400, error.Status);
                // half a surrogate pair may be found before the field is
                Assert.True(error.Param is null ? value.Contains("\\ud") : error.Param == name || error.Param.StartsWith(name + ".") || error.Param.StartsWith(name + "["),
                    $"{name} = {Short(value)} names {error.Param}: {error.Message}");
                Assert.InRange(error.Message.Length, 10, 1600);
            }
        }
    }

    [Fact]
    public void Null_is_the_same_as_absent_for_every_field_but_messages()
    {
        var plain = Show(Read("unrelated", "1"));
        Assert.All(Schema.Concat(Extras).Where(field => field.Name != "messages"), field => Assert.Equal(plain, Show(Read(field.Name, "null"))));
    }

    private static (string Name, Way Way, string Valid) Find(string name) => Schema.Concat(Extras).Single(field => field.Name == name);

    private static Call Read(string name, string value)
    {
        var own = name == "messages" || value.Contains("\"messages\"");
        var messages = own ? "" : "\"messages\":[{\"role\":\"user\",\"content\":\" 1\"}],";
        using var document = JsonDocument.Parse($"{{{messages}\"{name}\":{value}}}");
        return RequestBody.Read(document, root => Reader.ReadChat(root));
    }

    /// <summary>All that a call asks for, without its id and time.</summary>
    private static string Show(Call call) => JsonSerializer.Serialize(call with
    {
        Id = "",
        Created = 0,
        Requests = [.. call.Requests.Select(request => request with { Id = "" })],
    });

    private static string Short(string value) => value.Length > 60 ? value[..60] + "..." : value;

    private static string Repeat(string text, int count) => string.Concat(Enumerable.Repeat(text, count));

    private static readonly RequestReader Reader = new(
        TestServer.Fake(() => new FakeBackend()), new FakeBackend(slots: 8, maxModelLength: 1024).Info, SalsOptions.Default, 264, () => 1, TimeProvider.System);
}
