// rms_norm — root-mean-square norm of each row, gamma applied to x
//   y[b] = x[b] / sqrt(mean(x[b]^2) + epsilon) * gamma
// in   x     [B, H]   bf16
//      gamma [H]      bf16
// out  y     [B, H]   bf16   may be x
// grid (B)  block 256  smem 32 B
// math f32, sum in a fixed order per row; one rounding, at the store
// cost reads 2 * H, writes 2 * H bytes per row
// defs H · oracle Reference.RmsNorm · launcher RmsNormKernel
#include "bf16.cuh"
#include "chain.cuh"
#include "reduce.cuh"

struct Args {
    const uint4* x;
    const uint4* gamma;
    uint4* y;
    float epsilon;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, x);
CHECK_FIELD(Args, gamma);
CHECK_FIELD(Args, y);
CHECK_FIELD(Args, epsilon);
static_assert(H % 8 == 0, "rows are read 16 bytes at a time");

extern "C" __global__ void __launch_bounds__(256) rms_norm(const __grid_constant__ Args args) {
    constexpr int VECTORS = H / 8;
    constexpr int PER_THREAD = (VECTORS + 255) / 256;
    __shared__ float scratch[8];
    const uint4* x = args.x + (i64)blockIdx.x * VECTORS;
    uint4 packed[PER_THREAD];
    float sum = 0.f;
    release_successor();
    wait_predecessor();
#pragma unroll
    for (int i = 0; i < PER_THREAD; i++) {
        int at = threadIdx.x + i * 256;
        packed[i] = at < VECTORS ? x[at] : make_uint4(0, 0, 0, 0);
        float v[8];
        widen8(packed[i], v);
#pragma unroll
        for (int e = 0; e < 8; e++)
            sum += v[e] * v[e];
    }

    float scale = rsqrtf(block_sum<8>(sum, scratch) / H + args.epsilon);
    uint4* y = args.y + (i64)blockIdx.x * VECTORS;
#pragma unroll
    for (int i = 0; i < PER_THREAD; i++) {
        int at = threadIdx.x + i * 256;
        if (at < VECTORS) {
            float v[8], g[8];
            widen8(packed[i], v);
            widen8(args.gamma[at], g);
#pragma unroll
            for (int e = 0; e < 8; e++)
                v[e] = v[e] * scale * g[e];
            y[at] = narrow8(v);
        }
    }
}
