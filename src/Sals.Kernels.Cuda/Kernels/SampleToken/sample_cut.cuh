// Filters keep a prefix of the order (logit descending, id ascending). Where it ends is found in a histogram over the scaled logit, then
// exactly among the ids of one bin; masses are integers, so the result does not depend on the order of the additions.
#pragma once
#include "sample_row.cuh"

// What the filters have left: entries up to (key, last_id) in the order. Everything at first.
struct Cut {
    u32 key;
    int last_id;
    __device__ __forceinline__ bool keeps(u32 other, int id) const { return other > key || (other == key && id <= last_id); }
};

struct Weights {
    const float* logits;
    float best;
    float temperature;
    float inverse;  // 1 / temperature
    float floor;    // -28 temperature: exp(-28) is less than one unit
    u64 least;
    Cut cut;

    // (logit - best) / temperature, rounded correctly (Markstein): only where the difference is not below the floor
    __device__ __forceinline__ float scaled(float difference) const {
        float q = difference * inverse;
        return fmaf(fmaf(-q, temperature, difference), inverse, q);
    }

    // integer mass of an id that the filters have left; 0 = takes no part
    __device__ __forceinline__ u64 of(float logit, int id) const {
        float difference = logit - best;
        if (!(difference >= floor) || !cut.keeps(order_key(logit), id))
            return 0;
        u64 weight = (u64)(expf(scaled(difference)) * ONE);
        return weight >= least ? weight : 0;
    }

    // does not fall as the logit falls: ids of a lower bin come first in the order
    __device__ __forceinline__ int bin(float logit) const {
        return min(max((int)(scaled(fmaxf(logit - best, floor)) * -BINS_OF_UNIT), 0), BINS - 1);
    }
};

// Number or mass, by bin, of the ids with weight that inside(logit) admits. Integer sums: their order does not matter.
template <bool BY_MASS, typename Inside, typename Bin>
__device__ __forceinline__ void fill_bins(const Weights& weights, Inside inside, Bin bin_of, Shared& shared) {
    __syncthreads();
    for (int i = threadIdx.x; i < BINS; i += THREADS)
        shared.low[i] = 0, shared.high[i] = 0;
    __syncthreads();
    each_id(weights.logits, [&](float logit, int id) {
        u64 weight = inside(logit) ? weights.of(logit, id) : 0;
        if (weight == 0)
            return;
        int bin = bin_of(logit);
        if (!BY_MASS) {
            atomicAdd(&shared.low[bin], 1u);
            return;
        }

        u32 low = (u32)weight, old = atomicAdd(&shared.low[bin], low);
        u32 high = (u32)(weight >> 32) + (old + low < low);
        if (high)
            atomicAdd(&shared.high[bin], high);
    });
    __syncthreads();
}

// The bin in which the running number or mass reaches target(total), -1 when none does; missing: what that bin has to contribute.
template <bool BY_MASS, typename Target>
__device__ __forceinline__ int find_bin(Target target_of, u64& missing, Shared& shared) {
    cluster_sync();
    auto amount = [&](int bin) {
        u64 sum = 0;
#pragma unroll
        for (u32 rank = 0; rank < SPLIT; rank++)
            sum += (BY_MASS ? (u64)load_peer(shared.high[bin], rank) << 32 : 0) + load_peer(shared.low[bin], rank);
        return sum;
    };
    u64 mine[BINS_OF_THREAD], sum = 0, total;
#pragma unroll
    for (int i = 0; i < BINS_OF_THREAD; i++)
        sum += mine[i] = amount(threadIdx.x * BINS_OF_THREAD + i);
    u64 above = block_scan(sum, total, shared), target = target_of(total);
    cluster_sync();
    if (target > total)
        return -1;
#pragma unroll
    for (int i = 0; i < BINS_OF_THREAD; i++) {
        if (above < target && target <= above + mine[i])
            shared.result = threadIdx.x * BINS_OF_THREAD + i, shared.above = above;
        above += mine[i];
    }

    __syncthreads();
    missing = target - shared.above;
    return shared.result;
}

