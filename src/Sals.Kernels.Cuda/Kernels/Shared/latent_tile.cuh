// A tile of 64 latent tokens in shared memory and its keys of one KV head, rebuilt on the tensor cores by the four warps of a block.
// Warp (m, n) rebuilds WARP_TOKENS tokens and the 32 channels [16 n, 16 n + 16) and DH/2 + the same, so that both halves of a rotary pair are one thread's.
// The contraction runs in the order in which 16-byte loads deliver it: lane (g, t) holds the sixteen bytes 64 c + 16 t of chunk c in both operands.
// RECONSTRUCT_INT8: codes times codes of the basis, whose scale is that of (channel, 128 coordinates); sums of 128 products are exact integers.
// Constants: those of latent_page.cuh, RECONSTRUCT_INT8. Blocks of 128 threads.
#pragma once
#include "bf16.cuh"
#include "latent_page.cuh"
#include "matrix.cuh"

constexpr int TILE = 64;
constexpr int N_WARPS = DH / 32, M_WARPS = 4 / N_WARPS;
constexpr int WARP_TOKENS = TILE / M_WARPS, M_TILES = WARP_TOKENS / 16;
constexpr int BASIS_BYTES = RECONSTRUCT_INT8 ? 1 : 2;
constexpr int CHUNKS = (R * BASIS_BYTES + 63) / 64;
constexpr int SCALE_GROUPS = RECONSTRUCT_INT8 ? (R + 127) / 128 : 0;
constexpr bool WIDENED = LATENT_INT8 && !RECONSTRUCT_INT8;  // codes meet a bf16 basis
constexpr int LATENT_ROW_BYTES = CHUNKS * (WIDENED ? 32 : 64);
// rows that are read together begin in different banks
constexpr int WHOLE_STRIDE = CHUNKS * 64 + (CHUNKS % 2 == 0 ? 64 : 0);
constexpr int LATENT_STRIDE = WIDENED ? LATENT_ROW_BYTES + (LATENT_ROW_BYTES % 64 == 0 ? 32 : 0) : WHOLE_STRIDE;
constexpr int LATENT_TILE_BYTES = TILE * LATENT_STRIDE;
// the basis of a warp's channels stays in registers from tile to tile where it fits
constexpr bool RESIDENT = CHUNKS <= 8;
constexpr int M_STEP = RESIDENT ? (CHUNKS <= 4 ? 2 : 1) : RECONSTRUCT_INT8 ? 2 : M_TILES;  // 16-token tiles rebuilt at once
// codes are widened once for all warps there, and by each warp as it reads them where every warp waits for its basis anyway
constexpr bool WIDE_TILE = WIDENED && RESIDENT;
constexpr int WIDE_TILE_BYTES = WIDE_TILE ? TILE * WHOLE_STRIDE : 0;
static_assert(!RECONSTRUCT_INT8 || LATENT_INT8, "codes of the basis need codes of latents");
static_assert(DH == 64 || DH == 128, "head sizes 64 and 128");

// 3 * 2^22 as a float: an integer below 2^22 added to its bits is added to its value, and a group's sum is at most 128 * 127 * 127
constexpr int SUM_ZERO = 0x4b400000;

// what a thread keeps of the basis of one KV head
struct BasisPart {
    const u8* row[4];  // first coordinate the lane loads, of channel g of each of the warp's four groups of eight
    uint4 u[RESIDENT ? CHUNKS : 1][4];
};

// what a block keeps of it in shared memory
struct BasisShared {
    float mean[DH];
    float scale[SCALE_GROUPS > 0 ? SCALE_GROUPS : 1][DH];
};

// first channel of the warp's group j of eight channels, within the head
__device__ __forceinline__ int group_channel(int j) { return (threadIdx.x >> 5) % N_WARPS * 16 + (j & 1) * 8 + (j >> 1) * (DH / 2); }

__device__ __forceinline__ uint4 basis_piece(const BasisPart& basis, int c, int j) {
    int t = threadIdx.x & 3;
    return R * BASIS_BYTES % 64 == 0 || c * 64 + t * 16 < R * BASIS_BYTES ? *(const uint4*)(basis.row[j] + c * 64) : make_uint4(0, 0, 0, 0);
}

// reconstruct: [D, R] bf16 or codes
__device__ __forceinline__ void load_basis(BasisPart& basis, const u8* reconstruct, int kv_head) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        int channel = kv_head * DH + group_channel(j);
        basis.row[j] = reconstruct + (i64)(channel + g) * (R * BASIS_BYTES) + t * 16;
    }

    if constexpr (RESIDENT) {
#pragma unroll
        for (int c = 0; c < CHUNKS; c++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                basis.u[c][j] = basis_piece(basis, c, j);
    }
}

