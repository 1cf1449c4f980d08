// From a row's scores to the list of the best: threshold bin, candidates in order, exact counting where bins cannot tell, the list. Included by
// score_select.cu.
#pragma once

// Of a histogram, descending: the bin of the k-th best token, the tokens above it and those in it.
struct Threshold {
    int bin, above, count;
};

// Every lane gets the answer. Lane l holds EACH bins from BINS - EACH * (l + 1) on, ascending.
template <int EACH>
__device__ __forceinline__ Threshold find_bin(const int (&count)[EACH], int k) {
    int lane = threadIdx.x & 31, own = 0;
#pragma unroll
    for (int i = 0; i < EACH; i++)
        own += count[i];
    int above = own;
#pragma unroll
    for (int offset = 1; offset < 32; offset <<= 1) {
        int below = __shfl_up_sync(FULL_MASK, above, offset);
        if (lane >= offset)
            above += below;
    }

    above -= own;
    bool here = above < k && k <= above + own;
    Threshold found = {0, 0, 0};
#pragma unroll
    for (int i = EACH - 1; i >= 0; i--) {
        if (above < k && k <= above + count[i])
            found = {EACH * (32 - lane) - EACH + i, above, count[i]};
        above += count[i];
    }

    int source = __ffs(__ballot_sync(FULL_MASK, here)) - 1;
    return {__shfl_sync(FULL_MASK, found.bin, source), __shfl_sync(FULL_MASK, found.above, source),
            __shfl_sync(FULL_MASK, found.count, source)};
}

__device__ __forceinline__ Threshold find_fine_bin(const u32* fine, int k) {
    constexpr int EACH = FINE_BINS / 32;
    int count[EACH];
    const uint4* from = (const uint4*)(fine + FINE_BINS - EACH * (threadIdx.x % 32 + 1));
#pragma unroll
    for (int i = 0; i < EACH / 4; i++) {
        uint4 v = from[i];
        count[4 * i] = v.x, count[4 * i + 1] = v.y, count[4 * i + 2] = v.z, count[4 * i + 3] = v.w;
    }

    return find_bin<EACH>(count, k);
}

// The k-th largest rank of tokens [sink, end), digit by digit from the highest: any scores, ties too. Sets `prefix` and `shift`; those with
// rank >> shift >= prefix are the k best.
__device__ __forceinline__ void find_rank(const u32* keys, int sink, int end, int k, Shared& shared, u64& prefix, int& shift) {
    prefix = 0;
#pragma unroll 1
    for (shift = 56;; shift -= 8) {
        __syncthreads();
        if (threadIdx.x < FINE_BINS)
            shared.fine[threadIdx.x] = 0;
        __syncthreads();
#pragma unroll 1
        for (int base = 0; base < end; base += THREADS * 16) {
            uint4 four[4];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                int t = base + (j * THREADS + threadIdx.x) * 4;
                four[j] = t < end ? __ldcg((const uint4*)(keys + t)) : make_uint4(0, 0, 0, 0);
            }

#pragma unroll
            for (int j = 0; j < 4; j++) {
                int t = base + (j * THREADS + threadIdx.x) * 4;
                u32 key[4] = {four[j].x, four[j].y, four[j].z, four[j].w};
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    u64 rank = rank_of(key[i], t + i);
                    bool counts = t + i >= sink && t < end && (shift == 56 || rank >> (shift + 8) == prefix);
                    u32 digit = counts ? (u32)(rank >> shift) & 255 : 256;
                    u32 peers = __match_any_sync(FULL_MASK, digit);
                    if (counts && (threadIdx.x & 31) == __ffs(peers) - 1)
                        atomicAdd(shared.fine + digit, __popc(peers));
                }
            }
        }

        __syncthreads();
        Threshold found = find_fine_bin(shared.fine, k);
        prefix = prefix << 8 | found.bin;
        k -= found.above;
        if (k == found.count || shift == 0)
            return;
    }
}

