using System.Buffers.Binary;
using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Tests.Latent;
using Sals.Engine.Text;
using Sals.Engine.Text.Jinja;
using Xunit;

namespace Sals.Engine.Tests.Models;

/// <summary>
/// Micro checkpoints with one damaged file: each opens or gives the loader's own exception, within bounds of time and memory.
/// SALS_FUZZ_FILES sets how many in all (100,000 take some minutes), SALS_FUZZ_SEED repeats a run; file i of a kind follows from seed + i alone.
/// </summary>
public sealed class LoaderFuzzTests : IDisposable
{
    /// <summary>Allocated for one checkpoint at most. A template's limits allow the most: a prompt of 16M characters.</summary>
    private const long MostBytes = 256L << 20;

    private const double MostSeconds = 20;

    private const string Template = """
        {%- macro part(x, y='d') -%}{{ x|trim }}{% if y is defined and y != 'd' %}{{ y|tojson }}{% endif %}{%- endmacro -%}
        {% set ns = namespace(found=false, n=0) %}{% if tools %}{{ tools|length }}{% endif %}{{ bos_token }}
        {%- for message in messages %}{% if loop.first and message.role == 'system' %}{% set ns.found = true %}{% endif %}
        {{- '<|' + message['role'] + '|>' }}{{ part(message.content, y=message.name if message.name is defined else 'd') }}
        {%- if message.content is string %}{{ message.content.split(' ')[-1][::-1][:40] | upper | replace('A', 'b') }}{% else %}{% for p in message.content|selectattr('type', 'equalto', 'text')|list %}{{ p.text }}{% endfor %}{% endif %}
        {%- for i in range(0, 6, 2) %}{{ i * 3 // 2 % 5 }}{{ '%s' ~ loop.index }}{% if not loop.last %},{% endif %}{% endfor %}{% set ns.n = ns.n + message.content|length %}{% endfor %}
        {{- [1, 2, 3]|map('string')|join('-') }}{{ {'a': [1, {'b': none}]}|tojson(indent=2) }}{{ ns.n if ns.found else 'no' }}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}
        """;

    private const string Tokens = """
        {"added_tokens": [{"id": 5, "content": "<s>", "special": true, "normalized": true, "lstrip": true}], "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "[^\\s]+|\\s+(?!\\S)|(?i:'s|x)?\\p{N}{1,3}"}, "behavior": "Isolated"}, {"type": "Digits", "individual_digits": true}]},
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [5], "tokens": ["<s>"]}}},
        "model": {"type": "BPE", "byte_fallback": true, "unk_token": null, "ignore_merges": false, "vocab": {"a": 0, "b": 1, "ab": 2, "▁": 3, "<0x41>": 4, "▁ab": 6, "1": 7}, "merges": ["a b", ["▁", "ab"]]}}
        """;

    private readonly TemporaryFolder _folder = TemporaryFolder.CopyOf(GoldenFolders.Micro("llama31-gqa-rope-scaled"));
    private readonly int _seed = int.TryParse(Environment.GetEnvironmentVariable("SALS_FUZZ_SEED"), out var given) ? given : Environment.TickCount & 0xFFFFFF;
    private readonly int _count = (int.TryParse(Environment.GetEnvironmentVariable("SALS_FUZZ_FILES"), out var asked) ? asked : 4000) / 8;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Configurations() => Run("config.json", File.ReadAllBytes(_folder["config.json"]), () => ModelFolder.Open(_folder.Path).Dispose());

    [Fact]
    public void Generation_configurations() =>
        Run("generation_config.json", """{"do_sample":true,"eos_token_id":[2,0],"max_new_tokens":256,"temperature":0.6,"top_p":0.9,"top_k":40,"min_p":0.1}"""u8.ToArray(), () => ModelFolder.Open(_folder.Path).Dispose());

    [Fact]
    public void Tensor_files()
    {
        var (header, data) = RawSafetensors.Split(_folder["model.safetensors"]);
        Run("model.safetensors", header, () => ModelFolder.Open(_folder.Path).Dispose(), mutated => Safetensors("model.safetensors", mutated, data.Length));
    }

    [Fact]
    public void Tokenizers() => Run("tokenizer.json", Encoding.UTF8.GetBytes(Tokens), Tokenize);

    [Fact]
    public void Sentencepiece_models()
    {
        byte[] Piece(string text, byte type) => [0x0A, (byte)(text.Length + 9), 0x0A, (byte)text.Length, .. Encoding.ASCII.GetBytes(text), 0x15, 0, 0, 0x80, 0xBF, 0x18, type];
        Run("tokenizer.model", [.. Piece("<unk>", 2), .. Piece("<s>", 3), .. Piece("a", 1), .. Piece("b", 1), .. Piece("ab", 1), 0x12, 2, 0x18, 2, 0x1A, 4, 0x18, 1, 0x20, 0], Tokenize);
    }

