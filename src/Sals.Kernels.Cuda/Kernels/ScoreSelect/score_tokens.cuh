// From a row's query to the scores of its tokens: the query prepared, the expected threshold, the scan. Included by score_select.cu.
#pragma once

__device__ __forceinline__ const u16* query_of(const Args& args, int row) {
    return args.qkv + (i64)row * args.qkv_stride + (HQ + 2 * HK) * DH;
}

__device__ __forceinline__ void load_query(const Args& args, int row, Coordinates& c) {
#pragma unroll
    for (int j = 0; j < Coordinates::EACH; j++) {
        int i = j * THREADS + threadIdx.x;
        c.query[j] = i < RS && !BANDS ? widen(query_of(args, row)[i]) : 0.f;
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
    float t2 = -2.f * __logf(fminf(share, 1.f - share)), t = t2 * rsqrtf(t2);
    float z = t - __fdividef(2.30753f + 0.27061f * t, 1.f + t * (0.99229f + 0.04481f * t));
    return share < 0.5f ? z : -z;
}

constexpr int QUERY_WARPS = smaller(WARPS, (RS + 31) / 32);  // that have coordinates

// What is expected of the scores of a row: sums over coordinates. `largest`: the bits of the largest |query * scale|, of which NaN is the greatest.
struct Expected {
    float mean, square, spread;  // of first and second moments, of variances
    u32 largest;
};

// Sums by warps; total_expected adds them up after the block's next barrier, the same bits in every block of a row.
__device__ __forceinline__ void expect(Shared& shared, const Coordinates& coordinates) {
    int warp = threadIdx.x / 32;
    if (warp < QUERY_WARPS) {
        float mean = 0.f, square = 0.f, spread = 0.f;
        u32 largest = 0;
#pragma unroll
        for (int j = 0; j < Coordinates::EACH; j++) {
            float q = coordinates.query[j], centre = coordinates.mean[j] * q, width = coordinates.variance[j] * q * q;
            mean += centre;
            square += width + centre * centre;
            spread += width;
            largest = max(largest, __float_as_uint(__fmul_rn(q, coordinates.scale[j])) & 0x7fffffffu);
        }

        mean = warp_sum(mean), square = warp_sum(square), spread = warp_sum(spread), largest = __reduce_max_sync(FULL_MASK, largest);
        if (threadIdx.x % 32 == 0)
            shared.moments[warp] = make_float4(mean, square, spread, __uint_as_float(largest));
    }
}

__device__ __forceinline__ Expected total_expected(const Shared& shared) {
    Expected sum = {};
#pragma unroll 4
    for (int w = 0; w < QUERY_WARPS; w++) {
        float4 part = shared.moments[w];
        sum.mean += part.x, sum.square += part.y, sum.spread += part.z, sum.largest = max(sum.largest, __float_as_uint(part.w));
    }

    return sum;
}

// Bins around the place where the k-th best of the row is expected; a score that is not expected to vary has one bin. `unit`: of a score. By one thread or
// several alike: it takes a warp as long as sixteen that share a scheduler with it would make it four times.
__device__ __forceinline__ void place_bins(Shared& shared, const Expected& sum, float unit) {
    int length = shared.part.length;
    float variance = sum.square - sum.mean * sum.mean;
    float factor = BINS_PER_DEVIATION * rsqrtf(variance > 0.f ? variance : sum.spread);
    float share = __fdividef((float)critical_count(length), (float)candidate_count(length));
    float offset = -BINS_PER_DEVIATION * normal_quantile(share) - sum.mean * factor;
    factor *= unit;
    bool usable = factor > 0.f && factor < 1e30f;
    shared.expected = make_float2(usable ? factor : 0.f, usable ? offset : __int_as_float(0xff800000));  // -infinity
}

// Where a score lies among all bins, in fine bins; never falls as the score grows, the least for NaN. Bins are of equal width up to 2 deviations
// from the expected threshold, then four to an octave of the distance.
__device__ __forceinline__ int place_of(float score, float2 bins) {
    constexpr int INNER = 48, OCTAVE = 8, SHIFT = 21 - 7;  // 2^21: a quarter of a float's octave
    float p = __fmaf_rn(score, bins.x, bins.y), far = fabsf(p) - INNER + OCTAVE;
    int beyond = (__float_as_int(far) - __float_as_int((float)OCTAVE)) >> SHIFT;
    int outside = p > 0.f ? (BINS / 2 + INNER) * FINE_BINS + beyond : (BINS / 2 - INNER) * FINE_BINS - 1 - beyond;
    int inside = __float2int_rd((p + BINS / 2) * FINE_BINS);
    int place = far >= OCTAVE ? outside : inside;
    return p != p ? FINE_BINS : min(max(place, FINE_BINS), (BINS - 1) * FINE_BINS - 1);
}

#if LATENT_INT8
typedef int Product;

constexpr float QUERY_RANGE = 16319.f;  // 127 * 128 + 63: two int8 halves

#if BANDS
typedef float Score;

// Places the bins by mean and spread of the scores over all bands; the query itself is loaded band by band.
__device__ __forceinline__ void prepare(const Args& args, Shared& shared, Coordinates coordinates, Query& query) {
    int row = shared.part.row, length = shared.part.length, pages = latent_pages(length), count = band_of(pages - 1) + 1;
    const float* queries = args.band_queries + (i64)row * BANDS * RS;
    const float* biases = args.band_biases + row * BANDS;
#pragma unroll
    for (int j = 0; j < Coordinates::EACH; j++) {
        int i = j * THREADS + threadIdx.x;
        float square = 0.f;
        for (int band = 0; i < RS && band < count; band++)
            square += queries[band * RS + i] * queries[band * RS + i] * pages_of_band(band, pages);
        coordinates.query[j] = coordinates.scale[j] > 0.f ? sqrtf(square / pages) / coordinates.scale[j] : 0.f;
        coordinates.mean[j] = 0.f;
    }

    expect(shared, coordinates);
    __syncthreads();
    if (threadIdx.x < 32) {
        Expected sum = total_expected(shared);
        for (int band = 0; band < count; band++) {
            float share = __fdividef((float)pages_of_band(band, pages), (float)pages);
            sum.mean += share * biases[band], sum.square += share * biases[band] * biases[band];
        }

        place_bins(shared, sum, 1.f);
    }

    __syncthreads();
    query.band = -1;
}

// The query of one band, by a warp: codes as QuantiseQuery makes them, what one of the product is worth and what is added.
__device__ __forceinline__ void load_band(const Args& args, Shared& shared, int row, int band, Query& query) {
    int lane = threadIdx.x % LANES;
    const float4* source = (const float4*)(args.band_queries + ((i64)row * BANDS + band) * RS);
    float x[COLUMNS][16];
    u32 largest = 0;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float4 four = c * LANES + lane < VECTORS ? source[(c * LANES + lane) * 4 + i] : make_float4(0.f, 0.f, 0.f, 0.f);
            x[c][4 * i] = four.x, x[c][4 * i + 1] = four.y, x[c][4 * i + 2] = four.z, x[c][4 * i + 3] = four.w;
        }

#pragma unroll
        for (int i = 0; i < 16; i++)
            largest = max(largest, __float_as_uint(x[c][i]) & 0x7fffffffu);
    }

    largest = __reduce_max_sync(FULL_MASK, largest);
    float step = __fdiv_rn(QUERY_RANGE, __uint_as_float(largest));
    bool finite = largest < 0x7f800000u && __float_as_uint(step) < 0x7f800000u;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        u32 high[4], low[4];