// bits of the tokens whose rank reaches the k-th
__device__ __forceinline__ void mark_by_rank(const u32* keys, int sink, int end, int k, u32* mask, Shared& shared) {
    u64 prefix;
    int shift;
    find_rank(keys, sink, end, k, shared, prefix, shift);
#pragma unroll 1
    for (int base = 0; base < end; base += THREADS * 8) {
        u32 key[8];
#pragma unroll
        for (int j = 0; j < 8; j++) {
            int t = base + j * THREADS + threadIdx.x;
            key[j] = t < end ? __ldcg(keys + t) : 0;
        }

#pragma unroll
        for (int j = 0; j < 8; j++) {
            int t = base + j * THREADS + threadIdx.x;
            u32 word = __ballot_sync(FULL_MASK, t >= sink && t < end && rank_of(key[j], t) >> shift >= prefix);
            if (t < end && threadIdx.x % 32 == 0)
                mask[t / 32] = word;
        }
    }

    __syncthreads();
}

// Bins of 32 tokens at a time, bit by bit: units base + i * THREADS + tid.
struct Batch {
    static constexpr int SIZE = 2;
    uint4 low[SIZE], high[SIZE];
};

__device__ __forceinline__ Batch load_bins(const u32* bins, int base, int units) {
    Batch batch;
#pragma unroll
    for (int i = 0; i < Batch::SIZE; i++) {
        int unit = base + i * THREADS + threadIdx.x;
        const uint4* words = (const uint4*)(bins + unit * BIN_WORDS);
        batch.low[i] = unit < units ? __ldcg(words) : make_uint4(0, 0, 0, 0);
        batch.high[i] = unit < units ? __ldcg(words + 1) : make_uint4(0, 0, 0, 0);
    }

    return batch;
}

// Bits of the tokens above the threshold's bin, by one pass over the bins, whose first batch is loaded; lists the tokens in it.
__device__ __forceinline__ void mark_above(const u32* bins, Batch batch, int units, int bin, u32* mask, Shared& shared) {
    u32 wanted[7];
#pragma unroll
    for (int bit = 0; bit < 7; bit++)
        wanted[bit] = bin >> bit & 1 ? FULL_MASK : 0;
#pragma unroll 1
    for (int base = 0; base < units; base += THREADS * Batch::SIZE) {
        Batch ahead = load_bins(bins, base + THREADS * Batch::SIZE, units);
#pragma unroll
        for (int i = 0; i < Batch::SIZE; i++) {
            int unit = base + i * THREADS + threadIdx.x;
            u32 words[7] = {batch.low[i].x,  batch.low[i].y,  batch.low[i].z, batch.low[i].w,
                            batch.high[i].x, batch.high[i].y, batch.high[i].z};
            u32 above = 0, in = unit < units ? FULL_MASK : 0;
#pragma unroll
            for (int bit = 6; bit >= 0; bit--) {
                above |= in & words[bit] & ~wanted[bit];
                in &= ~(words[bit] ^ wanted[bit]);
            }

            if (unit < units)
                mask[unit] = above;
            if (in) {
                int slot = atomicAdd(&shared.candidate_count, __popc(in));
                for (; in; in &= in - 1)
                    shared.candidates[slot++] = unit * 32 + __ffs(in) - 1;
            }
        }

        batch = ahead;
    }
}

__device__ __forceinline__ void set(u32* mask, int token) { atomicOr(mask + token / 32, 1u << token % 32); }

// Adds the k best of the listed tokens; false, and nothing added, when too many of them are close to each other.
__device__ __forceinline__ bool mark_candidates(const u32* keys, float2 expected, int count, int k, u32* mask, Shared& shared) {
    constexpr int EACH = CANDIDATES / THREADS;
    int token[EACH], fine[EACH];
    u32 key[EACH];
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int at = i * THREADS + threadIdx.x;
        token[i] = at < count ? (int)shared.candidates[at] : -1;
        key[i] = at < count ? __ldcg(keys + token[i]) : 0;
    }

