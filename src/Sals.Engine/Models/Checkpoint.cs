namespace Sals.Engine.Models;

/// <summary>
/// The tensors of a model folder: <c>model.safetensors</c>, or the shards that <c>model.safetensors.index.json</c> names. Other files
/// (<c>consolidated*.safetensors</c>, <c>original/</c>, adapters) are not opened; pickle files are refused, they can run code.
/// </summary>
public sealed class Checkpoint : IDisposable
{
    private const string SingleFile = "model.safetensors";
    private const string IndexFile = "model.safetensors.index.json";
    private const int MostShards = 4096;
    private const int NamedInErrors = 5;

    private readonly List<SafetensorsFile> _files = [];
    private readonly Dictionary<string, SafetensorsFile> _home = [];

    /// <exception cref="ModelLoadException">No usable checkpoint in <paramref name="folder"/>, or a broken one.</exception>
    public Checkpoint(string folder)
    {
        Folder = folder;
        try
        {
            if (File.Exists(Path.Combine(folder, SingleFile)) || IsLink(Path.Combine(folder, SingleFile)))
            {
                OpenSingle();
            }
            else if (File.Exists(Path.Combine(folder, IndexFile)) || IsLink(Path.Combine(folder, IndexFile)))
            {
                OpenShards(Path.Combine(folder, IndexFile));
            }
            else
            {
                throw Nothing();
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public string Folder { get; }

    /// <summary>Names of all tensors, in no particular order.</summary>
    public IReadOnlyCollection<string> Names => _home.Keys;

    public bool Contains(string name) => _home.ContainsKey(name);

    /// <summary>What the header says of a tensor that <see cref="Contains"/>.</summary>
    public SafetensorsEntry Entry(string name) => FileOf(name).Entry(name);

    /// <summary>Path of the file that holds a tensor.</summary>
    public string PathOf(string name) => FileOf(name).Path;

    /// <summary>The tensor, valid until this checkpoint is disposed.</summary>
    /// <exception cref="ModelLoadException">There is none, or it is not of one or two dimensions in F32, F16 or BF16.</exception>
    public Tensor Tensor(string name) => FileOf(name).Tensor(name);

    public void Dispose()
    {
        foreach (var file in _files)
        {
            file.Dispose();
        }
    }

    private SafetensorsFile FileOf(string name)
    {
        return _home.TryGetValue(name, out var file) ? file : throw new ModelLoadException(Folder, name, "a tensor", "nothing");
    }

    private void OpenSingle()
    {
        var file = new SafetensorsFile(Path.Combine(Folder, SingleFile));
        _files.Add(file);
        foreach (string name in file.Entries.Keys)
        {
            _home.Add(name, file);
        }
    }

    private void OpenShards(string index)
    {
        var map = new Dictionary<string, List<string>>();
        foreach (var (tensor, shard) in JsonField.Load(index, SafetensorsFile.LongestHeader)["weight_map"].Members())
        {
            string name = shard.Text();
            if (!IsPlainName(name))
            {
                throw shard.Error("the plain name of a .safetensors file in this folder");
            }

            if (!map.TryGetValue(name, out var tensors))
            {
                map.Add(name, tensors = []);
            }

            tensors.Add(tensor);
        }

        if (map.Count is 0 or > MostShards)
        {
            throw new ModelLoadException(index, "weight_map", $"1 to {MostShards} files", $"{map.Count}");
        }

        string[] missing = [.. map.Keys.Where(name => !File.Exists(Path.Combine(Folder, name))).Order(StringComparer.Ordinal)];
        if (missing.Length > 0)
        {
            throw new ModelLoadException(index, "weight_map", $"{map.Count} files in the folder", $"{missing.Length} missing: {FirstOf(missing)}");
        }

        foreach (var (name, tensors) in map)
        {
            var file = new SafetensorsFile(Path.Combine(Folder, name));
            _files.Add(file);
            string[] lost = [.. tensors.Where(tensor => !file.Entries.ContainsKey(tensor))];
            if (lost.Length > 0)
            {
                throw new ModelLoadException(file.Path, null, $"the {tensors.Count} tensors that {IndexFile} places here", $"{lost.Length} missing: {FirstOf(lost)}");
            }

            foreach (string tensor in tensors)
            {
                _home.Add(tensor, file);
            }
        }
    }

    private ModelLoadException Nothing()
    {
        string[] names = Directory.Exists(Folder)
            ? [.. new DirectoryInfo(Folder).EnumerateFiles().Select(file => file.Name).Order(StringComparer.Ordinal)]
            : throw new ModelLoadException(Folder, null, "a model folder", "nothing");
        string[] pickles = [.. names.Where(name => Path.GetExtension(name) is ".bin" or ".pt" or ".pth" or ".pkl" or ".ckpt")];
        string[] gguf = [.. names.Where(name => Path.GetExtension(name) is ".gguf")];
        string[] others = [.. names.Where(name => Path.GetExtension(name) is ".safetensors")];
        string found = pickles.Length > 0 ? $"pickle files, which can run code and are not read: {FirstOf(pickles)}; convert them to safetensors"
            : gguf.Length > 0 ? $"GGUF files, which are not supported: {FirstOf(gguf)}"
            : others.Length > 0 ? $"other safetensors files only: {FirstOf(others)}"
            : "no weights";
        return new ModelLoadException(Folder, null, $"{SingleFile} or {IndexFile}", found);
    }

    /// <summary>A name that stays in the folder on every system: no separators, no drive, no dots to climb.</summary>
    private static bool IsPlainName(string name)
    {
        return name.Length is > 0 and <= 255
            && name.EndsWith(".safetensors", StringComparison.Ordinal)
            && name[0] != '.'
            && name.All(c => !char.IsControl(c) && c is not ('/' or '\\' or ':' or '*' or '?'));
    }

    /// <summary>A link counts as there even when it leads nowhere, so that the error names it.</summary>
    private static bool IsLink(string path) => new FileInfo(path).LinkTarget is not null;

    internal static string FirstOf(IReadOnlyCollection<string> names)
    {
        string first = string.Join(", ", names.Take(NamedInErrors).Select(name => ModelLoadException.Shown(name)));
        return names.Count > NamedInErrors ? $"{first} and {names.Count - NamedInErrors} more" : first;
    }
}
