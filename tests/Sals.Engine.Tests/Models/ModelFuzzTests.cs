using System.Buffers.Binary;
using Sals.Engine.Models;
using Xunit;

namespace Sals.Engine.Tests.Models;

/// <summary>Thousands of mutated files: each loads or gives a <see cref="ModelLoadException"/>, never anything else.</summary>
public sealed class ModelFuzzTests : IDisposable
{
    private const int Seed = 20251124;

    private readonly TemporaryFolder _folder = TemporaryFolder.CopyOf(GoldenFolders.Micro("llama31-gqa-rope-scaled"));

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Mutated_configurations()
    {
        byte[] good = File.ReadAllBytes(_folder["config.json"]);
        int loaded = Run(2500, good, mutated =>
        {
            File.WriteAllBytes(_folder["config.json"], mutated);
            ModelConfigReader.Read(_folder.Path);
        });

        Assert.InRange(loaded, 1, 2499);
    }

    [Fact]
    public void Mutated_generation_configurations()
    {
        byte[] good = """{"do_sample":true,"eos_token_id":[2,0],"max_new_tokens":256,"temperature":0.6,"top_p":0.9,"top_k":40,"min_p":0.1}"""u8.ToArray();
        int loaded = Run(1500, good, mutated =>
        {
            File.WriteAllBytes(_folder["generation_config.json"], mutated);
            ModelFolder.Open(_folder.Path).Dispose();
        });

        Assert.InRange(loaded, 1, 1499);
    }

    [Fact]
    public void Mutated_tensor_headers()
    {
        var (header, data) = RawSafetensors.Split(_folder["model.safetensors"]);
        var config = ModelConfigReader.Read(_folder.Path);
        int loaded = Run(2500, header, mutated =>
        {
            // the data may not be as long as the header says: that is one of the mutations
            WriteModel(mutated, data);
            ModelLoader.Load(new Checkpoint(_folder.Path), config).Dispose();
        });

        Assert.InRange(loaded, 1, 2499);
    }

    [Fact]
    public void Mutated_header_lengths()
    {
        byte[] good = File.ReadAllBytes(_folder["model.safetensors"]);
        Run(500, good[..8], mutated =>
        {
            byte[] file = (byte[])good.Clone();
            mutated.AsSpan(0, Math.Min(8, mutated.Length)).CopyTo(file);
            File.WriteAllBytes(_folder["model.safetensors"], file);
            new Checkpoint(_folder.Path).Dispose();
        });
    }

    [Fact]
    public void Mutated_indexes()
    {
        File.Move(_folder["model.safetensors"], _folder["shard.safetensors"]);
        using (var shard = new SafetensorsFile(_folder["shard.safetensors"]))
        {
            string map = string.Join(",", shard.Entries.Keys.Select(name => $"\"{name}\":\"shard.safetensors\""));
            File.WriteAllText(_folder["model.safetensors.index.json"], $$$"""{"metadata":{"total_size":1},"weight_map":{{{{map}}}}}""");
        }

        byte[] good = File.ReadAllBytes(_folder["model.safetensors.index.json"]);
        var config = ModelConfigReader.Read(_folder.Path);
        int loaded = Run(1500, good, mutated =>
        {
            File.WriteAllBytes(_folder["model.safetensors.index.json"], mutated);
            ModelLoader.Load(new Checkpoint(_folder.Path), config).Dispose();
        });

        Assert.InRange(loaded, 1, 1499);
    }

    private void WriteModel(byte[] header, byte[] data)
    {
        using var stream = new FileStream(_folder["model.safetensors"], FileMode.Create);
        byte[] length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
        stream.Write(length);
        stream.Write(header);

        // content does not matter here: a hole in the file is as good and faster
        stream.SetLength(8 + header.Length + data.LongLength);
    }

    /// <returns>How many of the mutations still loaded.</returns>
    private static int Run(int count, byte[] good, Action<byte[]> load)
    {
        int loaded = 0;
        for (int i = 0; i < count; i++)
        {
            byte[] mutated = Mutation.Of(good, new Random(Seed + i));
            try
            {
                load(mutated);
                loaded++;
            }
            catch (ModelLoadException e)
            {
                Assert.DoesNotContain(e.Message, char.IsControl);
            }
            catch (Exception e)
            {
                Assert.Fail($"seed {Seed + i}: {e}");
            }
        }

        return loaded;
    }
}
