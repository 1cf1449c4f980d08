// score_select — scores every latent token of a row and lists the best, ascending (paper section 3, stage 1)
//   score[t] = query . latent[t], leading RS coordinates; the row's critical_count(length) best of [sink_count, window_start) by
//   (score descending, position ascending). Rows that need no scores (timeline.cuh) are left alone
// in   qkv        [B, qkv_stride]  bf16   scoring query [RS] at element (HQ + 2 * HK) * DH
//      position, slot [B]          i32
//      table      [SLOTS + 1, MAXP] u32   latent pages, offsets in 4-KiB units; 0 = no page
//      pages                       bytes  latent page: score plane [64, RS] of the layer at layer_offset, int8 or bf16
//      scale, mean, variance [RS]  f32    value of code 1 (int8 only), calibrated mean and variance of the coordinates
// out  selected   [B, YMAX]        i32    positions, ascending
// tmp  keys       [B, MAXP * 64]   u32    scores as order-preserving integers, 0 = NaN
//      histogram  [B, BINS]        u32    0 before and after
//      ticket     [B]              i32    0 before and after
//      mask       [B, MAXP * 2]    u32    only where it does not fit in shared memory
// grid (SMS * OCCUPANCY)  block 512  smem 14 KB + 4 * MASK_WORDS     an equal run of 32-token units each, rows side by side
// math int8: exact int32 sums of a 15-bit query, those of Reference.ScoreSelect. bf16: f32, one fixed tree per token. Bins of the score around its
//      calibrated mean, 1/64 of its deviation wide: they only steer the search, a wrong calibration costs time. The block that completes a row
//      finds the bin of the k-th best, orders that bin exactly and writes the list
// cost reads RS * element bytes a latent token; then one pass over 4 bytes a token by one block per row
// defs DH, HQ, HK, RS, MAXP, YMAX, LATENT_INT8, timeline's · at most 256 rows · oracle Reference.ScoreSelect · launcher ScoreSelectKernel
#include "bf16.cuh"
#include "block_scan.cuh"
#include "matrix.cuh"
#include "reduce.cuh"
#include "timeline.cuh"

struct Args {
    const u16* qkv;
    const int* position;
    const int* slot;
    const u32* table;
    const u8* pages;
    const float* scale;
    const float* mean;
    const float* variance;
    u32* keys;
    u32* histogram;
    int* ticket;
    u32* mask;
    int* selected;
    i64 layer_offset;
    int qkv_stride;
    int rows;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, qkv);
CHECK_FIELD(Args, position);
CHECK_FIELD(Args, slot);
CHECK_FIELD(Args, table);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, scale);
CHECK_FIELD(Args, mean);
CHECK_FIELD(Args, variance);
CHECK_FIELD(Args, keys);
CHECK_FIELD(Args, histogram);
CHECK_FIELD(Args, ticket);
CHECK_FIELD(Args, mask);
CHECK_FIELD(Args, selected);
CHECK_FIELD(Args, layer_offset);
CHECK_FIELD(Args, qkv_stride);
CHECK_FIELD(Args, rows);
static_assert(RS % 16 == 0 && RS <= 1024, "score rank: a multiple of 16, at most 1024");

constexpr int THREADS = 512;
constexpr int WARPS = THREADS / 32;
constexpr int MAX_ROWS = 256;
constexpr int UNIT = 32;  // tokens a warp takes at a time: one word of the mask
constexpr int BINS = 1024;
constexpr int BINS_PER_DEVIATION = 64;
constexpr int CANDIDATES = 256;  // of the threshold's bin that are ordered pairwise; more are counted digit by digit
constexpr int MASK_WORDS = MAXP * PAGE_SIZE / 32;
constexpr bool SHARED_MASK = MASK_WORDS <= 8192;

constexpr int round_up_power(int n) { return n <= 1 ? 1 : 2 * round_up_power((n + 1) / 2); }
constexpr int smaller(int a, int b) { return a < b ? a : b; }

