// flush_pages, flush_lane — compresses pages of 64 tokens: latent = U^T (key before rope - mean), quantised values
//   flush_pages: hot pages that leave the window, all compressed layers; flush_lane: pages of a prefill lane, one layer. The same bytes from the same keys.
// in   list     [n]                   u32x4  flush_pages: (hot page, latent page, first position, 0); pages in 4-KiB units
//      keys, values [LANE, HK, DH]    bf16   flush_lane: keys after rope, of the lane's token 0
//      table    [MAXP]                u32    flush_lane: latent pages of the slot, from first_page on
//      layers   [LAYERS]              Layer  projection fp16 [2, R, D]: high and low halves of the scaled U^T; mean f32 [D]; inverse_scale f32 [R], int8 only
//      rope     [positions, DH / 2]   f32x2  (cos, sin)
//      pages                          bytes  PageLayout; hot page: K [64, HK, DH] then V, bf16, per layer
// out  pages    latent page: score plane [64, RS], rest plane [64, R - RS] (int8 or bf16), value codes [64, D * bits / 8], value scales [64, D / group] half2
// grid (pages, column tiles + 1, layers)  block 256  smem 2 * (64 + TILE) * DH * 2 B     the last tile quantises the values
// math keys back before rope in f32, split into two fp16 halves like U: three products on tensor cores, f32 sums head by head in a
//      fixed order. Values exactly as Reference.ValueQuantizer
// cost 6 * 64 * D * R operations a page and layer, an N-th of it for N groups of heads; reads 4 * D * R B of the projection a page, from L2 but for the first
// defs DH, HK, R, RS, BASIS_GROUPS, LATENT_INT8, VALUE_BITS, VALUE_GROUP · oracle Reference.FlushPages · launcher FlushPagesKernel
#include "bf16.cuh"
#include "half.cuh"
#include "matrix.cuh"
#include "paging.cuh"

struct Layer {
    const u16* projection;
    const float* mean;
    const float* inverse_scale;
    i64 hot_offset;
    i64 latent_offset;
    float key_scale;  // power of two that brings keys near 1
    float unscale;    // 1 / (key_scale * scale of the projection)
};

struct Args {
    const uint4* list;
    const u16* keys;
    const u16* values;
    const u32* table;
    const Layer* layers;
    const float2* rope;
    u8* pages;
    int first_page;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, list);
CHECK_FIELD(Args, keys);
CHECK_FIELD(Args, values);
CHECK_FIELD(Args, table);
CHECK_FIELD(Args, layers);
CHECK_FIELD(Args, rope);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, first_page);
static_assert(sizeof(Layer) == 48, "Layer is 48 bytes on both sides");
static_assert(DH == 64 || DH == 128, "head sizes 64 and 128");
static_assert(R % 16 == 0 && RS % 16 == 0 && RS <= R && R <= HK * DH, "ranks: multiples of 16");

constexpr int D = HK * DH;
constexpr int TILE = 64;  // columns of a block
constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int ROW_BYTES = DH * 2;
constexpr int ROW_VECTORS = DH / 8;
constexpr int KEY_BYTES = PAGE_SIZE * ROW_BYTES;  // one half of a head's keys
constexpr int TILE_BYTES = TILE * ROW_BYTES;      // one half of a head's part of U^T
constexpr int WARP_COLUMNS = TILE / 4;            // warps: 2 over the tokens, 4 over the columns; a warp 32 tokens
constexpr int NT = WARP_COLUMNS / 8;
constexpr int LATENT_BYTES = LATENT_INT8 ? 1 : 2;
constexpr int REST = R - RS;
constexpr int SCORE_SHARE = RS / BASIS_GROUPS;  // of a group of heads
constexpr int REST_SHARE = REST / BASIS_GROUPS;
constexpr int GROUP_HEADS = HK / BASIS_GROUPS;
static_assert(HK % BASIS_GROUPS == 0 && RS % BASIS_GROUPS == 0 && REST % BASIS_GROUPS == 0,
              "every group has as many heads and coordinates");
constexpr int SCORE_PLANE = PAGE_SIZE * RS * LATENT_BYTES;
constexpr int REST_PLANE = PAGE_SIZE * REST * LATENT_BYTES;
constexpr int VALUE_ROW = D * VALUE_BITS / 8;

