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
//      bins       [B, MAXP * 2, 8] u32    bin of each score, 0 for sinks; of 32 tokens bit 0 of the bins, bit 1, .., bit 6, nothing
//      histogram  [B, BINS]        u32    0 before and after
//      ticket     [B]              i32    0 before and after
//      mask       [B, MAXP * 2]    u32    only where it does not fit in shared memory
// grid (SMS * OCCUPANCY)  block 512  smem 22 KB + 4 * MASK_WORDS     an equal run of 32-token units each, rows side by side
// math int8: exact int32 sums of a 15-bit query, those of Reference.ScoreSelect. bf16: f32, one fixed tree per token. Bins of the score lie around the
//      calibrated place of the threshold, 1/24 deviation wide: they only steer the search, a wrong calibration costs time. The block that completes a
//      row finds the bin of the k-th best, then its place in that bin exactly, and writes the list
// cost reads RS * element bytes a latent token; then a byte a token by one block per row
// defs DH, HQ, HK, RS, MAXP, YMAX, LATENT_INT8, timeline's · at most 256 rows · oracle Reference.ScoreSelect · launcher ScoreSelectKernel
#include "bf16.cuh"
#include "block_scan.cuh"
#include "chain.cuh"
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
    u32* bins;
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
CHECK_FIELD(Args, bins);
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
constexpr int UNIT = 32;      // tokens a warp takes at a time: one word of the mask
constexpr int BINS = 128;     // 1..127 by score, 0 for sinks
constexpr int BIN_WORDS = 8;  // of 32 tokens: one a bit, and a spare
constexpr float BINS_PER_DEVIATION = 24.f;
constexpr int FINE_BINS = 256;           // of the threshold's bin
constexpr int CANDIDATES = 3 * THREADS;  // tokens of the threshold's bin that are ordered by fine bins; more are counted digit by digit
constexpr int TIED = 256;                // tokens of the threshold's fine bin that are ordered pairwise
constexpr int MASK_WORDS = MAXP * PAGE_SIZE / 32;
constexpr bool SHARED_MASK = MASK_WORDS <= 6144;
constexpr int EARLY = RS * (LATENT_INT8 ? 1 : 2) >= 256 ? 1 : 2;  // units of a warp that L2 is asked for before the query is ready

constexpr int round_up_power(int n) { return n <= 1 ? 1 : 2 * round_up_power((n + 1) / 2); }
constexpr int smaller(int a, int b) { return a < b ? a : b; }

constexpr int ELEMENT_BYTES = LATENT_INT8 ? 1 : 2;
constexpr int PER_VECTOR = 16 / ELEMENT_BYTES;
constexpr int VECTORS = RS / PER_VECTOR;                                        // 16-byte pieces of a token
constexpr int LANES = smaller(32, round_up_power(VECTORS));                     // lanes that share a token
constexpr int COLUMNS = (VECTORS + LANES - 1) / LANES;                          // pieces a lane holds of it
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

struct Completed {
    int row, length;
    float2 expected;
};

struct Shared {
#if LATENT_INT8
    __align__(16) u8 high[RS];
    __align__(16) u8 low[RS];
#endif
    u32 histogram[BINS];
    __align__(16) u32 fine[FINE_BINS];
    int first[MAX_ROWS + 1];  // units before each row
    int length[MAX_ROWS];
    int slot[MAX_ROWS];
    Completed last[MAX_ROWS];  // rows this block completed
    u32 candidates[CANDIDATES];
    u64 tied[TIED];
    int scan[WARPS];
    float4 moments[WARPS];
    u32 largest[WARPS];
    int last_count, row, candidate_count, tied_count;
    u32 mask[SHARED_MASK ? MASK_WORDS : 1];
};

// Coordinates tid, tid + 512, .. of what a row's query is prepared from.
struct Coordinates {
    static constexpr int EACH = (RS + THREADS - 1) / THREADS;
    float query[EACH], scale[EACH], mean[EACH], variance[EACH];
};

__device__ __forceinline__ const u16* query_of(const Args& args, int row) {
    return args.qkv + (i64)row * args.qkv_stride + (HQ + 2 * HK) * DH;
}

__device__ __forceinline__ void load_query(const Args& args, int row, Coordinates& c) {
#pragma unroll
    for (int j = 0; j < Coordinates::EACH; j++) {
        int i = j * THREADS + threadIdx.x;
        c.query[j] = i < RS ? widen(query_of(args, row)[i]) : 0.f;
    }
}