#pragma unroll
    for (int i = 0; i < EACH; i++) {
        fine[i] = place_of(score_of(key[i]), expected) % FINE_BINS;
        if (token[i] >= 0)
            atomicAdd(shared.fine + fine[i], 1u);
    }

    __syncthreads();
    Threshold found = find_fine_bin(shared.fine, k);
    if (found.count > TIED)
        return false;
    k -= found.above;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        if (token[i] >= 0 && fine[i] > found.bin)
            set(mask, token[i]);
        if (token[i] >= 0 && fine[i] == found.bin)
            shared.tied[atomicAdd(&shared.tied_count, 1)] = rank_of(key[i], token[i]);
    }

    __syncthreads();
    if (threadIdx.x < found.count) {
        u64 own = shared.tied[threadIdx.x];
        int better = 0;
        for (int i = 0; i < found.count; i++)
            better += shared.tied[i] > own;
        if (better < k)
            set(mask, ~(u32)own);
    }

    __syncthreads();
    return true;
}

// Writes the marked positions, ascending. A warp takes a run of words, 32 at a time.
__device__ __forceinline__ void emit(const u32* mask, int words, int* selected, Shared& shared) {
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int span = (words + THREADS - 1) / THREADS * 32, first = warp * span, end = min(words, first + span), count = 0;
    for (int w = first + lane; w < end; w += 32)
        count += __popc(mask[w]);
    count = __reduce_add_sync(FULL_MASK, count);
    if (lane == 0)
        shared.scan[warp] = count;
    __syncthreads();
    int before = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++)
        before += w < warp ? shared.scan[w] : 0;
#pragma unroll 1
    for (int w = first; w < end; w += 32) {
        u32 bits = w + lane < end ? mask[w + lane] : 0;
        int own = __popc(bits), sum = own;
#pragma unroll
        for (int offset = 1; offset < 32; offset <<= 1) {
            int below = __shfl_up_sync(FULL_MASK, sum, offset);
            if (lane >= offset)
                sum += below;
        }

        for (int at = before + sum - own; bits; bits &= bits - 1)
            selected[at++] = (w + lane) * 32 + __ffs(bits) - 1;
        before += __shfl_sync(FULL_MASK, sum, 31);
    }
}

// Lists a row's best tokens, all of whose scores are known, and clears its histogram. The block's counters are 0 before and after.
__device__ __forceinline__ void select(const Args& args, Shared& shared, const Completed& done) {
    int row = done.row, length = done.length;
    float2 expected = done.expected;
    int tid = threadIdx.x, k = critical_count(length), end = window_start(length), sink = sink_count(length);
    const u32* keys = args.keys + (i64)row * (MAXP * PAGE_SIZE);
    const u32* bins = args.bins + (i64)row * (MASK_WORDS * BIN_WORDS);
    u32* histogram = args.histogram + row * BINS;
    u32* mask = SHARED_MASK ? shared.mask : args.mask + (i64)row * MASK_WORDS;
    Batch batch = load_bins(bins, 0, end / UNIT);
    uint4 four = __ldcg((const uint4*)(histogram + BINS - 4 * (tid % 32 + 1)));
    if (tid < FINE_BINS)
        shared.fine[tid] = 0;
    int count[4] = {(int)four.x, (int)four.y, (int)four.z, (int)four.w};
    Threshold found = find_bin<4>(count, k);
    bool marked = found.count <= CANDIDATES;
    if (marked)
        mark_above(bins, batch, end / UNIT, found.bin, mask, shared);
    __syncthreads();
    if (tid < BINS)
        histogram[tid] = 0;
    if (marked)
        marked = mark_candidates(keys, expected, found.count, k - found.above, mask, shared);
    if (!marked)
        mark_by_rank(keys, sink, end, k, mask, shared);
    if (tid == 0)
        shared.candidate_count = shared.tied_count = 0;
    emit(mask, end / 32, args.selected + (i64)row * YMAX, shared);
    __syncthreads();
}
