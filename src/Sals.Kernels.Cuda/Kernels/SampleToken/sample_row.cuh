// What the blocks of one row do together when a token is sampled: pass over its logits, find the best, pick by running sum.
// A row belongs to a cluster of SPLIT blocks; results are the same in every thread of it. Included by sample_token.cu, which defines V and SAMPLEABLE.
#pragma once
#include "block_scan.cuh"
#include "cluster.cuh"
#include "reduce.cuh"

constexpr int THREADS = 512, WARPS = THREADS / 32;
constexpr int LOADS = 8;
constexpr int CELL = LOADS * 32;  // consecutive ids that a warp takes at a time
constexpr int CELLS = (SAMPLEABLE + CELL - 1) / CELL;
constexpr int CELLS_OF_THREAD = (CELLS + THREADS - 1) / THREADS;
constexpr int BIN_BITS = 11, BINS = 1 << BIN_BITS, BINS_OF_THREAD = BINS / THREADS;
constexpr int MAX_CANDIDATES = 512;
constexpr float BINS_OF_UNIT = 64.f;    // of (best - logit) / temperature; beyond 40 ln 2 units nothing has weight
constexpr float ONE = 1099511627776.f;  // 2^40
#define INFINITE __int_as_float(0x7f800000)
static_assert(40 * 0.6932f * BINS_OF_UNIT < BINS, "every id with weight has a bin");

struct Shared {
    float value[WARPS];
    int id[WARPS];
    u64 best;  // of this block
    u64 mass[WARPS];
    double sum[WARPS];
    double block_sum;
    u32 low[BINS];  // number or mass of the ids of a bin
    u32 high[BINS];
    u64 cell[CELLS];
    u64 order[MAX_CANDIDATES];  // found by this block
    u64 amount[MAX_CANDIDATES];
    u64 all_order[MAX_CANDIDATES];  // by all blocks of the row
    u64 all_amount[MAX_CANDIDATES];
    u32 candidates;
    u32 least_key, most_key;
    int result;
    u64 above;
};

