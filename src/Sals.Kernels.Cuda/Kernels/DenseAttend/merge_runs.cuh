// Partial results of runs: how a lane stores its share of one, and the kernel that merges those of a row. Included by dense_attend.cu.
#pragma once

// DH / 32 consecutive numbers of a head, which a lane merges
struct Part {
    float v[DH / 32];
};

__device__ __forceinline__ Part load_part(const float* from) {
    Part part;
    if constexpr (DH == 128) {
        float4 v = __ldcg((const float4*)from);
        part.v[0] = v.x, part.v[1] = v.y, part.v[2] = v.z, part.v[3] = v.w;
    } else {
        float2 v = __ldcg((const float2*)from);
        part.v[0] = v.x, part.v[1] = v.y;
    }

    return part;
}

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

// Merges the runs of rows that have several: a warp the first 16, another the rest, then the two; always in order of tokens.
// grid (HQ, B)  block 64
extern "C" __global__ void __launch_bounds__(64) merge_runs(const __grid_constant__ Args args) {
    constexpr int HALF = MOST_RUNS / 2;
    __shared__ __align__(16) float second[DH];
    __shared__ float2 second_ml;
    release_successor();
    int head = blockIdx.x, row = blockIdx.y, lane = threadIdx.x & 31, half = threadIdx.x >> 5, column = lane * (DH / 32);
    int runs = run_count(args.position[row] + 1), count = min(runs - half * HALF, HALF);
    i64 at = (i64)(args.row_first[row] + half * HALF) * HQ + head;
    wait_predecessor();
    if (runs == 1 || (runs <= HALF && half == 1))
        return;
    Part part[HALF], sum;
#pragma unroll
    for (int r = 0; r < HALF; r++)
        part[r] = load_part(args.partial + (at + (r < count ? r : 0) * HQ) * DH + column);  // those past the end have weight 0
    float2 ml = lane < count ? __ldcg(args.partial_ml + at + lane * HQ) : make_float2(NOTHING, 0.f);
    float top = warp_max(ml.x), weight = exp2_fast(ml.x - top), total = warp_sum(ml.y * weight);
#pragma unroll
    for (int i = 0; i < DH / 32; i++)
        sum.v[i] = 0.f;
#pragma unroll
    for (int r = 0; r < HALF; r++) {
        float w = __shfl_sync(FULL_MASK, weight, r);
#pragma unroll
        for (int i = 0; i < DH / 32; i++)
            sum.v[i] += part[r].v[i] * w;
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