    [Fact]
    public void Tokenizer_configurations() =>
        Run("tokenizer_config.json", File.ReadAllBytes(Path.Combine(GoldenFolders.Embedded, "tokenizer_config.json")), () =>
        {
            TokenizerConfig.Read(_folder.Path);
            Render();
        });

    [Fact]
    public void Templates() => Run("chat_template.jinja", Encoding.UTF8.GetBytes(Template), Render);

    [Fact]
    public void Bases()
    {
        using var model = ModelFolder.Open(_folder.Path);
        var spec = LatentSpecParser.Parse("sals-25", [], model.Config);
        var fingerprint = ModelFingerprint.Of(model.Weights);
        var (width, random) = (model.Config.KeyWidth, new Random(1));
        LatentBasisFile.Write(
            _folder["sals-basis.safetensors"], new LatentBasisOrigin(fingerprint, "data", 1000), model.Config.LayerCount,
            [.. spec.SparseLayers.Select(layer => new CalibratedLayer(
                layer, RandomBasis.Create(random, width, spec.Rank, false), RandomBasis.Create(random, width, spec.Rank, true), new float[width], new float[width]))]);
        LatentBasisFile.Read(_folder["sals-basis.safetensors"], spec, model.Config, fingerprint);
        var (header, data) = RawSafetensors.Split(_folder["sals-basis.safetensors"]);
        Run("sals-basis.safetensors", header, () =>
        {
            LatentBasisFile.Read(_folder["sals-basis.safetensors"], spec, model.Config, fingerprint);
            LatentBasisFile.ReadAll(_folder["sals-basis.safetensors"]);
        }, mutated => Safetensors("sals-basis.safetensors", mutated, data.Length));
    }

    private void Tokenize()
    {
        var tokenizer = TokenizerLoader.Open(_folder.Path);
        var ids = tokenizer.Encode("ab <s> A 12345 's é🙂 a  b", addSpecialTokens: true, parseSpecialTokens: true);
        tokenizer.Decode(ids.ToArray(), skipSpecialTokens: false);
        foreach (var id in ids)
        {
            tokenizer.TokenBytes(id);
        }
    }

    private void Render()
    {
        var messages = JsonDocument.Parse("""[{"role":"system","content":"be  brief"},{"role":"user","content":"hello there","name":"n"}]""").RootElement;
        ChatTemplate.Load(_folder.Path)?.Render(JinjaValue.FromJson(messages), addGenerationPrompt: true);
    }

    private void Safetensors(string name, byte[] header, int dataLength)
    {
        using var stream = new FileStream(_folder[name], FileMode.Create);
        var length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
        stream.Write(length);
        stream.Write(header);

        // content does not matter here: a hole in the file is as good and faster
        stream.SetLength(8 + header.Length + dataLength);
    }

    private void Run(string name, byte[] good, Action open, Action<byte[]>? write = null)
    {
        write ??= bytes => File.WriteAllBytes(_folder[name], bytes);
        write(good);
        open();
        var (opened, most, slowest) = (0, 0L, 0.0);
        for (var i = 0; i < _count; i++)
        {
            var mutated = Mutation.Of(good, new Random(_seed + i));
            write(mutated);
            var allocated = GC.GetAllocatedBytesForCurrentThread();
            var started = Stopwatch.GetTimestamp();
            try
            {
                open();
                opened++;
            }
            catch (Exception exception) when (exception is ModelLoadException or TokenizerException or TemplateException or LatentBasisException)
            {
                Assert.NotEmpty(exception.Message);
            }
            catch (Exception exception)
            {
                Assert.Fail($"SALS_FUZZ_SEED={_seed + i}: {exception}\n{Encoding.UTF8.GetString(mutated)}");
            }

            allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
            var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
            (most, slowest) = (Math.Max(most, allocated), Math.Max(slowest, seconds));
            Assert.True(allocated <= MostBytes && seconds <= MostSeconds, $"SALS_FUZZ_SEED={_seed + i}: {allocated:#,0} bytes, {seconds:0.00} s\n{Encoding.UTF8.GetString(mutated)}");
        }

        var report = $"{name}: {_count:#,0} mutations from seed {_seed}, {opened:#,0} opened; most allocated {most / 1e6:0.0} MB, slowest {slowest * 1000:0} ms";
        TestContext.Current.TestOutputHelper?.WriteLine(report);
        TestContext.Current.SendDiagnosticMessage(report);
        Assert.True(opened < _count, report);
    }
}
