using System.Globalization;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Sals.Engine.Models;

namespace Sals.Engine.Latent;

/// <summary>Where a basis came from, in the file's metadata.</summary>
/// <param name="ModelFingerprint">Of the model whose keys were collected, see <see cref="Models.ModelFingerprint"/>.</param>
/// <param name="DataFingerprint">Of the token sequences.</param>
/// <param name="TokenCount">Tokens that went through the model.</param>
/// <param name="Groups">N, groups of KV heads with a basis of their own.</param>
public sealed record LatentBasisOrigin(string ModelFingerprint, string DataFingerprint, long TokenCount, int Groups = 1);

/// <summary>
/// Calibrated bases as a safetensors file. Metadata: format "sals-basis", version, model and data fingerprint, tokens, key_width, layer_count, rank, basis_groups (N; 1 where it is missing).
/// For each calibrated layer i, all F32: <c>layers.i.mean</c> [D] and for v = uncentred (of the paper) and centred:
/// <c>layers.i.v.vectors</c> [rank, D / N], one eigenvector a row, group after group, in each the largest eigenvalue first; <c>layers.i.v.eigenvalues</c> [D], the whole spectrum of
/// group after group; <c>layers.i.v.latent_mean</c> [rank]. For each rank R that was calibrated for queries too: <c>layers.i.weighted.R.vectors</c> and <c>.projection</c> [R, D / N], whose coordinates
/// have mean 0 and mean square 1. Rows of group g are of channels [g D / N, (g + 1) D / N); the others are 0. Mean and variance of a score follow from latent_mean and eigenvalue - latent_mean^2, the int8 scale of a
/// coordinate is 6 sqrt(eigenvalue) / 127.
/// </summary>
public static class LatentBasisFile
{
    private const string Format = "sals-basis";
    private const string Version = "1";

    /// <summary>Far above any model; the file's own word for it is not trusted.</summary>
    private const int MostLayers = 10_000;

    /// <summary>Writes atomically; the same content gives the same bytes.</summary>
    public static void Write(string path, LatentBasisOrigin origin, int layerCount, IReadOnlyList<CalibratedLayer> layers)
    {
        var writer = new SafetensorsWriter();
        var first = layers[0].Uncentred;
        writer.Metadata["format"] = Format;
        writer.Metadata["version"] = Version;
        writer.Metadata["model_fingerprint"] = origin.ModelFingerprint;
        writer.Metadata["data_fingerprint"] = origin.DataFingerprint;
        writer.Metadata["tokens"] = origin.TokenCount.ToString(CultureInfo.InvariantCulture);
        writer.Metadata["key_width"] = first.Width.ToString(CultureInfo.InvariantCulture);
        writer.Metadata["layer_count"] = layerCount.ToString(CultureInfo.InvariantCulture);
        writer.Metadata["rank"] = first.Rank.ToString(CultureInfo.InvariantCulture);
        writer.Metadata["basis_groups"] = origin.Groups.ToString(CultureInfo.InvariantCulture);
        foreach (var layer in layers)
        {
            writer.Add($"layers.{layer.Layer}.mean", SafetensorsType.F32, layer.Centred.Mean, layer.Centred.Width);
            Add(writer, $"layers.{layer.Layer}.uncentred", layer.Uncentred, layer.UncentredSpectrum, origin.Groups);
            Add(writer, $"layers.{layer.Layer}.centred", layer.Centred, layer.CentredSpectrum, origin.Groups);
            foreach (var weighted in layer.Weighted)
            {
                AddBlocks(writer, $"layers.{layer.Layer}.weighted.{weighted.Rank}.vectors", weighted.Vectors, weighted, origin.Groups);
                AddBlocks(writer, $"layers.{layer.Layer}.weighted.{weighted.Rank}.projection", weighted.Projection, weighted, origin.Groups);
            }
        }

        writer.Write(path);
    }