constexpr int ELEMENT_BYTES = LATENT_INT8 ? 1 : 2;
constexpr int PER_VECTOR = 16 / ELEMENT_BYTES;
constexpr int VECTORS = RS / PER_VECTOR;                    // 16-byte pieces of a token
constexpr int LANES = smaller(32, round_up_power(VECTORS));  // lanes that share a token
constexpr int COLUMNS = (VECTORS + LANES - 1) / LANES;      // pieces a lane holds of it
constexpr int LOADS = smaller(LANES, COLUMNS == 1 ? 8 : COLUMNS == 2 ? 4 : 2);  // tokens a lane reads at once
constexpr int GROUPS = 32 / LANES;
constexpr int STEP = LOADS * GROUPS;  // tokens a warp reads at once
static_assert(UNIT % STEP == 0, "whole steps");


// A lane's columns of the scoring query, and where the score is expected: bin = score * factor + offset.
struct Query {
#if LATENT_INT8
    uint4 high[COLUMNS];
    uint4 low[COLUMNS];
#else
    float value[COLUMNS][8];
#endif
    float factor;
    float offset;
};

struct Shared {
#if LATENT_INT8
    __align__(16) u8 high[RS];
    __align__(16) u8 low[RS];
#endif
    u32 histogram[BINS];
    int first[MAX_ROWS + 1];  // units before each row
    int last_rows[MAX_ROWS];  // rows this block completed
    float2 last_bins[MAX_ROWS];
    u64 candidates[CANDIDATES];
    int scan[WARPS];
    float4 moments[WARPS];
    u32 largest[WARPS];
    int last_count, row, candidate_count;
    int bin, above, population, shift;
    u32 mask[SHARED_MASK ? MASK_WORDS : 1];
};

// Mean and second moment of the score from those of the coordinates, x: sum of means, y: of second moments, z: of variances; a score that is not
// expected to vary has one bin. Called by the whole block; every block of a row gets the same bits.
__device__ __forceinline__ void place_bins(Shared& shared, Query& query, float mean, float square, float spread) {
    mean = warp_sum(mean), square = warp_sum(square), spread = warp_sum(spread);
    if (threadIdx.x % 32 == 0)
        shared.moments[threadIdx.x / 32] = make_float4(mean, square, spread, 0.f);
    __syncthreads();
    mean = square = spread = 0.f;
#pragma unroll
    for (int w = 0; w < smaller(WARPS, (RS + 31) / 32); w++) {
        float4 part = shared.moments[w];
        mean += part.x, square += part.y, spread += part.z;
    }

    float variance = square - mean * mean;
    float factor = BINS_PER_DEVIATION * rsqrtf(variance > 0.f ? variance : spread);
    bool usable = factor > 0.f && factor < 1e30f;
    query.factor = usable ? factor : 0.f;
    query.offset = usable ? BINS / 2 - mean * factor : 0.f;
}

__device__ __forceinline__ int bin_of(float score, float factor, float offset) {
    return min(max(__float2int_rd(__fmaf_rn(score, factor, offset)), 0), BINS - 1);
}

#if LATENT_INT8
typedef int Score;

constexpr float QUERY_RANGE = 16319.f;  // 127 * 128 + 63: two int8 halves

// codes round(q * scale * (16319 / largest)), ties to even, as Reference.ScoreSelect.QuantiseQuery; all zeros where that is not finite
__device__ __forceinline__ void prepare(const Args& args, Shared& shared, const u16* source, Query& query) {
    constexpr int EACH = (RS + THREADS - 1) / THREADS;
    int tid = threadIdx.x;
    float scale[EACH], scaled[EACH];
    u32 largest = 0;
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        int i = j * THREADS + tid;
        scale[j] = i < RS ? args.scale[i] : 0.f;
        scaled[j] = i < RS ? __fmul_rn(widen(source[i]), scale[j]) : 0.f;
        largest = max(largest, __float_as_uint(scaled[j]) & 0x7fffffffu);  // NaN is the largest
    }

    largest = __reduce_max_sync(FULL_MASK, largest);
    if (tid % 32 == 0)
        shared.largest[tid / 32] = largest;
    __syncthreads();