__device__ __forceinline__ void load_calibration(const Args& args, Coordinates& c) {
#pragma unroll
    for (int j = 0; j < Coordinates::EACH; j++) {
        int i = j * THREADS + threadIdx.x;
        c.scale[j] = i < RS && LATENT_INT8 ? args.scale[i] : 0.f;
        c.mean[j] = i < RS ? args.mean[i] : 0.f;
        c.variance[j] = i < RS ? args.variance[i] : 0.f;
    }
}

// z with P(x > z) = share for a normal x, to 3e-3 (Abramowitz and Stegun 26.2.22); where the threshold is expected
__device__ __forceinline__ float normal_quantile(float share) {
    float t = sqrtf(-2.f * __logf(fminf(share, 1.f - share)));
    float z = t - (2.30753f + 0.27061f * t) / (1.f + t * (0.99229f + 0.04481f * t));
    return share < 0.5f ? z : -z;
}

// Mean and deviation of the score from those of the coordinates; a score that is not expected to vary has one bin. `square`: second moments,
// `spread`: variances. Called by the whole block; every block of a row gets the same bits.
__device__ __forceinline__ void place_bins(Shared& shared, Query& query, float mean, float square, float spread, int length) {
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
    float centre = -BINS_PER_DEVIATION * normal_quantile((float)critical_count(length) / candidate_count(length));
    bool usable = factor > 0.f && factor < 1e30f;
    query.factor = usable ? factor : 0.f;
    query.offset = usable ? centre - mean * factor : __int_as_float(0xff800000);  // -infinity
}

// Where a score lies among all bins, in fine bins; never falls as the score grows, the least for NaN. Bins are of equal width up to 2 deviations
// from the expected threshold, then four to an octave of the distance.
__device__ __forceinline__ int place_of(float score, float2 bins) {
    constexpr int INNER = 48, OCTAVE = 8, SHIFT = 21 - 8;  // 2^21: a quarter of a float's octave
    float p = __fmaf_rn(score, bins.x, bins.y), far = fabsf(p) - INNER + OCTAVE;
    int beyond = (__float_as_int(far) - __float_as_int((float)OCTAVE)) >> SHIFT;
    int outside = p > 0.f ? (BINS / 2 + INNER) * FINE_BINS + beyond : (BINS / 2 - INNER) * FINE_BINS - 1 - beyond;
    int inside = __float2int_rd((p + BINS / 2) * FINE_BINS);
    int place = far >= OCTAVE ? outside : inside;
    return p != p ? FINE_BINS : min(max(place, FINE_BINS), BINS * FINE_BINS - 1);
}

#if LATENT_INT8
typedef int Score;

constexpr float QUERY_RANGE = 16319.f;  // 127 * 128 + 63: two int8 halves

// codes round(q * scale * (16319 / largest)), ties to even, as Reference.ScoreSelect.QuantiseQuery; all zeros where that is not finite
__device__ __forceinline__ void prepare(Shared& shared, const Coordinates& coordinates, const u16*, int length, Query& query) {
    constexpr int EACH = Coordinates::EACH;
    int tid = threadIdx.x;
    float scaled[EACH];
    u32 largest = 0;
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        scaled[j] = __fmul_rn(coordinates.query[j], coordinates.scale[j]);
        largest = max(largest, __float_as_uint(scaled[j]) & 0x7fffffffu);  // NaN is the largest
    }

    largest = __reduce_max_sync(FULL_MASK, largest);
    if (tid % 32 == 0)
        shared.largest[tid / 32] = largest;
    __syncthreads();
#pragma unroll
    for (int w = 0; w < smaller(WARPS, (RS + 31) / 32); w++)
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
                float inverse = code / coordinates.scale[j], centre = coordinates.mean[j] * inverse,
                      width = coordinates.variance[j] * inverse * inverse;
                mean += centre;
                square += width + centre * centre;
                spread += width;
            }
        }
    }

    place_bins(shared, query, mean, square, spread, length);
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

