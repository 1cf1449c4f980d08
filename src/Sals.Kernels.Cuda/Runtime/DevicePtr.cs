using System.Runtime.CompilerServices;

namespace Sals.Kernels.Cuda.Runtime;

/// <summary>Address of elements of <typeparamref name="T"/> in device memory; 8 bytes, passed to kernels as a pointer. bf16 is <see cref="ushort"/>.</summary>
public readonly record struct DevicePtr<T>(ulong Address)
    where T : unmanaged
{
    public bool IsNull => Address == 0;

    /// <summary>The address <paramref name="elements"/> further on.</summary>
    public static DevicePtr<T> operator +(DevicePtr<T> pointer, long elements) => pointer.Add(elements);

    public DevicePtr<T> Add(long elements) => new(Address + (ulong)(elements * Unsafe.SizeOf<T>()));

    /// <summary>The same address read as another type.</summary>
    public DevicePtr<TOther> As<TOther>()
        where TOther : unmanaged => new(Address);
}
