// Partial results of runs: how a lane stores its share of one, and the kernel that merges those of a row. Included by dense_attend.cu.
#pragma once

// DH / 32 consecutive numbers of a head, which a lane merges
struct Part {
    float v[DH / 32];
};

__device__ __forceinline__ void store_part(float* to, const Part& part) {
    if constexpr (DH == 128)
        *(float4*)to = make_float4(part.v[0], part.v[1], part.v[2], part.v[3]);
    else
        *(float2*)to = make_float2(part.v[0], part.v[1]);
}

__device__ __forceinline__ void store_output(u16* to, const Part& part, float inverse) {
    if constexpr (DH == 128)
        *(uint2*)to = make_uint2(narrow2(part.v[0] * inverse, part.v[1] * inverse), narrow2(part.v[2] * inverse, part.v[3] * inverse));
    else
        *(u32*)to = narrow2(part.v[0] * inverse, part.v[1] * inverse);
}

// Merges the runs of rows that have several, always in order of tokens. A thread takes one number of the head, every warp the weights anew.
// grid (HQ, B)  block DH
extern "C" __global__ void __launch_bounds__(DH) merge_runs(const __grid_constant__ Args args) {
    release_successor();
    int head = blockIdx.x, row = blockIdx.y, lane = threadIdx.x & 31;
    int runs = run_count(args.position[row] + 1);
    i64 at = (i64)args.row_first[row] * HQ + head;
    wait_predecessor();
    if (runs == 1)
        return;
    static_assert(MOST_RUNS == 32, "a lane knows the weight of a run");
    float part[MOST_RUNS], sum = 0.f;
#pragma unroll
    for (int r = 0; r < MOST_RUNS; r++)
        part[r] = r < runs ? __ldcg(args.partial + (at + r * HQ) * DH + threadIdx.x) : 0.f;
    float2 ml = lane < runs ? __ldcg(args.partial_ml + at + lane * HQ) : make_float2(NOTHING, 0.f);
    float weight = exp2_fast(ml.x - warp_max(ml.x)), total = warp_sum(ml.y * weight);
#pragma unroll
    for (int r = 0; r < MOST_RUNS; r++)
        sum += part[r] * __shfl_sync(FULL_MASK, weight, r);
    args.o[((i64)row * HQ + head) * DH + threadIdx.x] = narrow(sum / total);
}
