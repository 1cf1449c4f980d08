using System.Text.Json;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>
/// What happens to each field of a request that is not acted on: ignored, because the answer is right without it, or refused with a 400,
/// because it would not be. Fields that no list names are ignored too, as other servers do, and named in the debug log.
/// </summary>
public static class FieldPolicy
{
    private const string NoGrammar = "is not supported; use structured_outputs (json, regex, choice, grammar) or response_format";

    private const string NoAdapters = "LoRA adapters are not supported by this server";

    /// <summary>Accepted without effect: bookkeeping of OpenAI's service and hints that do not change the answer's form.</summary>
    public static readonly IReadOnlySet<string> Ignored = new HashSet<string>(StringComparer.Ordinal)
    {
        "user", "metadata", "store", "safety_identifier", "service_tier", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
        "verbosity", "prediction", "web_search_options", "moderation", "audio",
        "spaces_between_special_tokens", "request_id", "session_id", "stream_interval",
    };

    /// <summary>Refused unless the value asks for nothing (false, zero, empty, the value given here).</summary>
    private static readonly Dictionary<string, (string Reason, string[] Harmless)> Refused = new(StringComparer.Ordinal)
    {
        ["functions"] = ("is deprecated and not supported; use tools", []),
        ["function_call"] = ("is deprecated and not supported; use tool_choice", ["none", "auto"]),
        ["guided_json"] = (NoGrammar, []),
        ["guided_regex"] = (NoGrammar, []),
        ["guided_choice"] = (NoGrammar, []),
        ["guided_grammar"] = (NoGrammar, []),
        ["guided_decoding"] = (NoGrammar, []),
        ["structural_tag"] = (NoGrammar, []),
        ["grammar"] = (NoGrammar, []),
        ["json_schema"] = (NoGrammar, []),
        ["regex"] = (NoGrammar, []),
        ["ebnf"] = (NoGrammar, []),
        ["stop_regex"] = ("is not supported; use stop", []),
        ["chat_template"] = ("a template never comes from a request; start the server with --chat-template", []),
        ["suffix"] = ("fill-in-the-middle is not supported by this model", []),
        ["use_beam_search"] = ("beam search is not supported", []),
        ["logits_processors"] = ("is not supported", []),
        ["prompt_embeds"] = ("tensors are not accepted from requests", []),
        ["documents"] = ("is not supported; put the documents into the messages", []),
        ["mm_processor_kwargs"] = ("this server serves text only", []),
        ["kv_transfer_params"] = ("is not supported", []),
        ["thinking_token_budget"] = ("is not supported", []),
        ["logprob_token_ids"] = ("is not supported; use top_logprobs", []),
        ["lora_request"] = (NoAdapters, []),
        ["lora_path"] = (NoAdapters, []),
        ["lora"] = (NoAdapters, []),
        ["adapter_id"] = (NoAdapters, []),
    };

    /// <exception cref="ApiException">A field asks for something that this server would have to leave out silently.</exception>
    public static void Check(JsonFields fields)
    {
        foreach (var (name, value) in fields.All())
        {
            if (Refused.TryGetValue(name, out var refusal) && !AsksNothing(name, value, refusal.Harmless))
            {
                throw new ApiException(ApiError.Unsupported(name, $"{name}: {refusal.Reason}."));
            }
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

        if (fields.Text("truncation_side", 16) is { } side && side != "left")
        {
            throw new ApiException(ApiError.Unsupported("truncation_side", "truncation_side: truncate_prompt_tokens keeps the end of a prompt; expected left."));
        }

        if (fields.Number("length_penalty", -100, 100) is { } penalty && penalty != 1)
        {
            throw new ApiException(ApiError.Unsupported("length_penalty", "length_penalty: belongs to beam search, which is not supported."));
        }
    }

    /// <summary>Fields of the request that have no effect, first those that are ignored on purpose, then those that no list names.</summary>
    public static (string[] Ignored, string[] Unknown) WithoutEffect(JsonFields fields, IReadOnlySet<string> known)
    {
        var names = fields.All().Select(field => field.Name).Where(name => !known.Contains(name) && !Refused.ContainsKey(name)).ToArray();
        return (
            [.. names.Where(Ignored.Contains)],
            [.. names.Where(name => !Ignored.Contains(name)).Select(name => name.Length > 40 ? name[..40] : name).Take(20)]);
    }

    /// <summary>Whether a field that asks for something is refused whatever it says.</summary>
    public static bool Refuses(string name) => Refused.ContainsKey(name);

    public static bool AsksNothing(string name, JsonElement value, string[] harmless) => value.ValueKind switch
    {
        JsonValueKind.False => true,
        JsonValueKind.Array => value.GetArrayLength() == 0,
        JsonValueKind.Object => !value.EnumerateObject().Any(),
        JsonValueKind.String => JsonFields.TextOf(value, name, int.MaxValue) is var text && (text.Length == 0 || harmless.Contains(text)),
        _ => false,
    };
}
