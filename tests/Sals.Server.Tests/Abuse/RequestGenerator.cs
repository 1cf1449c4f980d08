using System.Globalization;
using System.Text;

namespace Sals.Server.Tests.Abuse;

/// <summary>
/// Requests between valid and hostile, each from one random source. Fields are plausible or of the wrong kind, size or alphabet; some bodies are then
/// damaged byte by byte.
/// </summary>
internal sealed class RequestGenerator(Random random)
{
    private static readonly string[] Common =
    [
        "temperature", "top_p", "top_k", "min_p", "n", "max_tokens", "max_completion_tokens", "stop", "stream", "stream_options", "logprobs", "top_logprobs", "seed",
        "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "user", "metadata", "ignore_eos", "min_tokens", "stop_token_ids", "bad_words",
        "allowed_token_ids", "skip_special_tokens", "spaces_between_special_tokens", "include_stop_str_in_output", "prompt_logprobs", "echo", "best_of", "suffix", "truncate_prompt_tokens",
        "cache_salt", "priority", "response_format", "structured_outputs", "guided_json", "guided_regex", "tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs",
        "continue_final_message", "add_generation_prompt", "return_token_ids", "return_tokens_as_token_ids", "chat_template", "documents", "reasoning_effort", "modalities",
        "audio", "prediction", "service_tier", "store", "web_search_options", "functions", "function_call", "logits_processors", "use_beam_search", "length_penalty",
        "add_special_tokens", "prompt_embeds", "return_token_strs", "tokens", "model", "messages", "prompt", "input", "instructions", "text", "reasoning", "max_output_tokens",
        "previous_response_id", "include", "truncation", "truncation_side", "verbosity", "safety_identifier", "unknown_field",
    ];

    private static readonly string[] Roles = ["user", "system", "assistant", "tool", "developer", "function", "", "USER"];

    private static readonly string[] Texts =
    [
        "\"\"", "\" \"", "\"Hello\"", "\"What is the capital of France?\"", "\"\\ud800\"", "\"\\udc00x\"", "\"\\u0000\"", "\"\\u202e\\ufeff\"", "\"🙂é漢\"", "\"<|im_start|>system\"", "\"</s>\"",
        "\"[TOOL_CALLS]\"", "\"<tool_call>{\\\"name\\\":\"", "\"<think>\"", "\"{{ 7*7 }}{% for x in range(99999999) %}\"", "\"sals-tiny\"", "\"fake\"", "\"auto\"", "\"none\"", "\"required\"", "\"../../etc/passwd\"",
        "\"file:///etc/passwd\"", "\"http://169.254.169.254/\"", "\"data:image/png;base64,AAAA\"", "\"(a+)+$\"", "\"((((((((((\"", "\"[0-9]{1,999}\"", "\"\\\\p{L}+\"",
    ];

    private static readonly string[] Numbers =
    [
        "0", "1", "2", "-1", "3.0", "0.5", "-0.0", "1e400", "-1e400", "1e-400", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "2147483648", "4294967296", "1E2",
        "0.1e1", "123456789012345678901234567890", "20", "128", "1023", "65536",
    ];

    private static readonly string[] Regexes =
    [
        "a*", "(a|b)+c?", "[a-z]{1,5}", "\\\\d{3}-\\\\d{4}", "(a+)+$", "(x{100}){100}", "[^\\\\x00-\\\\x7f]+", "(?:ab|cd)*", "(?=a)b", "\\\\bword\\\\b", "((((a))))", "[", "(?P<n>x)", ".*.*.*.*.*.*=.*", "a{0}", "a{5,2}", "",
        "[\\\\ud800-\\\\udfff]", "(a?){40}a{40}", "\\\\1",
    ];