#pragma unroll
    for (int w = 0; w < WARPS; w++)
        largest = max(largest, shared.largest[w]);
    float step = __fdiv_rn(QUERY_RANGE, __uint_as_float(largest));
    bool finite = largest < 0x7f800000u && __float_as_uint(step) < 0x7f800000u;
    float mean = 0.f, square = 0.f, spread = 0.f;
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        int i = j * THREADS + tid;
        if (i < RS) {
            int code = finite ? __float2int_rn(__fmul_rn(scaled[j], step)) : 0, upper = (code + 64) >> 7;
            shared.high[i] = (u8)upper;
            shared.low[i] = (u8)(code - upper * 128);
            if (code != 0) {
                float inverse = code / scale[j], centre = args.mean[i] * inverse, width = args.variance[i] * inverse * inverse;
                mean += centre;
                square += width + centre * centre;
                spread += width;
            }
        }
    }

    place_bins(shared, query, mean, square, spread);
    int lane = tid % LANES;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        bool held = c * LANES + lane < VECTORS;
        query.high[c] = held ? ((const uint4*)shared.high)[c * LANES + lane] : make_uint4(0, 0, 0, 0);
        query.low[c] = held ? ((const uint4*)shared.low)[c * LANES + lane] : make_uint4(0, 0, 0, 0);
    }
}

__device__ __forceinline__ int dot4(const uint4& a, const uint4& b, int sum) {
    sum = __dp4a((int)a.x, (int)b.x, sum);
    sum = __dp4a((int)a.y, (int)b.y, sum);
    sum = __dp4a((int)a.z, (int)b.z, sum);
    return __dp4a((int)a.w, (int)b.w, sum);
}

__device__ __forceinline__ int dot(const uint4 (&latent)[COLUMNS], const Query& query) {
    int high = 0, low = 0;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
        high = dot4(latent[c], query.high[c], high), low = dot4(latent[c], query.low[c], low);
    return high * 128 + low;
}

__device__ __forceinline__ u32 key_of(int score) { return (u32)score ^ 0x80000000u; }
__device__ __forceinline__ float score_of(u32 key) { return (float)(int)(key ^ 0x80000000u); }
#else
typedef float Score;

__device__ __forceinline__ void prepare(const Args& args, Shared& shared, const u16* source, Query& query) {
    float mean = 0.f, square = 0.f, spread = 0.f;
    for (int i = threadIdx.x; i < RS; i += THREADS) {
        float q = widen(source[i]), centre = args.mean[i] * q, width = args.variance[i] * q * q;
        mean += centre;
        square += width + centre * centre;
        spread += width;
    }

    int lane = threadIdx.x % LANES;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
        widen8(c * LANES + lane < VECTORS ? ((const uint4*)source)[c * LANES + lane] : make_uint4(0, 0, 0, 0), query.value[c]);
    place_bins(shared, query, mean, square, spread);
}

__device__ __forceinline__ float dot(const uint4 (&latent)[COLUMNS], const Query& query) {
    float sum = 0.f;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        float x[8];
        widen8(latent[c], x);
#pragma unroll
        for (int i = 0; i < 8; i++)
            sum = __fmaf_rn(query.value[c][i], x[i], sum);
    }

    return sum;
}

// -0 becomes +0, NaN the least
__device__ __forceinline__ u32 key_of(float score) {
    u32 bits = __float_as_uint(__fadd_rn(score, 0.f));
    return score != score ? 0u : bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// key 0, of a NaN, gives a NaN
__device__ __forceinline__ float score_of(u32 key) { return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key); }
#endif

