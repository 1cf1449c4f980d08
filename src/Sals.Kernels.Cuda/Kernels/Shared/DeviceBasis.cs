using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.Shared;

/// <summary>The latent basis of one layer in device memory: latent = U^T (key - mean), key ~ U latent + mean, keys before rope.</summary>
/// <param name="Image">U as <see cref="BasisImage"/> lays it out.</param>
/// <param name="Bias">[D], of the image.</param>
/// <param name="KeyScale">Of the image, a power of two.</param>
/// <param name="Projection">[2, R, D] fp16 bits: U^T as the sum of two halves, as PackedProjection.Pack makes it.</param>
/// <param name="Mean">[D], zeros for a basis that is not centred.</param>
/// <param name="Scale">[R], value of code 1.</param>
/// <param name="InverseScale">[R], 0 where the scale is 0.</param>
/// <param name="LatentMean">[RS], mean of the leading latent coordinates.</param>
/// <param name="LatentVariance">[RS]</param>
public readonly record struct DeviceBasis(
    DevicePtr<byte> Image,
    DevicePtr<float> Bias,
    float KeyScale,
    DevicePtr<ushort> Projection,
    DevicePtr<float> Mean,
    DevicePtr<float> Scale,
    DevicePtr<float> InverseScale,
    DevicePtr<float> LatentMean,
    DevicePtr<float> LatentVariance);