// 16-byte pieces are permuted within a row so that eight rows of one column lie in different banks
__device__ __forceinline__ u32 piece(int row, int column) { return row * ROW_BYTES + ((column ^ (row & 7)) << 4); }

// Keys [64, DH] of one head, before rope, less the mean, scaled, as two fp16 halves in shared memory.
__device__ __forceinline__ void load_keys(u8* high, u8* low, const u16* keys, const float* mean, const float2* rope, float scale) {
    constexpr int HALF = ROW_VECTORS / 2;  // pieces of half a head
#pragma unroll 1
    for (int unit = threadIdx.x; unit < PAGE_SIZE * HALF; unit += THREADS) {
        int t = unit / HALF, column = unit % HALF;
        float a[8], b[8];
        widen8(*(const uint4*)(keys + (i64)t * D + column * 8), a);
        widen8(*(const uint4*)(keys + (i64)t * D + DH / 2 + column * 8), b);
        const float2* turns = rope + t * (DH / 2) + column * 8;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float2 turn = turns[i];
            float norm = __fdividef(1.f, turn.x * turn.x + turn.y * turn.y);
            float x = (a[i] * turn.x + b[i] * turn.y) * norm, y = (b[i] * turn.x - a[i] * turn.y) * norm;
            a[i] = (x - mean[column * 8 + i]) * scale;
            b[i] = (y - mean[DH / 2 + column * 8 + i]) * scale;
        }

        uint4 upper, lower;
        split8(a, upper, lower);
        *(uint4*)(high + piece(t, column)) = upper;
        *(uint4*)(low + piece(t, column)) = lower;
        split8(b, upper, lower);
        *(uint4*)(high + piece(t, HALF + column)) = upper;
        *(uint4*)(low + piece(t, HALF + column)) = lower;
    }
}

// Rows [first, first + TILE) of a head's part of U^T, both halves; rows at or past R become zeros.
__device__ __forceinline__ void fetch_tile(u32 shared, const u16* projection, int first, int head) {
    for (int i = threadIdx.x; i < 2 * TILE * ROW_VECTORS; i += THREADS) {
        int half = i / (TILE * ROW_VECTORS), row = i / ROW_VECTORS % TILE, column = i % ROW_VECTORS;
        int bytes = first + row < R ? 16 : 0;
        const u16* source = projection + ((i64)half * R + (bytes ? first + row : 0)) * D + head * DH + column * 8;
        copy16_async(shared + half * TILE_BYTES + piece(row, column), source, bytes);
    }

    commit_copies();
}

__device__ __forceinline__ u32 code_of(float latent, float inverse_scale) {
    float code = fminf(fmaxf(rintf(latent * inverse_scale), -127.f), 127.f);
    return (u32)(latent == latent && inverse_scale == inverse_scale ? (int)code : 0) & 255u;
}

// two neighbouring coordinates of token t
__device__ __forceinline__ void store(u8* planes, int t, int column, float x, float y, const Layer& layer) {
    if (column >= R)
        return;
    bool score = column < RS;
    u8* row = score ? planes + (t * RS + column) * LATENT_BYTES : planes + SCORE_PLANE + (t * REST + column - RS) * LATENT_BYTES;
    if (LATENT_INT8)
        *(u16*)row = (u16)(code_of(x, layer.inverse_scale[column]) | code_of(y, layer.inverse_scale[column + 1]) << 8);
    else
        *(u32*)row = narrow2(x, y);
}

// the group whose coordinates column is one of
__device__ __forceinline__ int group_of(int column) { return column < RS ? column / SCORE_SHARE : (column - RS) / max(REST_SHARE, 1); }

