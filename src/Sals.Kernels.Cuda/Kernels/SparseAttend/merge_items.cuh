// The kernel that merges the parts of rows with several items. Included by sparse_attend.cu.
#pragma once
#include "part.cuh"

constexpr int MERGED = 16;  // parts merged at once
constexpr int MERGE_WARPS = 4;

// Merges the parts of rows that have several: 16 at a time, a warp each, then those groups; always in order of items.
// grid (HQ, B)  block 32 * MERGE_WARPS  smem MERGE_GROUPS * (DH * 4 + 8) B, as many groups as the longest row has
extern "C" __global__ void __launch_bounds__(32 * MERGE_WARPS) merge_items(const __grid_constant__ Args args) {
    extern __shared__ __align__(16) float group_o[];  // [MERGE_GROUPS, DH], then (m, l)
    float2* group_ml = (float2*)(group_o + MERGE_GROUPS * DH);
    release_successor();
    int head = blockIdx.x, row = blockIdx.y, lane = threadIdx.x & 31, column = lane * (DH / 32);
    int items = attend_items(args.position[row] + 1), groups = (items + MERGED - 1) / MERGED, first = args.row_first[row];
    wait_predecessor();
    if (items <= 1)
        return;
    u16* output = args.o + ((i64)row * HQ + head) * DH + column;
    for (int group = threadIdx.x >> 5; group < groups; group += MERGE_WARPS) {
        int count = min(MERGED, items - group * MERGED);
        i64 at = (i64)(first + group * MERGED) * HQ + head;
        float2 ml = make_float2(NOTHING, 0.f);
        if (lane < count)
            ml = __ldcg(args.partial_ml + at + lane * HQ);
        Part part[MERGED], sum;
#pragma unroll
        for (int r = 0; r < MERGED; r++)
            part[r] = load_part(args.partial + (at + (r < count ? r : 0) * HQ) * DH + column);
        float top = warp_max(ml.x), weight = exp2_fast(ml.x - top), share = ml.y * weight, total = 0.f;
#pragma unroll
        for (int i = 0; i < DH / 32; i++)
            sum.v[i] = 0.f;
#pragma unroll
        for (int r = 0; r < MERGED; r++) {
            float w = __shfl_sync(FULL_MASK, weight, r), l = __shfl_sync(FULL_MASK, share, r);
            if (r < count) {
                total += l;
#pragma unroll
                for (int i = 0; i < DH / 32; i++)
                    sum.v[i] += part[r].v[i] * w;
            }
        }

        if (groups == 1) {
            store_output(output, sum, 1.f / total);
        } else {
            store_part(group_o + group * DH + column, sum);
            if (lane == 0)
                group_ml[group] = make_float2(top, total);
        }
    }

    __syncthreads();
    if (groups == 1 || threadIdx.x >= 32)
        return;
    float top = NOTHING, total = 0.f;
    for (int group = 0; group < groups; group++)
        top = fmaxf(top, group_ml[group].x);
    Part sum;
#pragma unroll
    for (int i = 0; i < DH / 32; i++)
        sum.v[i] = 0.f;
#pragma unroll 4
    for (int group = 0; group < groups; group++) {
        float2 ml = group_ml[group];
        float weight = exp2_fast(ml.x - top);
        total += ml.y * weight;
#pragma unroll
        for (int i = 0; i < DH / 32; i++)
            sum.v[i] += group_o[group * DH + column + i] * weight;
    }

    store_output(output, sum, 1.f / total);
}
