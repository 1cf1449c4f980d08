// From a row's query to the scores of its tokens: the query prepared, the expected threshold, the scan. Included by score_select.cu.
#pragma once

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