#pragma unroll
        for (int w = 0; w < 4; w++) {
            high[w] = low[w] = 0;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int code = finite ? __float2int_rn(__fmul_rn(x[c][4 * w + i], step)) : 0, upper = (code + 64) >> 7;
                high[w] |= (u32)(upper & 255) << 8 * i;
                low[w] |= (u32)((code - upper * 128) & 255) << 8 * i;
            }
        }

        query.high[c] = make_uint4(high[0], high[1], high[2], high[3]);
        query.low[c] = make_uint4(low[0], low[1], low[2], low[3]);
    }

    query.band = band;
    // all lanes write the same
    shared.band[threadIdx.x / 32] =
        make_float2(finite ? __fdiv_rn(__uint_as_float(largest), QUERY_RANGE) : 0.f, args.band_biases[row * BANDS + band]);
    __syncwarp();
}
#else
typedef int Score;

// codes round(q * scale * (16319 / largest)), ties to even, as Reference.ScoreSelect.QuantiseQuery; all zeros where that is not finite
__device__ __forceinline__ void prepare(const Args& args, Shared& shared, Coordinates& coordinates, Query& query) {
    load_query(args, shared.part.row, coordinates);
    expect(shared, coordinates);
    __syncthreads();
    if (threadIdx.x < QUERY_WARPS * 32 || threadIdx.x >= THREADS - 32) {
        Expected sum = total_expected(shared);
        float step = __fdiv_rn(QUERY_RANGE, __uint_as_float(sum.largest));
        bool finite = sum.largest < 0x7f800000u && __float_as_uint(step) < 0x7f800000u;
#pragma unroll
        for (int j = 0; j < Coordinates::EACH; j++) {
            int i = j * THREADS + threadIdx.x;
            if (i < RS) {
                int code = finite ? __float2int_rn(__fmul_rn(__fmul_rn(coordinates.query[j], coordinates.scale[j]), step)) : 0,
                    upper = (code + 64) >> 7;
                shared.high[i] = (u8)upper;
                shared.low[i] = (u8)(code - upper * 128);
            }
        }

        // the last warp, which mostly has no coordinates
        if (threadIdx.x >= THREADS - 32)
            place_bins(shared, sum, finite ? __fdividef(__uint_as_float(sum.largest), QUERY_RANGE) : 0.f);
    }

    __syncthreads();
    int lane = threadIdx.x % LANES;
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
        bool held = c * LANES + lane < VECTORS;
        query.high[c] = held ? ((const uint4*)shared.high)[c * LANES + lane] : make_uint4(0, 0, 0, 0);
        query.low[c] = held ? ((const uint4*)shared.low)[c * LANES + lane] : make_uint4(0, 0, 0, 0);
    }
}

