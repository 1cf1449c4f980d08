using System.Text.Json;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>
/// What happens to each field of a request that is not acted on: ignored, because the answer is right without it, or refused with a 400,
/// because it would not be. Fields that no list names are ignored too, as other servers do, and named in the debug log.
/// </summary>
public static class FieldPolicy
{
    private const string NoTools = "tool calls are not supported by this server yet";
    private const string NoGrammar = "constrained output is not supported by this server yet; use response_format {\"type\":\"text\"}";

    /// <summary>Accepted without effect: bookkeeping of OpenAI's service and hints that do not change the answer's form.</summary>
    public static readonly IReadOnlySet<string> Ignored = new HashSet<string>(StringComparer.Ordinal)
    {
        "user", "metadata", "store", "safety_identifier", "service_tier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
        "verbosity", "prediction", "web_search_options", "moderation", "parallel_tool_calls", "reasoning_effort", "audio",
        "spaces_between_special_tokens", "truncation_side", "include_reasoning", "request_id", "return_tokens_as_token_ids",
    };

    /// <summary>Refused unless the value asks for nothing (false, zero, empty, the value given here).</summary>
    private static readonly Dictionary<string, (string Reason, string[] Harmless)> Refused = new(StringComparer.Ordinal)
    {
        ["tools"] = (NoTools, []),
        ["tool_choice"] = (NoTools, ["none", "auto"]),
        ["functions"] = ("is deprecated and not supported", []),
        ["function_call"] = ("is deprecated and not supported", ["none", "auto"]),
        ["structured_outputs"] = (NoGrammar, []),
        ["guided_json"] = (NoGrammar, []),
        ["guided_regex"] = (NoGrammar, []),
        ["guided_choice"] = (NoGrammar, []),
        ["guided_grammar"] = (NoGrammar, []),
        ["chat_template"] = ("a template never comes from a request; start the server with --chat-template", []),
        ["suffix"] = ("fill-in-the-middle is not supported by this model", []),
        ["use_beam_search"] = ("beam search is not supported", []),
        ["bad_words"] = ("is not supported; use logit_bias", []),
        ["allowed_token_ids"] = ("is not supported; use logit_bias", []),
        ["logits_processors"] = ("is not supported", []),
        ["prompt_logprobs"] = ("is not supported; /v1/completions with echo and logprobs gives the same", []),
        ["prompt_embeds"] = ("tensors are not accepted from requests", []),
        ["documents"] = ("is not supported; put the documents into the messages", []),
        ["mm_processor_kwargs"] = ("this server serves text only", []),
        ["kv_transfer_params"] = ("is not supported", []),
        ["thinking_token_budget"] = ("is not supported", []),
    };

    /// <exception cref="ApiException">A field asks for something that this server would have to leave out silently.</exception>
    public static void Check(JsonFields fields)
    {
        foreach (var (name, value) in fields.All())
        {
            if (Refused.TryGetValue(name, out var refusal) && !AsksNothing(value, refusal.Harmless))
            {
                throw new ApiException(ApiError.Unsupported(name, $"{name}: {refusal.Reason}."));
            }
        }

        if (fields.Object("response_format") is { } format && format.Text("type", 64) != "text")
        {
            throw new ApiException(ApiError.Unsupported("response_format", $"response_format: {NoGrammar}."));
        }

        foreach (var item in fields.List("modalities", 8) ?? [])
        {
            if (JsonFields.TextOf(item, "modalities", 64) != "text")
            {
                throw new ApiException(ApiError.Unsupported("modalities", "modalities: this server answers in text only."));
            }
        }

        if (fields.Integer("best_of", 1, 128) is { } bestOf && bestOf != (fields.Integer("n", 1, 128) ?? 1))
        {
            throw new ApiException(ApiError.Unsupported("best_of", "best_of: is not supported; leave it out or make it equal to n."));
        }

        if (fields.Number("length_penalty", -100, 100) is { } penalty && penalty != 1)
        {
            throw new ApiException(ApiError.Unsupported("length_penalty", "length_penalty: belongs to beam search, which is not supported."));
        }
    }

    /// <summary>Names of the request's fields that have no effect; empty strings of joined names are not logged.</summary>
    public static string WithoutEffect(JsonFields fields, IReadOnlySet<string> known) =>
        string.Join(", ", fields.All()
            .Select(field => field.Name)
            .Where(name => !known.Contains(name) && !Refused.ContainsKey(name))
            .Select(name => name.Length > 40 ? name[..40] : name)
            .Take(20));

    private static bool AsksNothing(JsonElement value, string[] harmless) => value.ValueKind switch
    {
        JsonValueKind.False => true,
        JsonValueKind.Array => value.GetArrayLength() == 0,
        JsonValueKind.Object => !value.EnumerateObject().Any(),
        JsonValueKind.String => JsonFields.TextOf(value, "", int.MaxValue) is var text && (text.Length == 0 || harmless.Contains(text)),
        _ => false,
    };
}
