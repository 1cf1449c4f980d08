// From a row's scores to the list of the best: threshold bin, candidates in order, exact counting where bins cannot tell, the list. Included by
// score_select.cu.
#pragma once

// Of a histogram, descending: the bin of the k-th best token, the tokens above it and those in it.
struct Threshold {
    int bin, above, count;
};

// The bin of the k-th best; every lane of a warp gets the answer. Lane l has bins 124 - 4 l to 127 - 4 l. A bin with `saturated` tokens or more is taken
// to hold MANY.
__device__ __forceinline__ Threshold find_bin(const u32* bins, int k, int saturated = 0x7fffffff) {
    int lane = threadIdx.x & 31;
    uint4 four = ((const uint4*)bins)[31 - lane];
    int count[4] = {(int)four.x, (int)four.y, (int)four.z, (int)four.w}, own = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        count[i] = count[i] < saturated ? count[i] : MANY;
        own += count[i];
    }

    int above = own;
#pragma unroll
    for (int offset = 1; offset < 32; offset <<= 1) {
        int below = __shfl_up_sync(FULL_MASK, above, offset);
        if (lane >= offset)
            above += below;
    }

    above -= own;
    int source = __ffs(__ballot_sync(FULL_MASK, above < k && k <= above + own)) - 1, bin = BINS - 1 - 4 * lane, in = count[3];
#pragma unroll
    for (int i = 2; i >= 0; i--) {
        if (above + in < k)
            above += in, in = count[i], bin--;
    }

    return {__shfl_sync(FULL_MASK, bin, source), __shfl_sync(FULL_MASK, above, source), __shfl_sync(FULL_MASK, in, source)};
}

// The k-th largest rank of tokens [sink, end), digit by digit from the highest: any scores, ties too. Sets `prefix` and `shift`; those with
// rank >> shift >= prefix are the k best.
__device__ __forceinline__ void find_rank(const u32* keys, int sink, int end, int k, Shared& shared, u64& prefix, int& shift) {
    prefix = 0;
#pragma unroll 1
    for (shift = 56;; shift -= 7) {
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
                    bool counts = t + i >= sink && t < end && (shift == 56 || rank >> (shift + 7) == prefix);
                    u32 digit = counts ? (u32)(rank >> shift) & 127 : 128;
                    u32 peers = __match_any_sync(FULL_MASK, digit);
                    if (counts && (threadIdx.x & 31) == __ffs(peers) - 1)
                        atomicAdd(shared.fine + digit, __popc(peers));
                }
            }
        }

        __syncthreads();
        Threshold found = find_bin(shared.fine, k);
        prefix = prefix << 7 | found.bin;
        k -= found.above;
        if (k == found.count || shift == 0)
            return;
    }
}

// Bits of the part's tokens whose rank reaches the row's k-th; counts those before the part in shared.before_selected.
__device__ __forceinline__ void mark_by_rank(const u32* keys, const Part& part, int k, u32* mask, Shared& shared) {
    int sink = sink_count(part.length), first = part.first * UNIT, end = part.end * UNIT, shift, before = 0;
    u64 prefix;
    find_rank(keys, sink, part.units * UNIT, k, shared, prefix, shift);
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
            if (t < first)
                before += __popc(word);
            else if (t < end && threadIdx.x % 32 == 0)
                mask[t / 32 - part.first] = word;
        }
    }

    // a warp's lanes hold the same sum
    if (threadIdx.x % 32 == 0)
        atomicAdd(&shared.before_selected, before);
    __syncthreads();
}

// Bins of 32 tokens, bit by bit.
struct Bins {
    uint4 low, high;
};

__device__ __forceinline__ Bins load_bins(const u32* bins, int unit, int units) {
    const uint4* words = (const uint4*)(bins + unit * BIN_WORDS);
    return unit < units ? Bins{__ldcg(words), __ldcg(words + 1)} : Bins{};
}

// Bits of the tokens above a bin, by one pass over the bins of units `first`.., of which the thread's first is loaded; lists the tokens in it.
__device__ __forceinline__ void mark_above(const u32* bins, Bins own, int first, int units, int bin, u32* mask, Shared& shared) {
#pragma unroll 1
    for (int unit = threadIdx.x; unit < units; unit += THREADS) {
        Bins next = load_bins(bins, unit + THREADS, units);
        u32 words[7] = {own.low.x, own.low.y, own.low.z, own.low.w, own.high.x, own.high.y, own.high.z};
        u32 above = 0, in = FULL_MASK;
#pragma unroll
        for (int bit = 6; bit >= 0; bit--) {
            u32 wanted = bin >> bit & 1 ? FULL_MASK : 0;
            above |= in & words[bit] & ~wanted;
            in &= ~(words[bit] ^ wanted);
        }

        mask[unit] = above;
        if (in) {
            int slot = atomicAdd(&shared.candidate_count, __popc(in));
            for (; in; in &= in - 1)
                shared.candidates[slot++] = (first + unit) * UNIT + __ffs(in) - 1;
        }

        own = next;
    }
}

