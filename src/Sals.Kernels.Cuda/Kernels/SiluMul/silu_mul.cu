// silu_mul — the gated activation of the MLP
//   y[t, f] = silu(gate_up[t, f]) * gate_up[t, F + f],   silu(z) = z / (1 + exp(-z))
// in   gate_up [T, 2 * F]  bf16   gate rows first, as the packed weight
// out  y       [T, F]      bf16
// grid (ceil(F / 2048), T)  block 256  smem 0
// math f32, one rounding
// cost reads 4 * F, writes 2 * F bytes per token
// defs F · oracle Reference.SiluMul · launcher SiluMulKernel
#include "bf16.cuh"

struct Args {
    const uint4* gate_up;
    uint4* y;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, gate_up);
CHECK_FIELD(Args, y);
static_assert(F % 8 == 0, "rows are read 16 bytes at a time");

extern "C" __global__ void __launch_bounds__(256) silu_mul(const __grid_constant__ Args args) {
    constexpr int VECTORS = F / 8;
    int at = blockIdx.x * 256 + threadIdx.x;
    if (at >= VECTORS)
        return;
    i64 row = blockIdx.y;
    float gate[8], up[8];
    widen8(args.gate_up[row * 2 * VECTORS + at], gate);
    widen8(args.gate_up[row * 2 * VECTORS + VECTORS + at], up);
#pragma unroll
    for (int e = 0; e < 8; e++)
        gate[e] = gate[e] / (1.f + __expf(-gate[e])) * up[e];
    args.y[row * VECTORS + at] = narrow8(gate);
}