    public FuzzRequest Next()
    {
        var kind = random.Next(100);
        var (path, body) = kind switch
        {
            < 45 => ("/v1/chat/completions", Object(Required(("messages", Messages)), Common)),
            < 70 => ("/v1/completions", Object(Required(("prompt", Prompt)), Common)),
            < 78 => ("/tokenize", Object(random.Next(2) == 0 ? Required(("prompt", Prompt)) : Required(("messages", Messages)), Common)),
            < 84 => ("/detokenize", Object(Required(("tokens", Ids)), Common)),
            < 94 => ("/v1/responses", Object(Required(("input", () => random.Next(2) == 0 ? Text() : Messages())), Common)),
            _ => (Path(), random.Next(2) == 0 ? "" : Hostile(0)),
        };
        var bytes = Encoding.UTF8.GetBytes(body);
        if (random.Next(12) == 0)
        {
            bytes = Damaged(bytes);
        }

        var method = random.Next(60) == 0 ? Pick("GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "X") : kind >= 94 ? Pick("GET", "POST") : "POST";
        var type = random.Next(60) == 0 ? Pick("", "text/plain", "application/xml", "multipart/form-data; boundary=x", "application/json; charset=utf-16", ";", "application/problem+json", new string('a', 500)) : "application/json";
        return new FuzzRequest(method, path, type, bytes);
    }

    private List<(string, string)> Required((string Name, Func<string> Value) field) =>
        random.Next(25) == 0 ? [] : [(field.Name, random.Next(15) == 0 ? Hostile(0) : field.Value())];

    private string Object(List<(string Name, string Value)> fields, string[] names)
    {
        for (var i = random.Next(random.Next(12)); i > 0; i--)
        {
            var name = names[random.Next(names.Length)];
            fields.Add((name, random.Next(3) == 0 ? Hostile(1) : Plausible(name)));
        }

        // answers stay short, or a million of them take a day
        if (random.Next(10) > 0)
        {
            fields.Add(("max_tokens", random.Next(1, 12).ToString(CultureInfo.InvariantCulture)));
        }

        // one name twice is refused, which is worth trying, but not always
        var chosen = random.Next(40) == 0 ? fields : fields.DistinctBy(field => field.Name);
        return "{" + string.Join(random.Next(9) == 0 ? " ,\n\t" : ",", chosen.Select(field => $"\"{field.Name}\":{field.Value}")) + "}";
    }

    private string Plausible(string name) => name switch
    {
        "temperature" or "top_p" or "min_p" or "presence_penalty" or "frequency_penalty" or "repetition_penalty" or "length_penalty" => Pick("0", "0.3", "1", "1.7", "2", "-1"),
        "n" or "best_of" => Pick("1", "2", "3", "8"),
        "max_tokens" or "max_completion_tokens" or "min_tokens" or "max_output_tokens" => Pick("0", "1", "5", "9"),
        "top_k" or "seed" or "priority" or "top_logprobs" or "prompt_logprobs" or "truncate_prompt_tokens" => random.Next(-2, 25).ToString(CultureInfo.InvariantCulture),
        "logprobs" => Pick("true", "false", "0", "3", "20"),
        "stop" or "bad_words" => random.Next(2) == 0 ? Text() : List(Text, 6),
        "stop_token_ids" or "allowed_token_ids" or "tokens" => Ids(),
        "stream_options" => Pick("{\"include_usage\":true}", "{\"include_usage\":true,\"continuous_usage_stats\":true}", "{}"),
        "logit_bias" => "{" + string.Join(',', Enumerable.Range(0, random.Next(5)).Select(i => $"\"{random.Next(-3, 1100)}\":{random.Next(-110, 110)}")) + "}",
        "response_format" => Pick("{\"type\":\"text\"}", "{\"type\":\"json_object\"}", $"{{\"type\":\"json_schema\",\"json_schema\":{{\"name\":\"x\",\"strict\":true,\"schema\":{Schema(0)}}}}}"),
        "structured_outputs" => Pick($"{{\"regex\":\"{Regexes[random.Next(Regexes.Length)]}\"}}", $"{{\"choice\":{List(Text, 5)}}}", $"{{\"json\":{Schema(0)}}}", "{\"grammar\":\"root ::= \\\"a\\\"\"}"),
        "text" => $"{{\"format\":{{\"type\":\"json_schema\",\"name\":\"x\",\"schema\":{Schema(0)}}}}}",
        "guided_json" => Schema(0),
        "guided_regex" => $"\"{Regexes[random.Next(Regexes.Length)]}\"",
        "tools" => List(() => $"{{\"type\":\"function\",\"function\":{{\"name\":{Pick("\"f\"", "\"get_weather\"", Text())},\"parameters\":{Schema(0)}}}}}", 3),
        "functions" => List(() => $"{{\"name\":\"f\",\"parameters\":{Schema(0)}}}", 2),
        "tool_choice" => Pick("\"auto\"", "\"none\"", "\"required\"", "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}", "{\"type\":\"function\",\"function\":{\"name\":\"missing\"}}"),
        "chat_template_kwargs" => Pick("{}", "{\"enable_thinking\":false}", "{\"tokenize\":true}", "{\"messages\":[]}", "{\"enable_thinking\":\"x\"}"),
        "reasoning" => "{\"effort\":\"low\"}",
        "messages" => Messages(),
        "prompt" => Prompt(),
        "model" => Pick("\"fake\"", "\"org/alias\"", "\"other\""),
        "user" or "cache_salt" or "service_tier" or "reasoning_effort" or "suffix" or "instructions" or "chat_template" or "truncation_side" => Text(),
        "modalities" => Pick("[\"text\"]", "[\"audio\"]"),
        _ => Pick("true", "false"),
    };

    private string Messages() => List(
        () =>
        {
            var fields = new List<(string Name, string Value)>();
            if (random.Next(30) > 0)
            {
                fields.Add(("role", random.Next(25) == 0 ? Hostile(2) : $"\"{(random.Next(3) > 0 ? "user" : Roles[random.Next(Roles.Length)])}\""));
            }

            if (random.Next(20) > 0)
            {
                fields.Add(("content", random.Next(8) switch
                {
                    0 => Hostile(2),
                    1 => List(() => $"{{\"type\":{Pick("\"text\"", "\"input_text\"", "\"image_url\"", "\"refusal\"", Text())},\"text\":{Text()},\"image_url\":{{\"url\":{Text()}}}}}", 4),
                    _ => Text(),
                }));
            }

            foreach (var extra in new[] { "name", "tool_calls", "tool_call_id", "refusal", "audio", "type", "function_call", "reasoning_content" }.Where(_ => random.Next(12) == 0))
            {
                fields.Add((extra, extra == "tool_calls" && random.Next(2) == 0
                    ? List(() => $"{{\"id\":{Text()},\"type\":\"function\",\"function\":{{\"name\":\"f\",\"arguments\":{Text()}}}}}", 3)
                    : random.Next(2) == 0 ? Text() : Hostile(2)));
            }

            return "{" + string.Join(',', fields.Select(field => $"\"{field.Name}\":{field.Value}")) + "}";
        }, 4, random.Next(20) == 0 ? 0 : 1);

    private string Prompt() => random.Next(8) switch
    {
        0 => List(Text, 3),
        1 => List(Ids, 3),
        2 => "\"" + string.Concat(Enumerable.Repeat(Pick(" ", "a", "aaaa ", "\\n", "🙂", "\\u0301", " the", "0"), random.Next(1, 1500))) + "\"",
        < 5 => Ids(),
        _ => Text(),
    };

    private string Ids() => random.Next(30) == 0 ? List(() => random.Next(-5, 9000).ToString(CultureInfo.InvariantCulture), 20)
        : List(() => random.Next(0, 1000).ToString(CultureInfo.InvariantCulture), random.Next(20) == 0 ? 600 : 40, 1);

    private string Text() => random.Next(12) == 0 ? "\"" + new string((char)random.Next('a', 'z'), random.Next(3000)) + "\"" : Texts[random.Next(Texts.Length)];

    private string Schema(int depth)
    {
        if (random.Next(14) == 0)
        {
            return Hostile(depth + 1);
        }

        switch (depth > 4 ? random.Next(4) : random.Next(11))
        {
            case 0: return $"{{\"type\":\"string\",\"{Pick("minLength", "maxLength", "pattern", "format")}\":{Pick("3", "100000", "\"^a+$\"", "\"date-time\"", "\"(a+)+$\"", "\"uuid\"")}}}";
            case 1: return $"{{\"type\":\"{Pick("integer", "number")}\",\"minimum\":{Numbers[random.Next(Numbers.Length)]},\"maximum\":{Numbers[random.Next(Numbers.Length)]}}}";
            case 2: return $"{{\"type\":{Pick("\"boolean\"", "\"null\"", "[\"string\",\"null\"]", "\"odd\"")}}}";
            case 3: return $"{{\"enum\":{List(() => random.Next(2) == 0 ? Text() : Numbers[random.Next(Numbers.Length)], 5)}}}";
            case 4: return $"{{\"type\":\"array\",\"items\":{Schema(depth + 1)},\"minItems\":{random.Next(4)},\"maxItems\":{Pick("3", "5", "100000", "0")}}}";
            case 5: return $"{{\"{Pick("anyOf", "oneOf", "allOf", "not")}\":{List(() => Schema(depth + 1), 4)}}}";
            case 6: return $"{{\"$ref\":{Pick("\"#\"", "\"#/$defs/a\"", "\"http://x/y\"", "\"#/no/where\"")},\"$defs\":{{\"a\":{Schema(depth + 1)}}}}}";
            default:
                var names = Enumerable.Range(0, random.Next(5)).Select(i => $"p{i}").ToArray();
                return "{\"type\":\"object\",\"properties\":{" + string.Join(',', names.Select(name => $"\"{name}\":{Schema(depth + 1)}"))
                    + "},\"required\":[" + string.Join(',', names.Where(_ => random.Next(2) == 0).Select(name => $"\"{name}\"")) + "],\"additionalProperties\":" + Pick("false", "true", Schema(depth + 1)) + "}";
        }
    }

    private string Hostile(int depth)
    {
        switch (random.Next(depth > 4 ? 5 : 11))
        {
            case 0: return Pick("null", "true", "false");
            case 1: return Numbers[random.Next(Numbers.Length)];
            case 2: return Text();
            case 3: return Pick("[]", "{}", "[[]]", "[null]", "{\"\":{}}", "NaN", "Infinity", "undefined", "'x'", "01", "+1", ".5", "\"\\x\"");
            case 4: return random.Next(-5, 3000).ToString(CultureInfo.InvariantCulture);
            case 5:
                var deep = random.Next(1, 80);
                return random.Next(2) == 0 ? new string('[', deep) + new string(']', deep) : string.Concat(Enumerable.Repeat("{\"a\":", deep)) + "1" + new string('}', deep);
            case 6: return List(() => Pick("1", "\"a\"", "{}"), random.Next(40) == 0 ? 5000 : 10);
            case 7: return List(() => Hostile(depth + 1), 4);
            case 8: return Schema(depth);
            default:
                return "{" + string.Join(',', Enumerable.Range(0, random.Next(5)).Select(_ => $"\"{Common[random.Next(Common.Length)]}\":{Hostile(depth + 1)}")) + "}";
        }
    }

    private string Path() => Pick(
        "/", "/v1/models", "/v1/models/fake", "/v1/models/..%2f..", "/v1/models/" + new string('x', 2000), "/health", "/metrics", "/version", "/openapi.json", "/v1/embeddings", "/v1//chat/completions",
        "/V1/CHAT/COMPLETIONS", "/v1/chat/completions?a=b&a=c", "/invocations", "/pause", "/%00", "/v1/completions/", "/docs", "/\u00e9", "/v1/responses/x");

    private byte[] Damaged(byte[] bytes)
    {
        var damaged = new List<byte>(bytes);
        for (var i = random.Next(1, 4); i > 0 && damaged.Count > 0; i--)
        {
            var at = random.Next(damaged.Count);
            switch (random.Next(4))
            {
                case 0: damaged[at] = (byte)random.Next(256); break;
                case 1: damaged.RemoveRange(at, Math.Min(damaged.Count - at, random.Next(1, 30))); break;
                case 2: damaged.InsertRange(at, damaged.GetRange(at, Math.Min(damaged.Count - at, random.Next(1, 30)))); break;
                default: damaged.Insert(at, (byte)"\"\\{}[],:\0"[random.Next(9)]); break;
            }
        }

        return [.. damaged];
    }

    private string List(Func<string> item, int most, int least = 0) => "[" + string.Join(',', Enumerable.Range(0, random.Next(least, most + 1)).Select(_ => item())) + "]";

    private string Pick(params ReadOnlySpan<string> choices) => choices[random.Next(choices.Length)];
}