// Adds the k best of the listed candidates: those of the part to the mask, those before it to shared.before_selected. Their ranks are in shared.rank,
// their fine bins in shared.place and counted in shared.fine.
__device__ __forceinline__ void mark_candidates(Shared& shared, const Part& part, int count, int k, u32* mask) {
    auto add = [&](u64 rank) {
        int token = token_of(rank), word = token / UNIT;
        if (word < part.first)
            atomicAdd(&shared.before_selected, 1);
        else if (word < part.end)
            atomicOr(mask + word - part.first, 1u << token % UNIT);
    };
    Threshold found = find_bin(shared.fine, k);
    int* tied = shared.candidates;
#pragma unroll 1
    for (int i = threadIdx.x; i < count; i += THREADS) {
        if (shared.place[i] > found.bin)
            add(shared.rank[i]);
        if (shared.place[i] == found.bin)
            tied[atomicAdd(&shared.tied_count, 1)] = i;
    }

    __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < found.count; i += THREADS) {
        u64 own = shared.rank[tied[i]];
        int better = 0;
#pragma unroll 1
        for (int j = 0; j < found.count; j++)
            better += shared.rank[tied[j]] > own;
        if (better < k - found.above)
            add(own);
    }

    __syncthreads();
}

__device__ __forceinline__ u32 page_of(const u32* pages, int unit, int units) { return unit < units ? pages[unit * UNIT / PAGE_SIZE] : 0; }

// Writes the marked positions, ascending, each with its page. A warp takes 32 words at a time and counts those before them by itself.
// pages: of the row; page: that of the thread's first word
__device__ __forceinline__ void emit(const u32* mask, int unit, int words, const u32* pages, u32 page, uint2* selected) {
    int lane = threadIdx.x & 31, counted = 0, at = 0;
#pragma unroll 1
    for (int base = threadIdx.x - lane; base < words; base += THREADS) {
        for (; at < base; at += 32)
            counted += __popc(mask[at + lane]);
        u32 bits = base + lane < words ? mask[base + lane] : 0;
        int own = __popc(bits), sum = own;
#pragma unroll
        for (int offset = 1; offset < 32; offset <<= 1) {
            int below = __shfl_up_sync(FULL_MASK, sum, offset);
            if (lane >= offset)
                sum += below;
        }

        uint2* to = selected + __reduce_add_sync(FULL_MASK, counted) + sum - own;
        if (base >= THREADS)
            page = page_of(pages, unit + base + lane, unit + words);
        for (; bits; bits &= bits - 1)
            *to++ = make_uint2((unit + base + lane) * UNIT + __ffs(bits) - 1, page);
    }
}

// Finds the threshold's bin of a row, marks the part's tokens above it and lists those in it: for the row's other blocks unless it has none. The
// block's counters are 0 before.
__device__ __forceinline__ void find_candidates(const Args& args, Shared& shared, Scored& scored) {
    const Part& part = scored.part;
    bool alone = part.blocks == 1;
    int tid = threadIdx.x, units = part.end - part.first;
    const u32* bins = args.bins + ((i64)part.row * MASK_WORDS + part.first) * BIN_WORDS;
    Bins own = load_bins(bins, tid, units);
    Counts counts;
    if (!alone)
        counts = gather_counts(args, shared, part);
    Threshold found = find_bin(alone ? shared.histogram : shared.total, critical_count(part.length), SATURATED);
    scored.above = found.above, scored.count = found.count, scored.above_before = 0;
    if (found.count <= CANDIDATES) {
        if (!alone)
            count_before(shared, counts, found.bin);
        mark_above(bins, own, part.first, units, found.bin, scored.mask, shared);
        __syncthreads();
        scored.above_before = shared.before_above;
        if (!alone) {
            u32* list = list_of(args, part) + shared.before_in * 4;
            for (int i = tid; i < shared.candidate_count; i += THREADS) {
                int token = shared.candidates[i];
                publish(list + i * 4, scored.keys[token], token, 0, shared.launch);
            }
        }
    } else if (!alone) {
        // its keys are there for all to read
        __threadfence();
        __syncthreads();
        if (tid == 0)
            publish(list_of(args, part) + (blockIdx.x - part.block) * 4, 0, 0, 0, shared.launch);
    }
}

// Writes the positions of the row's best tokens that lie in the part, after find_candidates.
__device__ __forceinline__ void list_best(const Args& args, Shared& shared, const Scored& scored) {
    const Part& part = scored.part;
    bool alone = part.blocks == 1, few = scored.count <= CANDIDATES;
    int k = critical_count(part.length), listed = few ? scored.count : alone ? 0 : part.blocks;
    u32 launch = shared.launch;
    const u32* list = list_of(args, part);
    const u32* pages = args.table + (i64)part.slot * MAXP;
    u32 page = page_of(pages, part.first + (int)threadIdx.x, part.end);  // long before it is needed
#pragma unroll 1
    for (int i = threadIdx.x; i < listed; i += THREADS) {
        int token;
        u32 key;
        if (alone) {
            token = shared.candidates[i];
            key = args.keys[(i64)part.row * (MAXP * PAGE_SIZE) + token];
        } else {
            uint4 v;
            do
                v = look(list + i * 4);
            while (v.w != launch);
            key = v.x, token = (int)v.y;
        }

        int fine = place_of(score_of(key), scored.expected) % FINE_BINS;
        shared.rank[i] = rank_of(key, token);
        shared.place[i] = (u8)fine;
        atomicAdd(shared.fine + fine, 1u);
    }

    __syncthreads();
    if (few)
        mark_candidates(shared, part, scored.count, k - scored.above, scored.mask);
    else {
        __threadfence();
        mark_by_rank(args.keys + (i64)part.row * (MAXP * PAGE_SIZE), part, k, scored.mask, shared);
    }

    emit(scored.mask, part.first, part.end - part.first, pages, page,
         args.selected + (i64)part.row * YMAX + scored.above_before + shared.before_selected);
}
