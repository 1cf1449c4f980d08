// The kernel that merges the runs of a row. Included by dense_attend.cu.
#pragma once
#include "part.cuh"

// Merges the runs of listed rows that have several: a warp the first 16, another the rest, then the two; always in order of tokens.
// grid (HQ, B)  block 64
extern "C" __global__ void __launch_bounds__(64) merge_runs(const __grid_constant__ Args args) {
    constexpr int HALF = MOST_RUNS / 2, AT_ONCE = 8;  // parts on their way: more registers would leave room for fewer blocks
    __shared__ __align__(16) float second[DH];
    __shared__ float2 second_ml;
    release_successor();
    int head = blockIdx.x, row = blockIdx.y, lane = threadIdx.x & 31, half = threadIdx.x >> 5, column = lane * (DH / 32);
    int runs = run_count(args.position[row] + 1), count = min(runs - half * HALF, HALF), first = args.row_first[row];
    i64 at = (i64)(first + half * HALF) * HQ + head;
    wait_predecessor();
    if (first < 0 || runs == 1 || (runs <= HALF && half == 1))
        return;
    Part part[AT_ONCE], sum;
    auto load = [&](int first) {
#pragma unroll
        for (int r = 0; r < AT_ONCE; r++)
            part[r] = load_part_if(args.partial + (at + (first + r) * HQ) * DH + column, first + r < count);
    };
    load(0);
    float2 ml = lane < count ? __ldcg(args.partial_ml + at + lane * HQ) : make_float2(NOTHING, 0.f);
    float top = warp_max(ml.x), weight = exp2_fast(ml.x - top), total = warp_sum(ml.y * weight);
#pragma unroll
    for (int i = 0; i < DH / 32; i++)
        sum.v[i] = 0.f;
    for (int first = 0;;) {
#pragma unroll
        for (int r = 0; r < AT_ONCE; r++) {
            float w = __shfl_sync(FULL_MASK, weight, first + r);
#pragma unroll
            for (int i = 0; i < DH / 32; i++)
                sum.v[i] += part[r].v[i] * w;
        }

        first += AT_ONCE;
        if (first >= count)
            break;
        load(first);
    }

    if (runs > HALF) {
        if (half == 1) {
            store_part(second + column, sum);
            if (lane == 0)
                second_ml = make_float2(top, total);
        }

        __syncthreads();
        if (half == 1)
            return;
        float both = fmaxf(top, second_ml.x), w0 = exp2_fast(top - both), w1 = exp2_fast(second_ml.x - both);
        total = total * w0 + second_ml.y * w1;
#pragma unroll
        for (int i = 0; i < DH / 32; i++)
            sum.v[i] = sum.v[i] * w0 + second[column + i] * w1;
    }

    store_output(args.o + ((i64)row * HQ + head) * DH + column, sum, 1.f / total);
}
