// Prefix sums over a warp and over a block.
#pragma once
#include "types.cuh"

// Sum of `value` over the lanes up to this one.
template <typename T>
__device__ __forceinline__ T warp_scan(T value) {
#pragma unroll
    for (int offset = 1; offset < 32; offset <<= 1) {
        T below = __shfl_up_sync(FULL_MASK, value, offset);
        if ((threadIdx.x & 31) >= offset)
            value += below;
    }

    return value;
}

// Sum of `value` over the threads below this one. scratch [WARPS]; begins with a barrier, so the scratch of the last call is free by then.
template <int WARPS>
__device__ __forceinline__ int exclusive_scan(int value, int* scratch) {
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, sum = warp_scan(value);
    __syncthreads();
    if (lane == 31)
        scratch[warp] = sum;
    __syncthreads();
    int before = sum - value;
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        if (w < warp)
            before += scratch[w];
    }

    return before;
}
