// ceiling — what the device can do at best: reading memory, and starting a kernel that does nothing
//   read_memory: every byte of x is loaded once; a sum keeps the loads alive
// in   x    [COUNT] uint4
// out  sink [1]     u32    written only if the sum is a number that does not come up
// grid (SMS * 2 to 32) or (1)  block 256  smem 0
// math none
// cost COUNT * 16 bytes
// defs none · oracle none (only its time matters) · launcher CeilingKernel
#include "types.cuh"

struct Args {
    const uint4* x;
    u32* sink;
    i64 count;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, x);
CHECK_FIELD(Args, sink);
CHECK_FIELD(Args, count);

__device__ __forceinline__ uint4 load(const uint4* p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}

extern "C" __global__ void __launch_bounds__(256) read_memory(const __grid_constant__ Args args) {
    constexpr int UNROLL = 8;
    u32 sum = 0;
    i64 step = (i64)gridDim.x * 256;
    i64 at = (i64)blockIdx.x * 256 + threadIdx.x;
    for (; at + (UNROLL - 1) * step < args.count; at += UNROLL * step) {
        uint4 v[UNROLL];
#pragma unroll
        for (int i = 0; i < UNROLL; i++)
            v[i] = load(args.x + at + i * step);
#pragma unroll
        for (int i = 0; i < UNROLL; i++)
            sum += v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
    }
    for (; at < args.count; at += step) {
        uint4 v = load(args.x + at);
        sum += v.x ^ v.y ^ v.z ^ v.w;
    }
    if (sum == 0x5a15u)
        *args.sink = sum;
}

extern "C" __global__ void nothing(const __grid_constant__ Args args) {}