// Cuts to the shortest prefix of the order (logit descending, id ascending) that reaches target(mass or number of all that is left).
template <bool BY_MASS, typename Target>
__device__ __forceinline__ void shorten(Weights& weights, Target target_of, Shared& shared) {
    u32 tid = threadIdx.x;
    u64 missing;
    fill_bins<BY_MASS>(
        weights, [](float) { return true; }, [&](float logit) { return weights.bin(logit); }, shared);
    int bin = find_bin<BY_MASS>(target_of, missing, shared);
    if (bin < 0)
        return;
    u32 least_key = 0, most_key = 0xffffffffu;  // keys of the bin: known once it has been gathered
    for (bool whole = true;; whole = false) {
        // the ids of the bin, if they are not too many, and the range of their keys
        __syncthreads();
        if (tid == 0)
            shared.candidates = 0, shared.least_key = 0xffffffffu, shared.most_key = 0;
        __syncthreads();
        each_id(weights.logits, [&](float logit, int id) {
            u32 key = order_key(logit);
            if (key < least_key || key > most_key || (whole && weights.bin(logit) != bin))
                return;
            u64 weight = weights.of(logit, id);
            if (weight == 0)
                return;
            u32 at = atomicAdd(&shared.candidates, 1u);
            atomicMin(&shared.least_key, key);
            atomicMax(&shared.most_key, key);
            if (at < MAX_CANDIDATES) {
                shared.order[at] = (u64)key << 32 | (0xffffffffu - (u32)id);
                shared.amount[at] = BY_MASS ? weight : 1;
            }
        });
        cluster_sync();
        // SPLIT groups of threads each fetch what one block has found
        u32 candidates = 0, first = 0, found = 0, fetched_rank = tid / (THREADS / SPLIT);
        least_key = 0xffffffffu, most_key = 0;
#pragma unroll
        for (u32 rank = 0; rank < SPLIT; rank++) {
            u32 count = load_peer(shared.candidates, rank);
            if (rank == fetched_rank)
                first = candidates, found = count;
            candidates += count;
            least_key = min(least_key, load_peer(shared.least_key, rank));
            most_key = max(most_key, load_peer(shared.most_key, rank));
        }

        for (u32 i = tid % (THREADS / SPLIT); i < found && candidates <= MAX_CANDIDATES; i += THREADS / SPLIT) {
            shared.all_order[first + i] = load_peer(shared.order[i], fetched_rank);
            shared.all_amount[first + i] = load_peer(shared.amount[i], fetched_rank);
        }

        cluster_sync();
        if (candidates <= MAX_CANDIDATES) {
            // the one at which the sum over those not behind it reaches what is missing
            if (tid < candidates) {
                u64 order = shared.all_order[tid], sum = 0;
                for (u32 i = 0; i < candidates; i++)
                    sum += shared.all_order[i] >= order ? shared.all_amount[i] : 0;
                if (sum >= missing && sum - shared.all_amount[tid] < missing)
                    shared.above = order;
            }

            __syncthreads();
            weights.cut = Cut{(u32)(shared.above >> 32), (int)(0xffffffffu - (u32)shared.above)};
            return;
        }

        if (least_key == most_key) {
            // equal logits weigh the same: as many as are still needed, by ascending id
            u64 each = BY_MASS ? weights.of(logit_of(least_key), 0) : 1, needed = (missing + each - 1) / each;
            auto equal = [&](float logit, int id) { return (u64)(order_key(logit) == least_key && weights.of(logit, id) != 0); };
            int last = pick(
                weights.logits, equal, [&](u64) { return needed - 1; }, shared);
            weights.cut = Cut{least_key, last};
            return;
        }

        int shift = max(32 - __clz(most_key - least_key) - BIN_BITS, 0);
        fill_bins<BY_MASS>(
            weights,
            [&](float logit) {
                u32 key = order_key(logit);
                return key >= least_key && key <= most_key;
            },
            [&](float logit) { return (int)((most_key - order_key(logit)) >> shift); }, shared);
        u64 target = missing;
        bin = find_bin<BY_MASS>([&](u64) { return target; }, missing, shared);
        most_key -= (u32)bin << shift;
        least_key = most_key - min(most_key - least_key, (1u << shift) - 1);
    }
}