__device__ __forceinline__ void prepare(Shared& shared, const Coordinates& coordinates, const u16* source, int length, Query& query) {
    int lane = threadIdx.x % LANES;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
        widen8(c * LANES + lane < VECTORS ? ((const uint4*)source)[c * LANES + lane] : make_uint4(0, 0, 0, 0), query.value[c]);
    float mean = 0.f, square = 0.f, spread = 0.f;
#pragma unroll
    for (int j = 0; j < Coordinates::EACH; j++) {
        float q = coordinates.query[j], centre = coordinates.mean[j] * q, width = coordinates.variance[j] * q * q;
        mean += centre;
        square += width + centre * centre;
        spread += width;
    }

    place_bins(shared, query, mean, square, spread, length);
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

// Lane t gets the score of token t; latents [32, RS].
__device__ __forceinline__ Score score_unit(const u8* latents, const Query& query) {
    constexpr int STEPS = UNIT / STEP;
    int lane = threadIdx.x & 31, column = lane % LANES, group = lane / LANES;
    Score result = 0;
#pragma unroll 2
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

    // token (step, load, group) is with lane (group, load, step)
    return __shfl_sync(FULL_MASK, result, lane % GROUPS * LANES + lane % STEP / GROUPS * STEPS + lane / STEP);
}

// tokens ordered by (key descending, position ascending) are ordered by this, descending
__device__ __forceinline__ u64 rank_of(u32 key, int position) { return (u64)key << 32 | (u32)~position; }

// asks L2 for a unit's latents
__device__ __forceinline__ void prefetch(const u8* latents) {
    constexpr int BYTES = UNIT * RS * ELEMENT_BYTES;
#pragma unroll
    for (int i = 0; i < (BYTES + 4095) / 4096; i++) {
        int at = i * 4096 + (threadIdx.x & 31) * 128;
        if (BYTES % 4096 == 0 || at < BYTES)
            asm volatile("prefetch.global.L2 [%0];" ::"l"(latents + at));
    }
}

// Units [first, end) of a row's `units`: what a block scores at a time.
struct Part {
    int row, slot, length, units, first, end;
};

// Where a warp's next 32 units lie: unit base + i * WARPS in page `page` of lane i.
struct Window {
    int base;
    u32 page;
};

__device__ __forceinline__ Window window_at(const Args& args, const Part& part, int base) {
    int own = base + (threadIdx.x & 31) * WARPS;
    return {base, own < part.end ? args.table[(i64)part.slot * MAXP + own * UNIT / PAGE_SIZE] : 0};
}

// latents of the window's i-th unit, [32, RS]
__device__ __forceinline__ const u8* latents_at(const Args& args, const Window& window, int i) {
    u32 page = __shfl_sync(FULL_MASK, window.page, i);
    return args.pages + (u64)page * PAGE_UNIT + args.layer_offset + (window.base + i * WARPS) * UNIT % PAGE_SIZE * (RS * ELEMENT_BYTES);
}

// The first window of a part, asked for ahead of time: needs nothing of the query.
__device__ __forceinline__ Window open_window(const Args& args, const Part& part) {
    Window window = window_at(args, part, part.first + (threadIdx.x >> 5));
#pragma unroll
    for (int i = 0; i < EARLY; i++) {
        if (window.base + i * WARPS < part.end)
            prefetch(latents_at(args, window, i));
    }

    return window;
}

// Scores a part of a row and adds its bins to the row's histogram. `coordinates` are the row's.
__device__ __forceinline__ float2 scan(const Args& args, Shared& shared, const Coordinates& coordinates, const Part& part, Window window) {
    int lane = threadIdx.x & 31, row = part.row, end = part.end, sink = sink_count(part.length);
    u32* keys = args.keys + (i64)row * (MAXP * PAGE_SIZE);
    u32* bins = args.bins + (i64)row * (MASK_WORDS * BIN_WORDS);
    Query query;
    prepare(shared, coordinates, query_of(args, row), part.length, query);
    float2 expected = make_float2(query.factor, query.offset);
#pragma unroll 1
    while (window.base < end) {
        int count = min(32, (end - window.base + WARPS - 1) / WARPS);
#pragma unroll 1
        for (int i = 0; i < count; i++) {
            int unit = window.base + i * WARPS, token = unit * UNIT + lane;
            Score score = score_unit(latents_at(args, window, i), query);
            int bin = token < sink ? 0 : place_of((float)score, expected) / FINE_BINS;
            keys[token] = key_of(score);
            atomicAdd(shared.histogram + bin, 1u);
            u32 own = 0;
#pragma unroll
            for (int bit = 0; bit < 7; bit++) {
                u32 word = __ballot_sync(FULL_MASK, bin >> bit & 1);
                own = lane == bit ? word : own;
            }

            if (lane < BIN_WORDS)
                bins[unit * BIN_WORDS + lane] = own;
        }

        window = window_at(args, part, window.base + 32 * WARPS);
    }

    __syncthreads();
    if (threadIdx.x < BINS) {
        u32 count = shared.histogram[threadIdx.x];
        if (count && threadIdx.x > 0)
            atomicAdd(args.histogram + row * BINS + threadIdx.x, count);
        shared.histogram[threadIdx.x] = 0;
    }

    return expected;
}

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

__device__ __forceinline__ int units_of(int length) { return needs_scores(length) ? window_start(length) / UNIT : 0; }

// True in thread 0 of the block that completes a row's `all` units, of which it has scored `own`; the ticket is then back at zero. The caller's
// barrier stands between the block's writes and this.
__device__ __forceinline__ bool arrive_last(int* ticket, int own, int all) {
    if (threadIdx.x != 0)
        return false;
    __threadfence();
    bool last = atomicAdd(ticket, own) == all - own;
    if (last)
        *ticket = 0;
    __threadfence();
    return last;
}

// Up to 32 rows: each warp finds by itself which part of one row is the block's. A row has a number of blocks in proportion to its length.
// False where there is nothing to do.
__device__ __forceinline__ bool part_of_few(const Args& args, Part& part) {
    int lane = threadIdx.x & 31, length = 0, slot = 0;
    if (lane < args.rows) {
        length = args.position[lane] + 1;
        slot = args.slot[lane];
    }

    int units = units_of(length), total = __reduce_add_sync(FULL_MASK, units), rows = __popc(__ballot_sync(FULL_MASK, units > 0));
    int others = gridDim.x - rows, share = max(1, (total + others - 1) / others), blocks = (units + share - 1) / share, first = blocks;
#pragma unroll
    for (int offset = 1; offset < 32; offset <<= 1) {
        int below = __shfl_up_sync(FULL_MASK, first, offset);
        if (lane >= offset)
            first += below;
    }

    first -= blocks;
    int block = blockIdx.x;
    u32 owner = __ballot_sync(FULL_MASK, first <= block && block < first + blocks);
    if (owner == 0)
        return false;
    int row = __ffs(owner) - 1, index = block - __shfl_sync(FULL_MASK, first, row);
    blocks = __shfl_sync(FULL_MASK, blocks, row), units = __shfl_sync(FULL_MASK, units, row);
    part = {row,   __shfl_sync(FULL_MASK, slot, row),  __shfl_sync(FULL_MASK, length, row),
            units, (int)((i64)units * index / blocks), (int)((i64)units * (index + 1) / blocks)};
    return true;
}

// Any number of rows: the units of all, side by side, in equal runs of which the block's is [begin, end).
__device__ __forceinline__ bool part_of_many(const Args& args, Shared& shared, int& begin, int& end) {
    int tid = threadIdx.x, units = 0;
    if (tid < args.rows) {
        int length = args.position[tid] + 1;
        shared.slot[tid] = args.slot[tid];
        shared.length[tid] = length;
        units = units_of(length);
    }

    int first = exclusive_scan<WARPS>(units, shared.scan);
    if (tid < MAX_ROWS)
        shared.first[tid + 1] = first + units;
    if (tid == 0)
        shared.first[0] = 0;
    __syncthreads();
    i64 total = shared.first[MAX_ROWS];
    begin = (int)(total * blockIdx.x / gridDim.x), end = (int)(total * (blockIdx.x + 1) / gridDim.x);
    if (first <= begin && begin < first + units)
        shared.row = tid;
    __syncthreads();
    return begin < end;
}

extern "C" __global__ void __launch_bounds__(512, 1) score_select(const __grid_constant__ Args args) {
    __shared__ Shared shared;
    release_successor();
    int begin = 0, end = 0;
    Coordinates coordinates;
    load_calibration(args, coordinates);
    if (threadIdx.x < BINS)
        shared.histogram[threadIdx.x] = 0;
    if (threadIdx.x == 0)
        shared.candidate_count = shared.tied_count = shared.last_count = 0;
    bool few = args.rows <= 32 && 2 * args.rows <= gridDim.x;
    Part part;
    if (few ? !part_of_few(args, part) : !part_of_many(args, shared, begin, end)) {
        // also without work: the launch after this one takes its end for that of all before it
        wait_predecessor();
        return;
    }

    // positions, tables and latent pages are older than the launch before this one; the query is not
    int row = few ? part.row : shared.row;
    bool waited = false;
    do {
        if (!few) {
            while (shared.first[row + 1] <= begin)
                row++;
            int from = shared.first[row], units = shared.first[row + 1] - from, stop = min(from + units, end);
            part = {row, shared.slot[row], shared.length[row], units, begin - from, stop - from};
            begin = stop;
        }

        Window window = open_window(args, part);
        if (!waited)
            wait_predecessor();
        waited = true;
        load_query(args, row, coordinates);
        float2 expected = scan(args, shared, coordinates, part, window);
        __syncthreads();
        if (arrive_last(args.ticket + row, part.end - part.first, part.units))
            shared.last[shared.last_count++] = {row, part.length, expected};
    } while (begin < end);

    // completed rows last: others wait for this block's scores
    __syncthreads();
    int completed = shared.last_count;
    for (int i = 0; i < completed; i++)
        select(args, shared, shared.last[i]);
}
