// Partial results of attention and their merging: every item of a row leaves (m, l, o) of each head; the last to arrive merges 16 items to a group, the
// last of the groups merges those, always in index order, and writes the head. No launch, no spinning; the counters return to zero.
// Constants: DH, HQ, HK; blocks of 128 threads.
#pragma once
#include "exact_page.cuh"

struct Partials {
    float* o;         // [WORK, HQ, DH]
    float2* ml;       // [WORK, HQ]  m in base 2
    int* run_ticket;  // [WORK, HK]  0 before and after
    int* row_ticket;  // [B, HK]     likewise
};

constexpr int MERGE_GROUP = 16;  // items merged at once
constexpr int MAX_GROUPS = 128;

struct MergeScratch {
    float2 ml[MAX_GROUPS * G];
    int flag;
};

// Where an item's group of partial results begins and what it needs.
struct MergeGroup {
    int first;   // work entry
    int count;   // items of the group
    int groups;  // of the row
};

__device__ __forceinline__ MergeGroup merge_group(int row_first, int item, int items) {
    int group = item / MERGE_GROUP;
    return {row_first + group * MERGE_GROUP, min(MERGE_GROUP, items - group * MERGE_GROUP), (items + MERGE_GROUP - 1) / MERGE_GROUP};
}

// Merges `count` partial results of one (row, KV head), `stride` work entries apart, in order: into the first of them, or, when they are
// all there is, into the output.
__device__ __forceinline__ void merge_partials(const Partials& partials, u16* out, MergeScratch& scratch, int first, int stride, int count,
                                               int row, int kv_head, bool last) {
    int tid = threadIdx.x;
    for (int i = tid; i < count * G; i += 128)
        scratch.ml[i] = __ldcg(partials.ml + (i64)(first + i / G * stride) * HQ + kv_head * G + i % G);
    __syncthreads();
    for (int i = tid; i < G * DH / 4; i += 128) {
        int head = i / (DH / 4), column = i % (DH / 4);
        float top = NOTHING;
        for (int r = 0; r < count; r++)
            top = fmaxf(top, scratch.ml[r * G + head].x);
        float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
        float l = 0.f;
        const float4* from = (const float4*)(partials.o + ((i64)first * HQ + kv_head * G + head) * DH) + column;
        i64 step = (i64)stride * HQ * DH / 4;
#pragma unroll 8
        for (int r = 0; r < count; r++) {
            float4 v = __ldcg(from + r * step);
            float2 part = scratch.ml[r * G + head];
            float weight = exp2_fast(part.x - top);
            l += part.y * weight;
            sum.x += v.x * weight, sum.y += v.y * weight, sum.z += v.z * weight, sum.w += v.w * weight;
        }

        if (last) {
            float inverse = 1.f / l;
            uint2 packed = make_uint2(narrow2(sum.x * inverse, sum.y * inverse), narrow2(sum.z * inverse, sum.w * inverse));
            *(uint2*)(out + ((i64)row * HQ + kv_head * G + head) * DH + column * 4) = packed;
        } else {
            // only this thread reads these four numbers, and it has; (m, l) live in shared memory by now
            *(float4*)from = sum;
            if (column == 0)
                partials.ml[(i64)first * HQ + kv_head * G + head] = make_float2(top, l);
        }
    }
}

// True in every thread when this block is the last of `expected` to arrive; the ticket is then back at zero.
__device__ __forceinline__ bool arrive_last(int* ticket, int expected, int* flag) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        bool last = atomicAdd(ticket, 1) == expected - 1;
        if (last)
            *ticket = 0;
        *flag = last;
        __threadfence();
    }

    __syncthreads();
    return *flag;
}

// Called by the whole block when all of a group's partial results are written.
__device__ __forceinline__ void complete_group(const Partials& partials, u16* out, MergeScratch& scratch, MergeGroup group, int row_first,
                                               int row, int kv_head) {
    merge_partials(partials, out, scratch, group.first, 1, group.count, row, kv_head, group.groups == 1);
    if (group.groups > 1 && arrive_last(partials.row_ticket + (i64)row * HK + kv_head, group.groups, &scratch.flag))
        merge_partials(partials, out, scratch, row_first, MERGE_GROUP, group.groups, row, kv_head, true);
}

// Called by the whole block when the partial result of item `item` of a row's `items` > 1 is written; row_first: work entry of the row's item 0.
__device__ __forceinline__ void arrive(const Partials& partials, u16* out, MergeScratch& scratch, int row_first, int item, int items,
                                       int row, int kv_head) {
    MergeGroup group = merge_group(row_first, item, items);
    if (arrive_last(partials.run_ticket + (i64)group.first * HK + kv_head, group.count, &scratch.flag))
        complete_group(partials, out, scratch, group, row_first, row, kv_head);
}
