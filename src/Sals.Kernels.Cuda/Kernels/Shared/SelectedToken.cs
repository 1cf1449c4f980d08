namespace Sals.Kernels.Cuda.Kernels.Shared;

/// <summary>A token that score_select chose, and where sparse_attend finds it.</summary>
/// <param name="Position">Of the token in its row.</param>
/// <param name="Page">Latent page that holds it, an offset in 4-KiB units.</param>
public readonly record struct SelectedToken(int Position, uint Page);