// integers in the order of the floats; adding zero makes -0 and 0 the same
__device__ __forceinline__ u32 order_key(float value) {
    u32 bits = __float_as_uint(value + 0.f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float logit_of(u32 key) { return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

// (value descending, id ascending): is a before b?
__device__ __forceinline__ bool before(float a, int a_id, float b, int b_id) { return a > b || (a == b && a_id < b_id); }

// visit(logit, id) for every id, a lane's in ascending order; after(cell) once a warp has seen CELL consecutive ones
template <typename Visit, typename After>
__device__ __forceinline__ void each_id(const float* logits, Visit visit, After after) {
    int lane = threadIdx.x & 31;
    for (int cell = cluster_rank() * WARPS + (threadIdx.x >> 5); cell < CELLS; cell += SPLIT * WARPS) {
        float v[LOADS];
#pragma unroll
        for (int j = 0; j < LOADS; j++) {
            int id = cell * CELL + j * 32 + lane;
            v[j] = id < SAMPLEABLE ? logits[id] : -INFINITE;
        }

#pragma unroll
        for (int j = 0; j < LOADS; j++) {
            int id = cell * CELL + j * 32 + lane;
            if (id < SAMPLEABLE)
                visit(v[j], id);
        }

        after(cell);
    }
}

template <typename Visit>
__device__ __forceinline__ void each_id(const float* logits, Visit visit) {
    each_id(logits, visit, [](int) {});
}

// Sum over the threads before this one; total: over all.
__device__ __forceinline__ u64 block_scan(u64 value, u64& total, Shared& shared) {
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    u64 running = warp_scan(value);
    __syncthreads();
    if (lane == 31)
        shared.mass[warp] = running;
    __syncthreads();
    u64 of_warp = lane < WARPS ? shared.mass[lane] : 0, sum = warp_scan(of_warp);
    total = __shfl_sync(FULL_MASK, sum, 31);
    return __shfl_sync(FULL_MASK, sum - of_warp, warp) + running - value;
}

// The first in the order, in every thread.
__device__ __forceinline__ void block_best(float& value, int& id, Shared& shared) {
    auto reduce = [&]() {
#pragma unroll
        for (int offset = 16; offset > 0; offset >>= 1) {
            float other = __shfl_xor_sync(FULL_MASK, value, offset);
            int other_id = __shfl_xor_sync(FULL_MASK, id, offset);
            if (before(other, other_id, value, id))
                value = other, id = other_id;
        }
    };
    reduce();
    __syncthreads();
    if ((threadIdx.x & 31) == 0)
        shared.value[threadIdx.x >> 5] = value, shared.id[threadIdx.x >> 5] = id;
    __syncthreads();
    value = shared.value[threadIdx.x % WARPS], id = shared.id[threadIdx.x % WARPS];
    reduce();
    if (SPLIT > 1) {
        if (threadIdx.x == 0)
            shared.best = (u64)(u32)id << 32 | __float_as_uint(value);
        cluster_sync();
        u64 best = load_peer(shared.best, threadIdx.x % SPLIT);
        value = __uint_as_float((u32)best), id = (int)(best >> 32);
        reduce();
        cluster_sync();
    }
}

// Most probable id of raw or adjusted logits.
__device__ __forceinline__ int argmax(const float* logits, float& value, Shared& shared) {
    float top = -INFINITE;
    int id = SAMPLEABLE;
    each_id(logits, [&](float logit, int i) {
        if (before(logit, i, top, id))
            top = logit, id = i;
    });
    block_best(top, id, shared);
    value = top;
    return id < SAMPLEABLE ? id : 0;  // only NaN: the caller's row is lost anyway
}

// The first id, in ascending order, whose running sum of amount(logit, id) exceeds point(total).
template <typename Amount, typename Point>
__device__ __forceinline__ int pick(const float* logits, Amount amount, Point point_of, Shared& shared) {
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    u64 mine = 0;
    each_id(
        logits, [&](float logit, int id) { mine += amount(logit, id); },
        [&](int cell) {
            mine = __shfl_sync(FULL_MASK, warp_scan(mine), 31);
            if (lane == 0)
                shared.cell[cell] = mine;
            mine = 0;
        });
    __syncthreads();  // what is there from an earlier search has been read
    if (threadIdx.x == 0)
        shared.result = 0, shared.above = 0;
    cluster_sync();
    auto mass_of = [&](int cell) { return load_peer(shared.cell[cell], cell / WARPS % SPLIT); };
    u64 sum = 0, total;
    int first = threadIdx.x * CELLS_OF_THREAD, end = min(first + CELLS_OF_THREAD, CELLS);
    for (int cell = first; cell < end; cell++)
        sum += mass_of(cell);
    u64 below = block_scan(sum, total, shared), point = point_of(total);
    if (point >= below && point < below + sum) {
        int cell = first;
        for (u64 next; point >= below + (next = mass_of(cell)); cell++)
            below += next;
        shared.result = cell, shared.above = below;
    }

    cluster_sync();
    int cell = shared.result;
    below = shared.above;
    __syncthreads();
    if (warp == 0) {
        for (int id = cell * CELL + lane;; id += 32) {
            u64 running = below + warp_scan(id < SAMPLEABLE ? amount(logits[id], id) : 0);
            u32 reached = __ballot_sync(FULL_MASK, running > point);
            if (reached) {
                if (lane == 0)
                    shared.result = id + __ffs(reached) - 1;
                break;
            }

            below = __shfl_sync(FULL_MASK, running, 31);
            if (id - lane + 32 >= SAMPLEABLE)
                break;
        }
    }

    __syncthreads();
    return shared.result;
}

__device__ __forceinline__ float log_sum_exp(const float* logits, float best, Shared& shared) {
    double sum = 0;
    each_id(logits, [&](float logit, int) { sum += (double)expf(logit - best); });
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1)
        sum += __shfl_xor_sync(FULL_MASK, sum, offset);
    __syncthreads();
    if ((threadIdx.x & 31) == 0)
        shared.sum[threadIdx.x >> 5] = sum;
    __syncthreads();
    sum = 0;
    for (int w = 0; w < WARPS; w++)
        sum += shared.sum[w];
    if (SPLIT > 1) {
        if (threadIdx.x == 0)
            shared.block_sum = sum;
        cluster_sync();
        sum = 0;
        for (u32 rank = 0; rank < SPLIT; rank++)
            sum += __longlong_as_double((i64)load_peer(*(const u64*)&shared.block_sum, rank));
        cluster_sync();
    }

    return best + (float)log(sum);
}