// Sums LOADS values over the LANES lanes of a token. Each exchange halves the values a lane holds; lane l of its group ends with the sum of
// value l / (LANES / LOADS). The tree is the same for every token.
__device__ __forceinline__ Score reduce(Score (&value)[LOADS]) {
    int bit = LANES / 2;
#pragma unroll
    for (int held = LOADS; held > 1; held /= 2, bit /= 2) {
        bool upper = threadIdx.x & bit;
#pragma unroll
        for (int i = 0; i < held / 2; i++) {
            Score mine = upper ? value[i + held / 2] : value[i], other = upper ? value[i] : value[i + held / 2];
            value[i] = mine + __shfl_xor_sync(FULL_MASK, other, bit);
        }
    }

#pragma unroll
    for (; bit > 0; bit /= 2)
        value[0] += __shfl_xor_sync(FULL_MASK, value[0], bit);
    return value[0];
}

// The score of one of the unit's 32 tokens, `token`; latents [32, RS].
__device__ __forceinline__ Score score_unit(const u8* latents, const Query& query, int& token) {
    constexpr int STEPS = UNIT / STEP;
    int lane = threadIdx.x & 31, column = lane % LANES, group = lane / LANES;
    Score result = 0;
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        uint4 latent[LOADS][COLUMNS];
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            const u8* row = latents + (step * STEP + i * GROUPS + group) * (RS * ELEMENT_BYTES);
#pragma unroll
            for (int c = 0; c < COLUMNS; c++)
                latent[i][c] = c * LANES + column < VECTORS ? load_stream(row + (c * LANES + column) * 16) : make_uint4(0, 0, 0, 0);
        }

        Score part[LOADS];
#pragma unroll
        for (int i = 0; i < LOADS; i++)
            part[i] = dot(latent[i], query);
        Score sum = reduce(part);
        if (lane % STEPS == step)
            result = sum;
    }

    token = lane % STEPS * STEP + lane % LANES / STEPS * GROUPS + group;
    return result;
}

// tokens ordered by (key descending, position ascending) are ordered by this, descending
__device__ __forceinline__ u64 rank_of(u32 key, int position) { return (u64)key << 32 | (u32)~position; }

// Scores units [first, end) of a row and adds their bins to the row's histogram.
__device__ __forceinline__ void scan(const Args& args, Shared& shared, int row, int first, int end, const Query& query) {
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int sink = sink_count(args.position[row] + 1);
    const u32* table = args.table + (i64)args.slot[row] * MAXP;
    u32* keys = args.keys + (i64)row * (MAXP * PAGE_SIZE);
#pragma unroll 1
    for (int base = first + warp; base < end; base += 32 * WARPS) {
        int own = base + lane * WARPS;
        u32 page = own < end ? table[own * UNIT / PAGE_SIZE] : 0;
        int count = min(32, (end - base + WARPS - 1) / WARPS);
#pragma unroll 1
        for (int i = 0; i < count; i++) {
            int unit = base + i * WARPS, token;
            const u8* plane = args.pages + (u64)__shfl_sync(FULL_MASK, page, i) * PAGE_UNIT + args.layer_offset;
            Score score = score_unit(plane + unit * UNIT % PAGE_SIZE * (RS * ELEMENT_BYTES), query, token);
            token += unit * UNIT;
            keys[token] = key_of(score);
            if (token >= sink)
                atomicAdd(shared.histogram + bin_of((float)score, query.factor, query.offset), 1u);
        }
    }

    __syncthreads();
    for (int bin = threadIdx.x; bin < BINS; bin += THREADS) {
        u32 count = shared.histogram[bin];
        if (count) {
            atomicAdd(args.histogram + row * BINS + bin, count);
            shared.histogram[bin] = 0;
        }
    }
}

// The bin of the k-th best score, the tokens above it and those in it; clears the row's histogram.
__device__ __forceinline__ void find_bin(const Args& args, Shared& shared, int row, int k) {
    constexpr int EACH = BINS / THREADS;
    u32* bins = args.histogram + row * BINS + BINS - EACH * (threadIdx.x + 1);
    int count[EACH], sum = 0;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        count[i] = __ldcg(bins + i);
        bins[i] = 0;
        sum += count[i];
    }

    int above = exclusive_scan<WARPS>(sum, shared.scan);