#endif

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

#if BANDS
__device__ __forceinline__ Score score_of_product(int product, const Shared& shared) {
    float2 band = shared.band[threadIdx.x / 32];
    return __fadd_rn(__fmul_rn((float)product, band.x), band.y);
}
#else
__device__ __forceinline__ u32 key_of(int score) { return (u32)score ^ 0x80000000u; }
__device__ __forceinline__ float score_of(u32 key) { return (float)(int)(key ^ 0x80000000u); }
__device__ __forceinline__ Score score_of_product(int product, const Shared&) { return product; }
#endif
#else
typedef float Product;
typedef float Score;

__device__ __forceinline__ Score score_of_product(float product, const Shared&) { return product; }

__device__ __forceinline__ void prepare(const Args& args, Shared& shared, Coordinates& coordinates, Query& query) {
    int lane = threadIdx.x % LANES;
    const u16* source = query_of(args, shared.part.row);
    load_query(args, shared.part.row, coordinates);
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
        widen8(c * LANES + lane < VECTORS ? ((const uint4*)source)[c * LANES + lane] : make_uint4(0, 0, 0, 0), query.value[c]);
    expect(shared, coordinates);
    __syncthreads();
    if (threadIdx.x >= THREADS - 32)
        place_bins(shared, total_expected(shared), 1.f);
    __syncthreads();
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

#endif

#if BANDS || !LATENT_INT8
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
__device__ __forceinline__ Product reduce(Product (&value)[LOADS]) {
    int bit = LANES / 2;
#pragma unroll
    for (int held = LOADS; held > 1; held /= 2, bit /= 2) {
        bool upper = threadIdx.x & bit;
#pragma unroll
        for (int i = 0; i < held / 2; i++) {
            Product mine = upper ? value[i + held / 2] : value[i], other = upper ? value[i] : value[i + held / 2];
            value[i] = mine + __shfl_xor_sync(FULL_MASK, other, bit);
        }
    }

#pragma unroll
    for (; bit > 0; bit /= 2)
        value[0] += __shfl_xor_sync(FULL_MASK, value[0], bit);
    return value[0];
}

// What a lane reads at once.
struct Tile {
    uint4 piece[LOADS][COLUMNS];
};

constexpr int STEPS = UNIT / STEP;

// Step `step` of the unit whose latents [32, RS] these are.
__device__ __forceinline__ void load_tile(Tile& tile, const u8* latents, int step) {
    int lane = threadIdx.x & 31, column = lane % LANES, group = lane / LANES;
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const u8* row = latents + (step * STEP + i * GROUPS + group) * (RS * ELEMENT_BYTES);
#pragma unroll
        for (int c = 0; c < COLUMNS; c++)
            tile.piece[i][c] = c * LANES + column < VECTORS ? load_stream(row + (c * LANES + column) * 16) : make_uint4(0, 0, 0, 0);
    }
}

