using System.Text;
using System.Text.RegularExpressions;

namespace Sals.Kernels.Cuda.Compilation;

/// <summary>A kernel's text as embedded in this assembly, with the embedded headers it includes, directly or not.</summary>
public sealed partial class KernelSource
{
    private KernelSource(string name, string text, IReadOnlyList<KeyValuePair<string, string>> headers)
    {
        Name = name;
        Text = text;
        Headers = headers;
    }

    /// <summary>File name, such as "dense_attend.cu".</summary>
    public string Name { get; }

    public string Text { get; }

    /// <summary>File name and text of every header, in order of name.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> Headers { get; }

    /// <summary>File names of all kernels in this assembly, ascending.</summary>
    public static IReadOnlyList<string> Names { get; } =
        [.. typeof(KernelSource).Assembly.GetManifestResourceNames().Where(n => n.EndsWith(".cu", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];

    /// <exception cref="ArgumentException">There is no such file, or it includes one that is not embedded.</exception>
    public static KernelSource Load(string name)
    {
        var text = Read(name, name);
        var headers = new SortedDictionary<string, string>(StringComparer.Ordinal);
        Collect(name, text, headers);
        return new KernelSource(name, text, [.. headers]);
    }

    /// <summary>A source that is not embedded, without headers: for tests.</summary>
    internal static KernelSource FromText(string name, string text)
    {
        var headers = new SortedDictionary<string, string>(StringComparer.Ordinal);
        Collect(name, text, headers);
        return new KernelSource(name, text, [.. headers]);
    }

    private static void Collect(string includer, string text, SortedDictionary<string, string> headers)
    {
        foreach (Match match in Include().Matches(text))
        {
            var header = match.Groups[1].Value;
            if (!headers.ContainsKey(header))
            {
                var included = Read(header, includer);
                headers.Add(header, included);
                Collect(header, included, headers);
            }
        }
    }

    private static string Read(string name, string includer)
    {
        using var stream = typeof(KernelSource).Assembly.GetManifestResourceStream(name)
            ?? throw new ArgumentException($"{includer}: '{name}' is not an embedded kernel source.", nameof(name));
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return reader.ReadToEnd();
    }

    [GeneratedRegex("""^\s*#include\s+"([^"]+)"\s*$""", RegexOptions.Multiline)]
    private static partial Regex Include();
}