#pragma unroll
    for (int i = EACH - 1; i >= 0; i--) {
        if (above < k && k <= above + count[i]) {
            shared.bin = BINS - EACH * (threadIdx.x + 1) + i;
            shared.above = above;
            shared.population = count[i];
        }

        above += count[i];
    }
}

// The k-th largest rank of tokens [sink, end), digit by digit from the highest: any scores, ties too. `histogram` [256], any contents.
// Returns a prefix; those with rank >> shared.shift >= prefix are the k best.
__device__ __forceinline__ u64 find_rank(const u32* keys, int sink, int end, int k, Shared& shared) {
    u64 prefix = 0;
    int shift;
    for (shift = 56; shift >= 0; shift -= 8) {
        __syncthreads();
        if (threadIdx.x < 256)
            shared.histogram[threadIdx.x] = 0;
        __syncthreads();
        for (int base = 0; base < end; base += THREADS) {
            int t = base + threadIdx.x;
            u64 rank = t < end ? rank_of(__ldcg(keys + t), t) : 0;
            bool counts = t >= sink && t < end && (shift == 56 || rank >> (shift + 8) == prefix);
            u32 digit = counts ? (u32)(rank >> shift) & 255 : 256;
            u32 peers = __match_any_sync(FULL_MASK, digit);
            if (counts && (threadIdx.x & 31) == __ffs(peers) - 1)
                atomicAdd(shared.histogram + digit, __popc(peers));
        }

        __syncthreads();
        int count = threadIdx.x < 256 ? shared.histogram[255 - threadIdx.x] : 0;
        int above = exclusive_scan<WARPS>(count, shared.scan);
        if (above < k && k <= above + count) {
            shared.bin = 255 - threadIdx.x;
            shared.above = above;
            shared.population = count;
        }

        __syncthreads();
        prefix = prefix << 8 | shared.bin;
        k -= shared.above;
        if (k == shared.population)
            break;
    }

    if (threadIdx.x == 0)
        shared.shift = max(shift, 0);
    __syncthreads();
    return prefix;
}

// four keys of a lane as bits of the eight words of 32 tokens that a warp reads at once: eight lanes to a word
__device__ __forceinline__ u32 word_of(u32 nibble) {
    u32 word = nibble << (threadIdx.x % 8 * 4);
    word |= __shfl_xor_sync(FULL_MASK, word, 1);
    word |= __shfl_xor_sync(FULL_MASK, word, 2);
    return word | __shfl_xor_sync(FULL_MASK, word, 4);
}

// Bits of the selected tokens, by one pass over the keys when the k-th best shares its bin with few.
__device__ __forceinline__ void mark(const u32* keys, int sink, int end, int k, float2 bins, u32* mask, Shared& shared) {
    int bin = shared.bin, above = shared.above, population = shared.population;
    if (population <= CANDIDATES) {
#pragma unroll 2
        for (int base = 0; base < end; base += THREADS * 4) {
            int t = base + threadIdx.x * 4;
            bool held = t < end;
            uint4 four = held ? __ldcg((const uint4*)(keys + t)) : make_uint4(0, 0, 0, 0);
            u32 key[4] = {four.x, four.y, four.z, four.w}, nibble = 0;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int place = !held || t + i < sink ? -1 : bin_of(score_of(key[i]), bins.x, bins.y);
                nibble |= (place > bin ? 1u : 0u) << i;
                if (place == bin)
                    shared.candidates[atomicAdd(&shared.candidate_count, 1)] = rank_of(key[i], t + i);
            }

            u32 word = word_of(nibble);
            if (held && threadIdx.x % 8 == 0)
                mask[t / 32] = word;
        }

        __syncthreads();
        if (threadIdx.x < population) {
            u64 own = shared.candidates[threadIdx.x];
            int better = 0;
            for (int i = 0; i < population; i++)
                better += shared.candidates[i] > own;
            if (better < k - above) {
                int position = ~(u32)own;
                atomicOr(mask + position / 32, 1u << position % 32);
            }
        }
    } else {
        u64 prefix = find_rank(keys, sink, end, k, shared);
        int shift = shared.shift;
#pragma unroll 2
        for (int base = 0; base < end; base += THREADS * 4) {
            int t = base + threadIdx.x * 4;
            bool held = t < end;
            uint4 four = held ? __ldcg((const uint4*)(keys + t)) : make_uint4(0, 0, 0, 0);
            u32 key[4] = {four.x, four.y, four.z, four.w}, nibble = 0;
#pragma unroll
            for (int i = 0; i < 4; i++)
                nibble |= (held && t + i >= sink && rank_of(key[i], t + i) >> shift >= prefix ? 1u : 0u) << i;
            u32 word = word_of(nibble);
            if (held && threadIdx.x % 8 == 0)
                mask[t / 32] = word;
        }
    }

    __syncthreads();
}