// Lane t gets the score of token t of a unit, whose first step is in `tile`; there then is the first step of the next unit, if there is one.
__device__ __forceinline__ Product score_unit(Tile& tile, const u8* latents, const u8* next, const Query& query) {
    int lane = threadIdx.x & 31;
    Product result = 0;
#pragma unroll 1
    for (int step = 0; step < STEPS; step++) {
        Product part[LOADS];
#pragma unroll
        for (int i = 0; i < LOADS; i++)
            part[i] = dot(tile.piece[i], query);
        if (step + 1 < STEPS)
            load_tile(tile, latents, step + 1);
        else if (next)
            load_tile(tile, next, 0);
        Product sum = reduce(part);
        if (lane % STEPS == step)
            result = sum;
    }

    // token (step, load, group) is with lane (group, load, step)
    return __shfl_sync(FULL_MASK, result, lane % GROUPS * LANES + lane % STEP / GROUPS * STEPS + lane / STEP);
}

// tokens ordered by (key descending, position ascending) are ordered by this, descending: 63 bits, nine digits of 7
__device__ __forceinline__ u64 rank_of(u32 key, int position) { return (u64)key << 31 | (u32)(0x7fffffff - position); }
__device__ __forceinline__ int token_of(u64 rank) { return 0x7fffffff - (int)(rank & 0x7fffffffu); }

// Where a warp's next 32 units lie: unit base + i * WARPS in page `page` of lane i.
struct Window {
    int base;
    u32 page;
};

__device__ __forceinline__ Window window_at(const Args& args, const ScorePart& part, int base) {
    int own = base + (threadIdx.x & 31) * WARPS;
    return {base, own < part.end ? args.table[(i64)part.slot * MAXP + own * UNIT / PAGE_SIZE] : 0};
}

// latents of the window's i-th unit, [32, RS]
__device__ __forceinline__ const u8* latents_at(const Args& args, const Window& window, int i) {
    u32 page = __shfl_sync(FULL_MASK, window.page, i);
    return args.pages + (u64)page * PAGE_UNIT + args.layer_offset + (window.base + i * WARPS) * UNIT % PAGE_SIZE * (RS * ELEMENT_BYTES);
}

// The first window of a part, its first step on the way to registers and the second to L2.
__device__ __forceinline__ Window open_tile(const Args& args, const ScorePart& part, Tile& tile) {
    Window window = window_at(args, part, part.first + (threadIdx.x >> 5));
    if (window.base < part.end)
        load_tile(tile, latents_at(args, window, 0), 0);
    constexpr int BYTES = STEP * RS * ELEMENT_BYTES;
    int at = (threadIdx.x & 31) * 128;
    const u8* next = STEPS > 1 ? latents_at(args, window, 0) + BYTES : latents_at(args, window, 1);
    if (window.base + (STEPS > 1 ? 0 : WARPS) < part.end && at < BYTES)
        asm volatile("prefetch.global.L2 [%0];" ::"l"(next + at));
    return window;
}

// Scores shared.part, the first step of which is in `tile`, and counts its bins. kept: keys and bins go to shared memory, too.
__device__ __forceinline__ void scan(const Args& args, Shared& shared, Query& query, Window window, Tile& tile, bool kept) {
    const ScorePart& part = shared.part;
    int lane = threadIdx.x & 31, first = part.first, end = part.end, sink = sink_count(part.length);
    u32 before = part.row * MASK_WORDS;  // units of the rows before
    float2 expected = shared.expected;
    const u8* latents = latents_at(args, window, 0);
#pragma unroll 1
    for (int unit = window.base, i = 1; unit < end; unit += WARPS, i++) {
        if (i == 32) {
            window = window_at(args, part, window.base + 32 * WARPS);
            i = 0;
        }

        const u8* next = latents_at(args, window, i);
        int token = unit * UNIT + lane;
#if BANDS
        int band = band_of(latent_pages(part.length) - 1 - unit * UNIT / PAGE_SIZE);
        if (band != query.band)
            load_band(args, shared, part.row, band, query);
#endif
        Score score = score_of_product(score_unit(tile, latents, unit + WARPS < end ? next : nullptr, query), shared);
        latents = next;
        int bin = token < sink ? 0 : place_of((float)score, expected) / FINE_BINS;
        args.keys[(before + unit) * UNIT + lane] = key_of(score);
        atomicAdd(shared.histogram + bin, 1u);
        if (kept) {
            shared.kept.keys[token - first * UNIT] = key_of(score);
            shared.kept.bins[token - first * UNIT] = (u8)bin;
        } else
            args.bins[(before + unit) * UNIT + lane] = (u8)bin;
    }
}