__device__ __forceinline__ void project(const u16* keys, int position, int tile, const Layer& layer, const float2* rope, u8* planes) {
    extern __shared__ __align__(128) u8 shared[];
    u8 *high = shared, *low = shared + KEY_BYTES;
    u32 keys_at = shared_address(shared), tile_at = keys_at + 2 * KEY_BYTES;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    int token = warp % 2 * 32, column = warp / 2 * WARP_COLUMNS;
    float sum[2][NT][4] = {};
    int first_head = 0, end_head = HK;  // others' channels are zeros in the tile's rows
    if constexpr (BASIS_GROUPS > 1) {
        int first = tile * TILE, last = min(first + TILE, R) - 1;
        if (last < RS || first >= RS)
            first_head = group_of(first) * GROUP_HEADS, end_head = (group_of(last) + 1) * GROUP_HEADS;
    }

#pragma unroll 1
    for (int head = first_head; head < end_head; head++) {
        __syncthreads();
        fetch_tile(tile_at, layer.projection, tile * TILE, head);
        load_keys(high, low, keys + head * DH, layer.mean + head * DH, rope + (i64)position * (DH / 2), layer.key_scale);
        wait_copies<0>();
        __syncthreads();
        float part[2][NT][4] = {};
#pragma unroll 2
        for (int k = 0; k < DH / 16; k++) {
            u32 a[2][2][4], b[2][NT / 2][4];
#pragma unroll
            for (int half = 0; half < 2; half++) {
#pragma unroll
                for (int m = 0; m < 2; m++)
                    load_tiles(a[half][m], keys_at + half * KEY_BYTES + piece(token + m * 16 + (lane & 15), k * 2 + (lane >> 4)));
#pragma unroll
                for (int n = 0; n < NT / 2; n++)
                    load_tiles(b[half][n], tile_at + half * TILE_BYTES +
                                               piece(column + n * 16 + (lane & 7) + (lane >> 4) * 8, k * 2 + (lane >> 3 & 1)));
            }

#pragma unroll
            for (int m = 0; m < 2; m++) {
#pragma unroll
                for (int n = 0; n < NT; n++) {
                    u32 h0 = b[0][n / 2][n % 2 * 2], h1 = b[0][n / 2][n % 2 * 2 + 1];
                    multiply_add_half(part[m][n], a[0][m], h0, h1);
                    multiply_add_half(part[m][n], a[1][m], h0, h1);
                    multiply_add_half(part[m][n], a[0][m], b[1][n / 2][n % 2 * 2], b[1][n / 2][n % 2 * 2 + 1]);
                }
            }
        }

        // matrix instructions truncate their sums: short ones, added with rounding, keep that from piling up
#pragma unroll
        for (int m = 0; m < 2; m++) {
#pragma unroll
            for (int n = 0; n < NT; n++) {
#pragma unroll
                for (int i = 0; i < 4; i++)
                    sum[m][n][i] += part[m][n][i];
            }
        }
    }

#pragma unroll
    for (int m = 0; m < 2; m++) {
#pragma unroll
        for (int n = 0; n < NT; n++) {
            int row = token + m * 16 + g, at = tile * TILE + column + n * 8 + t * 2;
            store(planes, row, at, sum[m][n][0] * layer.unscale, sum[m][n][1] * layer.unscale, layer);
            store(planes, row + 8, at, sum[m][n][2] * layer.unscale, sum[m][n][3] * layer.unscale, layer);
        }
    }
}

// field of element i of 32, as ValueQuantizer packs them
__device__ __forceinline__ void put(u32 (&words)[VALUE_BITS], int i, u32 code) {
    if (VALUE_BITS == 3) {
        words[i / 16] |= (code & 3) << (2 * (i % 16 / 2) + 16 * (i % 2));
        words[2] |= code >> 2 << (i / 2 + 16 * (i % 2));
    } else {
        words[i * VALUE_BITS / 32] |= code << (VALUE_BITS * (i % (32 / VALUE_BITS) / 2) + 16 * (i % 2));
    }
}

__device__ __forceinline__ float min_nan(float a, float b) {
    float c;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
    return c;
}

__device__ __forceinline__ float max_nan(float a, float b) {
    float c;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
    return c;
}