// Writes the marked positions, ascending.
__device__ __forceinline__ void emit(const u32* mask, int words, int* selected, Shared& shared) {
    int each = (words + THREADS - 1) / THREADS, first = min(words, (int)threadIdx.x * each), end = min(words, first + each);
    int count = 0;
    for (int w = first; w < end; w++)
        count += __popc(mask[w]);
    int at = exclusive_scan<WARPS>(count, shared.scan);
    for (int w = first; w < end; w++) {
        for (u32 bits = mask[w]; bits; bits &= bits - 1)
            selected[at++] = w * 32 + __ffs(bits) - 1;
    }
}

__device__ __forceinline__ int units_of(int length) { return needs_scores(length) ? window_start(length) / UNIT : 0; }

extern "C" __global__ void __launch_bounds__(512, 1) score_select(const __grid_constant__ Args args) {
    __shared__ Shared shared;
    int tid = threadIdx.x;
    for (int bin = tid; bin < BINS; bin += THREADS)
        shared.histogram[bin] = 0;
    if (tid == 0)
        shared.last_count = shared.candidate_count = 0;
    int units = tid < args.rows ? units_of(args.position[tid] + 1) : 0;
    int first = exclusive_scan<WARPS>(units, shared.scan);
    if (tid < MAX_ROWS)
        shared.first[tid + 1] = first + units;
    if (tid == 0)
        shared.first[0] = 0;
    __syncthreads();
    i64 total = shared.first[MAX_ROWS];
    int begin = (int)(total * blockIdx.x / gridDim.x), end = (int)(total * (blockIdx.x + 1) / gridDim.x);
    if (begin == end)
        return;
    if (first <= begin && begin < first + units)
        shared.row = tid;
    __syncthreads();
    for (int row = shared.row; begin < end; row++) {
        int from = shared.first[row], to = shared.first[row + 1], stop = min(to, end);
        if (stop <= begin)
            continue;
        Query query;
        prepare(args, shared, args.qkv + (i64)row * args.qkv_stride + (HQ + 2 * HK) * DH, query);
        scan(args, shared, row, begin - from, stop - from, query);
        __threadfence();
        __syncthreads();
        if (tid == 0 && atomicAdd(args.ticket + row, stop - begin) == to - from - (stop - begin)) {
            args.ticket[row] = 0;
            shared.last_rows[shared.last_count] = row;
            shared.last_bins[shared.last_count++] = make_float2(query.factor, query.offset);
        }

        begin = stop;
    }

    __syncthreads();
    int rows = shared.last_count;
    __threadfence();
    for (int i = 0; i < rows; i++) {
        int row = shared.last_rows[i], length = args.position[row] + 1, k = critical_count(length), tokens = window_start(length);
        const u32* keys = args.keys + (i64)row * (MAXP * PAGE_SIZE);
        u32* mask = SHARED_MASK ? shared.mask : args.mask + (i64)row * MASK_WORDS;
        find_bin(args, shared, row, k);
        __syncthreads();
        mark(keys, sink_count(length), tokens, k, shared.last_bins[i], mask, shared);
        if (tid == 0)
            shared.candidate_count = 0;
        emit(mask, tokens / 32, args.selected + (i64)row * YMAX, shared);
        __syncthreads();
    }
}
