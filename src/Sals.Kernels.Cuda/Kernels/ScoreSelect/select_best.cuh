// From a row's scores to the list of the best: threshold bin, candidates in order, exact counting where bins cannot tell, the list. Included by
// score_select.cu.
#pragma once

// The bin of the k-th best, by one warp; every lane gets the answer, but for what earlier blocks have. Lane l has bins 124 - 4 l to 127 - 4 l. A bin with
// `saturated` tokens or more is taken to hold MANY.
__device__ __forceinline__ Found find_bin(const u32* bins, int k, int saturated = 0x7fffffff) {
    int lane = threadIdx.x & 31;
    uint4 four = ((const uint4*)bins)[31 - lane];
    int count[4] = {(int)four.x, (int)four.y, (int)four.z, (int)four.w}, own = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        count[i] = count[i] < saturated ? count[i] : MANY;
        own += count[i];
    }

    // sums over 4, 16 and 32 lanes; what a shuffle takes is the time of this
    int above = own;
#pragma unroll
    for (int width = 1; width < 32; width *= 4) {
        int sum = above;
#pragma unroll
        for (int i = 1; i < (width == 16 ? 2 : 4); i++) {
            int below = __shfl_up_sync(FULL_MASK, above, i * width);
            sum += lane >= i * width ? below : 0;
        }

        above = sum;
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

// The same for the block, with what earlier blocks have; ends with a barrier.
__device__ __forceinline__ Found find_bin_of_row(Shared& shared, const u32* bins, int k) {
    if (threadIdx.x < 32) {
        Found found = find_bin(bins, k, SATURATED);
        uint4 four = ((const uint4*)shared.before)[threadIdx.x];
        u32 count[4] = {four.x, four.y, four.z, four.w}, above = 0;
#pragma unroll
        for (int i = 0; i < 4; i++)
            above += (int)threadIdx.x * 4 + i > found.bin ? count[i] : 0;
        found.above_before = (int)__reduce_add_sync(FULL_MASK, above);
        found.before = (int)shared.before[found.bin];
        if (threadIdx.x == 0)
            shared.found = found;
    }

    __syncthreads();
    return shared.found;
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
        Found found = find_bin(shared.fine, k);
        prefix = prefix << 7 | found.bin;
        k -= found.above;
        if (k == found.count || shift == 0)
            return;
    }
}

// Bits of the part's tokens whose rank reaches the row's k-th; counts those before the part in shared.before_selected.
__device__ __forceinline__ void mark_by_rank(const u32* keys, const ScorePart& part, int k, u32* mask, Shared& shared) {
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

// Which of four bytes are at least `least`, all below 128: bits 0 to 3.
__device__ __forceinline__ u32 reaching(u32 bytes, int least) {
    u32 high = ((bytes | 0x80808080u) - least * 0x01010101u) & 0x80808080u;
    return (high >> 7) * 0x01020408u >> 24;
}

// Marks the part's tokens above a bin and lists those in it: for the row's other blocks unless it has none.
__device__ __forceinline__ void mark_above(const Args& args, Shared& shared, const Scored& scored, const Found& found) {
    const ScorePart& part = scored.part;
    const u8* bins = args.bins + (i64)part.row * (MAXP * PAGE_SIZE) + part.first * UNIT;
    u32* list = list_of(args, part) + found.before * 4;
#pragma unroll 1
    for (int piece = threadIdx.x; piece < 2 * (part.end - part.first); piece += THREADS) {
        uint4 v = scored.kept ? ((const uint4*)shared.kept.bins)[piece] : __ldcg((const uint4*)bins + piece);
        u32 word[4] = {v.x, v.y, v.z, v.w}, above = 0, in = 0;
#pragma unroll
        for (int i = 0; i < 4; i++)
            above |= reaching(word[i], found.bin + 1) << 4 * i, in |= reaching(word[i], found.bin) << 4 * i;
        ((u16*)scored.mask)[piece] = (u16)above;
        in ^= above;
        if (in) {
            int slot = atomicAdd(&shared.candidate_count, __popc(in));
#pragma unroll 1
            for (; in; in &= in - 1, slot++) {
                int token = part.first * UNIT + piece * 16 + __ffs(in) - 1;
                u32 key = scored.keys[token];
                if (part.blocks == 1)
                    shared.rank[slot] = rank_of(key, token);
                else
                    publish(list + slot * 4, key, (u32)token, 0, shared.launch);
            }
        }
    }
}

// Adds the k best of the listed candidates: those of the part to the mask, those before it to shared.before_selected. Their ranks are in shared.rank,
// their fine bins in shared.place and counted in shared.fine.
__device__ __forceinline__ void mark_candidates(Shared& shared, const ScorePart& part, int count, int k, u32* mask) {
    if (threadIdx.x < 32) {
        Found found = find_bin(shared.fine, k);
        if (threadIdx.x == 0)
            shared.found = found;
    }

    __syncthreads();
    int bin = shared.found.bin, wanted = k - shared.found.above, tied = shared.found.count;
#pragma unroll 1
    for (int i = threadIdx.x; i < count; i += THREADS) {
        if (shared.place[i] == bin)
            shared.tied[atomicAdd(&shared.tied_count, 1)] = (u16)i;
    }

    // the least rank that is selected
    __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < tied; i += THREADS) {
        u64 own = shared.rank[shared.tied[i]];
        int better = 0;
#pragma unroll 1
        for (int j = 0; j < tied; j++)
            better += shared.rank[shared.tied[j]] > own;
        if (better == wanted - 1)
            shared.least = own;
    }

    __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < count; i += THREADS) {
        u64 rank = shared.rank[i];
        int token = token_of(rank), word = token / UNIT;
        if (rank >= shared.least && word < part.first)
            atomicAdd(&shared.before_selected, 1);
        if (rank >= shared.least && part.first <= word && word < part.end)
            atomicOr(mask + word - part.first, 1u << token % UNIT);
    }

    __syncthreads();
}