// mean: [D], scale: [SCALE_GROUPS, D]; by the whole block, a barrier before and after
__device__ __forceinline__ void load_shared(BasisShared& basis, const float* mean, const float* scale, int kv_head) {
    for (int i = threadIdx.x; i < DH; i += 128) {
        basis.mean[i] = mean[kv_head * DH + i];
#pragma unroll
        for (int group = 0; group < SCALE_GROUPS; group++)
            basis.scale[group][i] = scale[group * (HK * DH) + kv_head * DH + i];
    }
}

// Starts copying the latents of `count` tokens to a tile; the rows behind them become zeros. page[i]: id of token i's page; position[i] its position.
__device__ __forceinline__ void fetch_latents(u32 tile, const u8* layer, const u32* page, const int* position, int count) {
    constexpr int PIECES = LATENT_ROW_BYTES / 16;
#pragma unroll 4
    for (int k = 0; k < (TILE * PIECES + 127) / 128; k++) {
        // a thread keeps its column where it can
        constexpr bool SAME = 128 % PIECES == 0;
        int i = k * 128 + threadIdx.x;
        int row = SAME ? threadIdx.x / PIECES + k * (128 / PIECES) : i / PIECES, byte = (SAME ? threadIdx.x % PIECES : i % PIECES) * 16;
        if (TILE * PIECES % 128 != 0 && row >= TILE)
            break;
        bool inside = row < count && (LATENT_ROW_BYTES == R * LATENT_BYTES || byte < R * LATENT_BYTES);
        int t = position[row] % PAGE_SIZE;
        const u8* from =
            layer + (u64)page[row] * PAGE_UNIT + (byte < SCORE_ROW ? t * SCORE_ROW + byte : REST_PLANE + t * REST_ROW + byte - SCORE_ROW);
        copy16_async(tile + row * LATENT_STRIDE + byte, inside ? from : layer, inside ? 16 : 0);
    }
}

// four int8 to four bf16, exactly: bit 7 picks 256 or 128 to subtract from 128 + the low seven bits
__device__ __forceinline__ void widen_codes(u32 codes, u32& low, u32& high) {
    u32 pair[2] = {__byte_perm(codes, 0, 0x4140), __byte_perm(codes, 0, 0x4342)};
#pragma unroll
    for (int i = 0; i < 2; i++)
        pair[i] = subtract2((pair[i] & 0x007f007fu) | 0x43004300u, (pair[i] & 0x00800080u) | 0x43004300u);
    low = pair[0], high = pair[1];
}

// A tile of codes as bf16, row after row WHOLE_STRIDE bytes apart; by the whole block, between two barriers.
__device__ __forceinline__ void widen_tile(u8* wide, const u8* tile) {
    constexpr int PIECES = LATENT_ROW_BYTES / 16;
#pragma unroll 2
    for (int i = threadIdx.x; i < TILE * PIECES; i += 128) {
        int row = i / PIECES, piece = i % PIECES;
        uint4 codes = *(const uint4*)(tile + row * LATENT_STRIDE + piece * 16), low, high;
        widen_codes(codes.x, low.x, low.y);
        widen_codes(codes.y, low.z, low.w);
        widen_codes(codes.z, high.x, high.y);
        widen_codes(codes.w, high.z, high.w);
        uint4* to = (uint4*)(wide + row * WHOLE_STRIDE + piece * 32);
        to[0] = low, to[1] = high;
    }
}

// tile: as fetched, or widened where WIDE_TILE
__device__ __forceinline__ uint4 latent_piece(const u8* tile, int row, int c) {
    int t = threadIdx.x & 3;
    if constexpr (WIDE_TILE) {
        return *(const uint4*)(tile + row * WHOLE_STRIDE + c * 64 + t * 16);
    } else if constexpr (!WIDENED) {
        return *(const uint4*)(tile + row * LATENT_STRIDE + c * 64 + t * 16);
    } else {
        uint2 codes = *(const uint2*)(tile + row * LATENT_STRIDE + c * 32 + t * 8);
        uint4 wide;
        widen_codes(codes.x, wide.x, wide.y);
        widen_codes(codes.y, wide.z, wide.w);
        return wide;
    }
}