    /// <summary>The basis that <paramref name="spec"/> asks for: its compressed layers, its rank, centred or not.</summary>
    /// <exception cref="LatentBasisException">No basis file, another version or model, too low a rank or a layer missing.</exception>
    public static LatentBasis Read(string path, LatentSpec spec, ModelConfig model, string modelFingerprint)
    {
        try
        {
            using var file = new SafetensorsFile(path);
            Check(file, spec, model, modelFingerprint);
            var layers = new LatentBasisLayer?[spec.LayerCount];
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            foreach (var i in spec.SparseLayers)
            {
                var own = spec.OfLayer(i);
                layers[i] = spec.Basis == BasisKind.Queries ? ReadWeighted(file, i, own, model.KeyWidth) : ReadLayer(file, i, spec.Centred, own, model.KeyWidth);
                hash.AppendData(MemoryMarshal.AsBytes(layers[i]!.Vectors.AsSpan()));
                hash.AppendData(MemoryMarshal.AsBytes(layers[i]!.Projection.AsSpan()));
                hash.AppendData(MemoryMarshal.AsBytes(layers[i]!.Mean.AsSpan()));
            }

            return new LatentBasis(layers, Convert.ToHexStringLower(hash.GetHashAndReset())[..16]);
        }
        catch (ModelLoadException e)
        {
            throw new LatentBasisException($"The basis file cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Everything in the file, for reports.</summary>
    /// <exception cref="LatentBasisException">No basis file.</exception>
    public static (LatentBasisOrigin Origin, IReadOnlyList<CalibratedLayer> Layers) ReadAll(string path)
    {
        try
        {
            using var file = new SafetensorsFile(path);
            CheckFormat(file);
            int rank = Number(file, "rank"), width = Number(file, "key_width"), count = Number(file, "layer_count");
            if (rank > width || count > MostLayers)
            {
                throw new LatentBasisException($"{file.Path}: expected a rank of at most the key width and at most {MostLayers} layers, found rank {rank}, width {width}, {count} layers.");
            }

            // as the file has them: group after group, all coordinates in one plane
            var all = new LatentSpec { Name = "", LayerCount = count, DenseLayers = [], Rank = rank, ScoreRank = rank, BasisGroups = Groups(file) };
            return (
                new LatentBasisOrigin(Text(file, "model_fingerprint"), Text(file, "data_fingerprint"), Number<long>(file, "tokens"), all.BasisGroups),
                [.. Enumerable.Range(0, count).Where(i => file.Entries.ContainsKey($"layers.{i}.mean")).Select(i => new CalibratedLayer(
                    i, ReadLayer(file, i, false, all, width), ReadLayer(file, i, true, all, width),
                    Row(file, $"layers.{i}.uncentred.eigenvalues", width), Row(file, $"layers.{i}.centred.eigenvalues", width)))]);
        }
        catch (ModelLoadException e)
        {
            throw new LatentBasisException($"The basis file cannot be read: {e.Message}", e);
        }
    }

    private static void Add(SafetensorsWriter writer, string name, LatentBasisLayer basis, float[] spectrum, int groups)
    {
        AddBlocks(writer, $"{name}.vectors", basis.Vectors, basis, groups);
        writer.Add($"{name}.eigenvalues", SafetensorsType.F32, spectrum, spectrum.Length);
        writer.Add($"{name}.latent_mean", SafetensorsType.F32, basis.LatentMean, basis.Rank);
    }

    /// <summary>Of each row only the channels of its group.</summary>
    /// <param name="rows">[rank, D], group after group.</param>
    private static void AddBlocks(SafetensorsWriter writer, string name, float[] rows, LatentBasisLayer basis, int groups)
    {
        int width = basis.Width / groups, share = basis.Rank / groups;
        var blocks = groups == 1 ? rows : new float[basis.Rank * width];
        for (var row = 0; row < basis.Rank && groups > 1; row++)
        {
            rows.AsSpan((row * basis.Width) + (row / share * width), width).CopyTo(blocks.AsSpan(row * width));
        }

        writer.Add(name, SafetensorsType.F32, blocks, basis.Rank, width);
    }

    private static LatentBasisLayer ReadLayer(SafetensorsFile file, int layer, bool centred, LatentSpec spec, int width)
    {
        var name = $"layers.{layer}.{(centred ? "centred" : "uncentred")}";
        int rank = Number(file, "rank"), share = rank / spec.BasisGroups, block = width / spec.BasisGroups;
        float[] spectrum = Row(file, $"{name}.eigenvalues", width), mean = Row(file, $"{name}.latent_mean", rank);
        float[] eigenvalues = new float[spec.Rank], latentMean = new float[spec.Rank];
        for (var group = 0; group < spec.BasisGroups; group++)
        {
            for (var n = 0; n < spec.GroupRank; n++)
            {
                var at = spec.Coordinate(group, n);
                (eigenvalues[at], latentMean[at]) = (spectrum[(group * block) + n], mean[(group * share) + n]);
            }
        }

        return new LatentBasisLayer(
            ReadBlocks(file, $"{name}.vectors", share, spec, width), centred ? Row(file, $"layers.{layer}.mean", width) : new float[width], eigenvalues, latentMean);
    }

    private static LatentBasisLayer ReadWeighted(SafetensorsFile file, int layer, LatentSpec spec, int width)
    {
        var name = $"layers.{layer}.weighted.{spec.Rank}";
        if (!file.Entries.ContainsKey($"{name}.vectors"))
        {
            throw new LatentBasisException($"{file.Path} has no basis made for queries of rank {spec.Rank}, which basis=queries asks for. Run 'sals calibrate' on the CPU with that rank among --ranks.");
        }

        return new LatentBasisLayer(
            ReadBlocks(file, $"{name}.vectors", spec.GroupRank, spec, width), Row(file, $"layers.{layer}.mean", width), [.. Enumerable.Repeat(1f, spec.Rank)], new float[spec.Rank],
            ReadBlocks(file, $"{name}.projection", spec.GroupRank, spec, width));
    }

    /// <summary>The leading vectors of each group, [R, D], where the spec has their coordinates.</summary>
    /// <param name="share">Vectors of each group in the file.</param>
    private static float[] ReadBlocks(SafetensorsFile file, string name, int share, LatentSpec spec, int width) =>
        spec.JoinGroups(width, group => Values(file, name, group * share, spec.GroupRank, width / spec.BasisGroups));

    private static float[] Row(SafetensorsFile file, string name, int columns) => Values(file, name, 0, 1, columns);

    /// <summary>Rows of a tensor, all finite.</summary>
    private static float[] Values(SafetensorsFile file, string name, int first, int rows, int columns)
    {
        var tensor = file.Tensor(name);
        if (tensor.Rows < first + rows || tensor.Columns != columns)
        {
            throw new ModelLoadException(file.Path, name, $"at least {first + rows} rows of {columns}", $"[{tensor.Rows}, {tensor.Columns}]");
        }

        var values = new float[rows * columns];
        tensor.Read(first, rows, values);
        return values.All(float.IsFinite) ? values : throw new ModelLoadException(file.Path, name, "finite numbers", "a NaN or an infinity");
    }

    private static void Check(SafetensorsFile file, LatentSpec spec, ModelConfig model, string modelFingerprint)
    {
        CheckFormat(file);
        var found = Text(file, "model_fingerprint");
        if (found != modelFingerprint)
        {
            throw new LatentBasisException($"{file.Path} was calibrated for the model with fingerprint {ModelLoadException.Shown(found)}, but this model's is {modelFingerprint}. Run 'sals calibrate' for this model.");
        }

        if (Number(file, "key_width") != model.KeyWidth || Number(file, "layer_count") != model.LayerCount)
        {
            throw new LatentBasisException($"{file.Path} is for {Number(file, "layer_count")} layers of key width {Number(file, "key_width")}, the model has {model.LayerCount} of {model.KeyWidth}.");
        }

        if (Groups(file) != spec.BasisGroups)
        {
            throw new LatentBasisException($"{file.Path} holds bases of {Groups(file)} group(s) of KV heads, the settings ask for basis_groups={spec.BasisGroups}. Run 'sals calibrate' with --basis-groups {spec.BasisGroups}, or ask for basis_groups={Groups(file)}.");
        }

        if (Number(file, "rank") < spec.Rank)
        {
            throw new LatentBasisException($"{file.Path} holds rank {Number(file, "rank")}, the settings ask for rank {spec.Rank}. Run 'sals calibrate' with a larger --ranks.");
        }

        foreach (var layer in spec.SparseLayers.Where(layer => !file.Entries.ContainsKey($"layers.{layer}.mean")))
        {
            throw new LatentBasisException($"{file.Path} has no basis for layer {layer}, which the settings compress.");
        }
    }

    private static int Groups(SafetensorsFile file)
    {
        int groups = file.Metadata.ContainsKey("basis_groups") ? Number(file, "basis_groups") : 1, rank = Number(file, "rank"), width = Number(file, "key_width");
        return groups > 0 && rank % groups == 0 && width % groups == 0
            ? groups
            : throw new LatentBasisException($"{file.Path}: expected basis_groups that divide rank {rank} and key width {width}, found {groups}.");
    }

    private static void CheckFormat(SafetensorsFile file)
    {
        if (file.Metadata.GetValueOrDefault("format") != Format)
        {
            throw new LatentBasisException($"{file.Path} is no basis file: its metadata has no format \"{Format}\".");
        }

        if (Text(file, "version") != Version)
        {
            throw new LatentBasisException($"{file.Path} has version {ModelLoadException.Shown(Text(file, "version"))}, expected {Version}.");
        }
    }

    private static string Text(SafetensorsFile file, string key) =>
        file.Metadata.TryGetValue(key, out var text) ? text : throw new LatentBasisException($"{file.Path}: the metadata has no {key}.");

    private static int Number(SafetensorsFile file, string key) => Number<int>(file, key);

    private static T Number<T>(SafetensorsFile file, string key)
        where T : INumberBase<T> =>
        T.TryParse(Text(file, key), NumberStyles.None, CultureInfo.InvariantCulture, out var value)
            ? value
            : throw new LatentBasisException($"{file.Path}: the metadata's {key} is no number: {ModelLoadException.Shown(Text(file, key))}.");
}