// Quantises values [64, D] of a page; a warp takes a token at a time, a lane 32 of its channels.
__device__ __forceinline__ void quantise(const u16* values, u8* codes, u8* scales) {
    constexpr int BLOCKS = D / 32;
    constexpr float HALF_MAX = 65504.f;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    if (VALUE_BITS == 16) {
        for (int i = threadIdx.x; i < PAGE_SIZE * D / 8; i += THREADS) {
            float x[8];
            widen8(((const uint4*)values)[i], x);
#pragma unroll
            for (int j = 0; j < 8; j++)
                x[j] = x[j] != x[j] ? x[j] : fminf(fmaxf(x[j], -HALF_MAX), HALF_MAX);
            ((uint4*)codes)[i] = make_uint4(half2_of(x[0], x[1]), half2_of(x[2], x[3]), half2_of(x[4], x[5]), half2_of(x[6], x[7]));
        }

        return;
    }

    // [BLOCKS] (least, largest) of 32 channels, NaN where one is; the warp's own, in what the other tiles use for keys
    extern __shared__ __align__(128) u8 shared[];
    static_assert(WARPS * BLOCKS * sizeof(float2) <= 2 * (KEY_BYTES + TILE_BYTES), "ranges of the values fit");
    float2* range = (float2*)shared + warp * BLOCKS;
    constexpr float LEVELS = (1 << (VALUE_BITS % 16)) - 1;
    constexpr int GROUP_BLOCKS = VALUE_GROUP / 32;
    for (int t = warp; t < PAGE_SIZE; t += WARPS) {
        const uint4* row = (const uint4*)(values + (i64)t * D);
        for (int block = lane; block < BLOCKS; block += 32) {
            float low = __uint_as_float(0x7f800000u), high = -low;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float x[8];
                widen8(row[block * 4 + i], x);
#pragma unroll
                for (int j = 0; j < 8; j++)
                    low = min_nan(low, x[j]), high = max_nan(high, x[j]);
            }

            range[block] = make_float2(low, high);
        }

        __syncwarp();
        for (int block = lane; block < BLOCKS; block += 32) {
            int group = block / GROUP_BLOCKS;
            float2 all = range[group * GROUP_BLOCKS];
            for (int i = 1; i < GROUP_BLOCKS; i++) {
                float2 part = range[group * GROUP_BLOCKS + i];
                all = make_float2(min_nan(all.x, part.x), max_nan(all.y, part.y));
            }

            bool nan = all.x != all.x;
            float low = fminf(fmaxf(all.x, -HALF_MAX), HALF_MAX), high = fminf(fmaxf(all.y, -HALF_MAX), HALF_MAX);
            u32 pair = nan ? 0x7fff7fffu : half2_of(__fdiv_rn(__fsub_rn(high, low), LEVELS), low);
            float scale = half_low(pair), zero = half_high(pair);
            u32 words[VALUE_BITS] = {};
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float x[8];
                widen8(row[block * 4 + i], x);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    float code = fminf(fmaxf(rintf(__fdiv_rn(__fsub_rn(x[j], zero), scale)), 0.f), LEVELS);
                    put(words, i * 8 + j, scale > 0.f && x[j] == x[j] ? (u32)code : 0u);
                }
            }

            u32* target = (u32*)(codes + t * VALUE_ROW) + block * VALUE_BITS;
#pragma unroll
            for (int i = 0; i < VALUE_BITS; i++)
                target[i] = words[i];
            if (block % GROUP_BLOCKS == 0)
                ((u32*)scales)[t * (D / VALUE_GROUP) + group] = pair;
        }

        __syncwarp();
    }
}

__device__ __forceinline__ void flush(const Args& args, const u16* keys, const u16* values, u32 latent_page, int position,
                                      const Layer& layer) {
    u8* planes = args.pages + (u64)latent_page * PAGE_UNIT + layer.latent_offset;
    if (blockIdx.y == gridDim.y - 1) {
        u8* codes = planes + SCORE_PLANE + REST_PLANE;
        quantise(values, codes, codes + PAGE_SIZE * VALUE_ROW);
    } else {
        project(keys, position, blockIdx.y, layer, args.rope, planes);
    }
}

extern "C" __global__ void __launch_bounds__(256, 2) flush_pages(const __grid_constant__ Args args) {
    uint4 item = args.list[blockIdx.x];
    const Layer& layer = args.layers[blockIdx.z];
    const u16* keys = (const u16*)(args.pages + (u64)item.x * PAGE_UNIT + layer.hot_offset);
    flush(args, keys, keys + PAGE_SIZE * D, item.y, (int)item.z, layer);
}

extern "C" __global__ void __launch_bounds__(256, 2) flush_lane(const __grid_constant__ Args args) {
    int page = args.first_page + blockIdx.x;
    i64 first = (i64)page * PAGE_SIZE * D;
    flush(args, args.keys + first, args.values + first, args.table[page], page * PAGE_SIZE, args.layers[0]);
}