// A pass over the basis: product(c, u) for every chunk c with the lane's piece of each group of channels.
template <typename Product>
__device__ __forceinline__ void for_each_chunk(const BasisPart& basis, Product product) {
    if constexpr (RESIDENT) {
#pragma unroll
        for (int c = 0; c < CHUNKS; c++)
            product(c, basis.u[c]);
    } else {
        uint4 next[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            next[j] = basis_piece(basis, 0, j);
#pragma unroll 2
        for (int c = 0; c < CHUNKS; c++) {
            uint4 u[4] = {next[0], next[1], next[2], next[3]};
            if (c + 1 < CHUNKS) {
#pragma unroll
                for (int j = 0; j < 4; j++)
                    next[j] = basis_piece(basis, c + 1, j);
            }

            product(c, u);
        }
    }
}

// k[m][j]: channels 2 t, + 1 of the warp's group j, of the tile's tokens 16 (first + m) + g (elements 0, 1) and + 8 (2, 3): U latent + mean, before rope
__device__ __forceinline__ void rebuild_keys(float (&k)[M_STEP][4][4], const u8* tile, int first, const BasisPart& basis,
                                             const BasisShared& of_head) {
    int g = (threadIdx.x & 31) >> 2, t = threadIdx.x & 3;
#pragma unroll
    for (int m = 0; m < M_STEP; m++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float2 mean = *(const float2*)(of_head.mean + group_channel(j) + t * 2);
            k[m][j][0] = k[m][j][2] = mean.x;
            k[m][j][1] = k[m][j][3] = mean.y;
        }

    if constexpr (!RECONSTRUCT_INT8) {
        for_each_chunk(basis, [&](int c, const uint4(&u)[4]) {
#pragma unroll
            for (int m = 0; m < M_STEP; m++) {
                int row = (first + m) * 16 + g;
                uint4 a = latent_piece(tile, row, c), b = latent_piece(tile, row + 8, c);
#pragma unroll
                for (int j = 0; j < 4; j++)
                    multiply_add(k[m][j], a.x, b.x, a.y, b.y, u[j].x, u[j].y);
#pragma unroll
                for (int j = 0; j < 4; j++)
                    multiply_add(k[m][j], a.z, b.z, a.w, b.w, u[j].z, u[j].w);
            }
        });
    } else {
        int sum[M_STEP][4][4];
        for_each_chunk(basis, [&](int c, const uint4(&u)[4]) {
            if (c % 2 == 0) {
#pragma unroll
                for (int m = 0; m < M_STEP; m++)
#pragma unroll
                    for (int j = 0; j < 4; j++)
#pragma unroll
                        for (int e = 0; e < 4; e++)
                            sum[m][j][e] = SUM_ZERO;
            }

#pragma unroll
            for (int m = 0; m < M_STEP; m++) {
                int row = (first + m) * 16 + g;
                uint4 a = latent_piece(tile, row, c), b = latent_piece(tile, row + 8, c);
#pragma unroll
                for (int j = 0; j < 4; j++)
                    multiply_add_codes(sum[m][j], a.x, b.x, a.y, b.y, u[j].x, u[j].y);
#pragma unroll
                for (int j = 0; j < 4; j++)
                    multiply_add_codes(sum[m][j], a.z, b.z, a.w, b.w, u[j].z, u[j].w);
            }

            if (c % 2 == 1 || c == CHUNKS - 1) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    float2 scale = *(const float2*)(of_head.scale[c / 2] + group_channel(j) + t * 2);
#pragma unroll
                    for (int m = 0; m < M_STEP; m++)
#pragma unroll
                        for (int e = 0; e < 4; e++)
                            k[m][j][e] =
                                fmaf(__int_as_float(sum[m][j][e]) - __int_as_float(SUM_ZERO), e & 1 ? scale.y : scale.x, k[m][j][e]);
                }
            }
        });
    }
}

// Rotates the keys of one 16-token tile. turn(h, channel): (cos, sin) of channels `channel` and + 1 at the position of token g + 8 h
template <typename Turn>
__device__ __forceinline__ void rotate_keys(float (&k)[4][4], Turn turn) {
    int t = threadIdx.x & 3;
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            float4 by = turn(h, group_channel(j) + t * 2);
            float a = k[j][h * 2], b = k[j + 2][h * 2];
            k[j][h * 2] = a * by.x - b * by.y;
            k[j + 2][h * 2] = b * by.x + a * by.y;
            a = k[j][h * 2 + 1], b = k[j + 2][h * 2 + 1];
            k[j][h * 2 + 1] = a * by.z - b * by.w;
            k[j + 2][h * 2 + 1] = b * by.z + a * by.w;
        }
}
