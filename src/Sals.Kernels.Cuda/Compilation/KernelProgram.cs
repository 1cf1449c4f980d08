using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace Sals.Kernels.Cuda.Compilation;

/// <summary>One translation unit with its constants: what is compiled, cached and loaded as a whole.</summary>
/// <param name="Source">The text.</param>
/// <param name="Defines">-D constants, names and values.</param>
public sealed record KernelProgram(KernelSource Source, IReadOnlyList<KeyValuePair<string, long>> Defines)
{
    // trimming keeps the fields that the layout check reads
    internal const DynamicallyAccessedMemberTypes Fields = DynamicallyAccessedMemberTypes.PublicFields | DynamicallyAccessedMemberTypes.NonPublicFields;

    /// <summary>
    /// A program whose single argument struct is <typeparamref name="TArguments"/>: its size and the offset of every field are passed
    /// as ARGS_SIZE and AT_field, which the source checks with static_assert against its own struct.
    /// </summary>
    public static KernelProgram Create<[DynamicallyAccessedMembers(Fields)] TArguments>(string source, params ReadOnlySpan<(string Name, long Value)> defines)
        where TArguments : unmanaged
    {
        var all = new List<KeyValuePair<string, long>>();
        foreach (var (name, value) in defines)
        {
            all.Add(new(name, value));
        }

        all.Add(new("ARGS_SIZE", Unsafe.SizeOf<TArguments>()));
        foreach (var (field, offset) in ArgumentLayout.Of<TArguments>())
        {
            all.Add(new("AT_" + field, offset));
        }

        return new KernelProgram(KernelSource.Load(source), all);
    }

    /// <summary>The compiler's options but for the architecture, in a fixed order.</summary>
    internal IReadOnlyList<string> Options()
    {
        // -v puts registers and spills of every entry into the log, where the cache and the tests find them
        var options = new List<string> { "-std=c++17", "-default-device", "--ptxas-options=-v", "-lineinfo" };
        options.AddRange(Defines.Select(d => $"-D{d.Key}={d.Value}").Order(StringComparer.Ordinal));
        return options;
    }
}

/// <summary>Where the fields of an argument struct really lie, read off the runtime's own layout.</summary>
internal static class ArgumentLayout
{
    /// <summary>Field names in snake_case with their byte offsets, in declaration order.</summary>
    public static IReadOnlyList<(string Name, int Offset)> Of<[DynamicallyAccessedMembers(KernelProgram.Fields)] T>()
        where T : unmanaged
    {
        var fields = typeof(T).GetFields(
            BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic);
        var result = new List<(string Name, int Offset)>();
        foreach (var field in fields)
        {
            // set only this field's bits and see where they arrive
            object box = default(T);
            var value = field.GetValue(box)!;
            Unsafe.As<Raw>(value).First = 0xFF;
            field.SetValue(box, value);
            var bytes = MemoryMarshal.AsBytes(
                MemoryMarshal.CreateReadOnlySpan(ref Unsafe.Unbox<T>(box), 1));
            result.Add((SnakeCase(field.Name), bytes.IndexOfAnyExcept((byte)0)));
        }

        return result;
    }

    /// <summary>"PageTable" becomes "page_table".</summary>
    internal static string SnakeCase(string name)
    {
        var text = new StringBuilder();
        for (var i = 0; i < name.Length; i++)
        {
            if (char.IsUpper(name[i]) && i > 0)
            {
                text.Append('_');
            }

            text.Append(char.ToLowerInvariant(name[i]));
        }

        return text.ToString();
    }

    // the first byte of a boxed value, least significant on the little-endian machines CUDA runs on
    private sealed class Raw
    {
        public byte First;
    }
}