// Latent page of the part's 16 tokens `piece`.
__device__ __forceinline__ u32 page_of(const Args& args, const ScorePart& part, int piece) {
    int unit = part.first + piece / 2;
    return unit < part.end ? args.table[(i64)part.slot * MAXP + unit * UNIT / PAGE_SIZE] : 0;
}

// Writes the marked positions, ascending, each with its page. A thread has 16 tokens at a time; its warp counts those before them by itself.
// page: that of the thread's first tokens
__device__ __forceinline__ void emit(const Args& args, const ScorePart& part, const u32* mask, u32 page, uint2* selected) {
    int lane = threadIdx.x & 31, pieces = 2 * (part.end - part.first), counted = 0, at = lane;
#pragma unroll 1
    for (int base = threadIdx.x - lane; base < pieces; base += THREADS) {
#pragma unroll 1
        for (; at < base / 2; at += 32)
            counted += __popc(mask[at]);
        int piece = base + lane;
        u32 bits = piece < pieces ? ((const u16*)mask)[piece] : 0;
        int own = __popc(bits), sum = warp_scan(own);
        uint2* to = selected + __reduce_add_sync(FULL_MASK, counted) + sum - own;
        if (base >= THREADS)
            page = page_of(args, part, piece);
#pragma unroll 1
        for (; bits; bits &= bits - 1)
            *to++ = make_uint2(part.first * UNIT + piece * 16 + __ffs(bits) - 1, page);
    }
}

// Finds the threshold's bin of a row, marks the part's tokens above it and lists those in it. The block's counters are 0 before.
__device__ __forceinline__ void find_candidates(const Args& args, Shared& shared, Scored& scored) {
    const ScorePart& part = scored.part;
    bool alone = part.blocks == 1;
    if (!alone)
        gather_counts(args, shared, part);
    Found found = find_bin_of_row(shared, alone ? shared.histogram : shared.total, critical_count(part.length));
    scored.above = found.above, scored.count = found.count, scored.above_before = found.count <= CANDIDATES ? found.above_before : 0;
    if (found.count <= CANDIDATES)
        mark_above(args, shared, scored, found);
    else if (!alone) {
        // its keys are there for all to read
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0)
            publish(list_of(args, part) + (blockIdx.x - part.block) * 4, 0, 0, 0, shared.launch);
    }
}

// Writes the positions of the row's best tokens that lie in the part, after find_candidates.
__device__ __forceinline__ void list_best(const Args& args, Shared& shared, const Scored& scored) {
    const ScorePart& part = scored.part;
    bool alone = part.blocks == 1, few = scored.count <= CANDIDATES;
    int k = critical_count(part.length), listed = few ? scored.count : alone ? 0 : part.blocks;
    u32 launch = shared.launch;
    const u32* list = list_of(args, part);
    u32 page = page_of(args, part, threadIdx.x);  // long before it is needed
    if (alone)
        __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < listed; i += THREADS) {
        if (!alone) {
            uint4 v;
            do
                v = look(list + i * 4);
            while (v.w != launch);
            shared.rank[i] = rank_of(v.x, (int)v.y);
        }

        int fine = place_of(score_of((u32)(shared.rank[i] >> 31)), scored.expected) % FINE_BINS;
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
    emit(args, part, scored.mask, page, args.selected + (i64)part.row * YMAX + scored.above_before + shared.before_selected);
}
