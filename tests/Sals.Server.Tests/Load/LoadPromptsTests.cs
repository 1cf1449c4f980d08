using System.Text.Json;
using Sals.Server.Load;
using Xunit;

namespace Sals.Server.Tests.Load;

public class LoadPromptsTests
{
    private static readonly LoadOptions Options = new() { BaseUrl = "http://x", InputLength = 100, OutputLength = 40, RangeRatio = 0.5, PrefixLength = 30, Prefixes = 2, VocabularySize = 500, Seed = 3 };

    [Fact]
    public void Lengths_ids_and_prefixes_keep_to_the_options()
    {
        var prompts = new LoadPrompts(Options, "m");
        var bodies = Enumerable.Range(0, 400).Select(i => JsonDocument.Parse(prompts.Body(i)).RootElement).ToArray();
        var ids = bodies.Select(body => body.GetProperty("prompt").EnumerateArray().Select(id => id.GetInt32()).ToArray()).ToArray();
        Assert.All(ids.SelectMany(one => one), id => Assert.InRange(id, 16, 499));
        Assert.Equal((80, 180), (ids.Min(one => one.Length), ids.Max(one => one.Length)));
        var outputs = bodies.Select(body => body.GetProperty("max_tokens").GetInt32()).ToArray();
        Assert.Equal((20, 60), (outputs.Min(), outputs.Max()));
        Assert.Equal(2, ids.Select(one => string.Join(',', one[..30])).Distinct().Count());
        Assert.Equal(ids[0][..30], ids[2][..30]);
        Assert.NotEqual(ids[0][30..60], ids[2][30..60]);
        Assert.True(bodies[0].GetProperty("stream_options").GetProperty("continuous_usage_stats").GetBoolean());
    }

    [Fact]
    public void A_body_follows_from_seed_and_number_alone()
    {
        Assert.Equal(new LoadPrompts(Options, "m").Body(5), new LoadPrompts(Options, "m").Body(5));
        Assert.NotEqual(new LoadPrompts(Options, "m").Body(5), new LoadPrompts(Options with { Seed = 4 }, "m").Body(5));
        Assert.NotEqual(new LoadPrompts(Options, "m").Body(1), new LoadPrompts(Options, "m").Body(-1));
    }

    [Fact]
    public void Chat_sends_words_and_extra_fields_win_over_the_standard_temperature()
    {
        var extra = JsonDocument.Parse("""{"temperature":0.7,"cache_salt":"a"}""").RootElement;
        var body = JsonDocument.Parse(new LoadPrompts(Options with { Api = LoadApi.Chat, RangeRatio = 0, IgnoreEndToken = true, ContinuousUsage = false, ExtraBody = extra }, "m").Body(0)).RootElement;
        Assert.Equal(130, body.GetProperty("messages")[0].GetProperty("content").GetString()!.Split(' ').Length);
        Assert.Equal(0.7, body.GetProperty("temperature").GetDouble());
        Assert.Equal("a", body.GetProperty("cache_salt").GetString());
        Assert.True(body.GetProperty("ignore_eos").GetBoolean());
        Assert.False(body.GetProperty("stream_options").TryGetProperty("continuous_usage_stats", out _));
    }
}
