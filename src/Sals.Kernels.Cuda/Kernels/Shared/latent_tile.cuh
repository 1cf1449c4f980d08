// A tile of 64 latent tokens in shared memory and its keys of one KV head, rebuilt on the tensor cores by the four warps of a block.
// Warp (m, n) rebuilds WARP_TOKENS tokens and the 32 channels [16 n, 16 n + 16) and DH/2 + the same, so that both halves of a rotary pair are one thread's.
// The contraction runs in the order in which 16-byte loads deliver it: lane (g, t) holds coordinates 32 c + 8 t .. + 7 of chunk c in both operands.
// Constants: those of latent_page.cuh. Blocks of 128 threads.
#pragma once
#include "bf16.cuh"
#include "latent_page.cuh"
#include "matrix.cuh"

constexpr int TILE = 64;
constexpr int N_WARPS = DH / 32, M_WARPS = 4 / N_WARPS;
constexpr int WARP_TOKENS = TILE / M_WARPS, M_TILES = WARP_TOKENS / 16;
constexpr int CHUNKS = (R + 31) / 32;
constexpr int CHUNK_BYTES = 32 * LATENT_BYTES;  // of a token's row
constexpr int LATENT_ROW_BYTES = CHUNKS * CHUNK_BYTES;
// rows that are read together begin in different banks
constexpr int LATENT_STRIDE = LATENT_INT8 ? LATENT_ROW_BYTES + (LATENT_ROW_BYTES % 64 == 0 ? 32 : 0) : LATENT_ROW_BYTES + (LATENT_ROW_BYTES % 128 == 0 ? 64 : 0);
constexpr int LATENT_TILE_BYTES = TILE * LATENT_STRIDE;
// the basis of a warp's channels stays in registers from tile to tile where it fits
constexpr bool RESIDENT = CHUNKS <= 8;
constexpr int M_STEP = !RESIDENT ? M_TILES : CHUNKS <= 4 ? 2 : 1;  // 16-token tiles rebuilt at once
static_assert(DH == 64 || DH == 128, "head sizes 64 and 128");

// what a thread keeps of the basis of one KV head
struct BasisPart {
    const u16* row[4];  // first coordinate the lane loads, of channel g of each of the warp's four groups of eight
    uint4 u[RESIDENT ? CHUNKS : 1][4];
    float2 mean[4];  // of channels 2 t, + 1 of each group
};

// first channel of the warp's group j of eight channels, within the head
__device__ __forceinline__ int group_channel(int j) { return (threadIdx.x >> 5) % N_WARPS * 16 + (j & 1) * 8 + (j >> 1) * (DH / 2); }

__device__ __forceinline__ uint4 basis_piece(const BasisPart& basis, int c, int j) {
    int t = threadIdx.x & 3;
    return R % 32 == 0 || c * 32 + t * 8 < R ? *(const uint4*)(basis.row[j] + c * 32) : make_uint4(0, 0, 0, 0);
}

// reconstruct: [D, R] bf16, mean: [D]
__device__ __forceinline__ void load_basis(BasisPart& basis, const u16* reconstruct, const float* mean, int kv_head) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        int channel = kv_head * DH + group_channel(j);
        basis.row[j] = reconstruct + (i64)(channel + g) * R + t * 8;
        basis.mean[j] = *(const float2*)(mean + channel + t * 2);
    }

    if constexpr (RESIDENT) {
#pragma unroll
        for (int c = 0; c < CHUNKS; c++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                basis.u[c][j] = basis_piece(basis, c, j);
    }
}

// Starts copying the latents of `count` tokens to a tile; the rows behind them become zeros. at[i]: byte of the arena at which the layer's planes begin
// in token i's page; position[i] its position.
__device__ __forceinline__ void fetch_latents(u32 tile, const u8* pages, const u64* at, const int* position, int count) {
    constexpr int PIECES = LATENT_ROW_BYTES / 16;
#pragma unroll 4
    for (int i = threadIdx.x; i < TILE * PIECES; i += 128) {
        int row = i / PIECES, byte = i % PIECES * 16;
        bool inside = row < count && (R % 32 == 0 || byte < R * LATENT_BYTES);
        int t = position[row] % PAGE_SIZE;
        const u8* from = pages;
        if (inside)
            from += at[row] + (byte < SCORE_ROW ? t * SCORE_ROW + byte : REST_PLANE + t * REST_ROW + byte - SCORE_ROW);
        copy16_async(tile + row * LATENT_STRIDE + byte, from, inside ? 16 : 0);
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

__device__ __forceinline__ uint4 latent_piece(const u8* tile, int row, int c) {
    int t = threadIdx.x & 3;
    const u8* at = tile + row * LATENT_STRIDE + c * CHUNK_BYTES + t * (CHUNK_BYTES / 4);
    if constexpr (!LATENT_INT8) {
        return *(const uint4*)at;
    } else {
        uint2 codes = *(const uint2*)at;
        uint4 wide;
        widen_codes(codes.x, wide.x, wide.y);
        widen_codes(codes.y, wide.z, wide.w);
        return wide;
    }
}

// k[m][j]: channels 2 t, + 1 of the warp's group j, of the tile's tokens 16 (first + m) + g (elements 0, 1) and + 8 (2, 3): U latent + mean, before rope
__device__ __forceinline__ void rebuild_keys(float (&k)[M_STEP][4][4], const u8* tile, int first, const BasisPart& basis) {
    int g = (threadIdx.x & 31) >> 2;
#pragma unroll
    for (int m = 0; m < M_STEP; m++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            k[m][j][0] = k[m][j][2] = basis.mean[j].x;
            k[m][j][1] = k[m][j][3] = basis.mean[j].y;
        }

    uint4 next[4];
    if constexpr (!RESIDENT) {
#pragma unroll
        for (int j = 0; j < 4; j++)
            next[j] = basis_piece(basis, 0, j);
    }

#pragma unroll(RESIDENT ? CHUNKS : 2)
    for (int c = 0; c < CHUNKS; c++) {
        uint4 u[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            u[j] = RESIDENT ? basis.u[RESIDENT ? c : 0][j] : next[j];
        if constexpr (!RESIDENT) {
            if (c + 1 < CHUNKS) {
#pragma unroll
                for (int j = 0; j < 4; j++)
                    next[j] = basis_piece(basis, c + 1, j);
            }
        }

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
    }
}

// Rotates the keys of one 16-token tile to the positions of its tokens g and g + 8. rope: [positions, DH/2] (cos, sin)
__device__ __forceinline__ void rotate_keys(float (&k)[4][4], const float2* rope, int position_g, int position_g8) {
    int t = threadIdx.x & 3;
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            float4 turn = *(const float4*)(rope + (i64)(h ? position_g8 : position_g) * (DH / 2) + group_channel(j) + t * 2);
            float a = k[j][h * 2], b = k[j + 2][h * 2];
            k[j][h * 2] = a * turn.x - b * turn.y;
            k[j + 2][h * 2] = b * turn.x + a * turn.y;
            a = k[j][h * 2 + 1], b = k[j + 2][h * 2 + 1];
            k[j][h * 2 + 1] = a * turn.z - b * turn.w;
            k[j + 2][h * 2 + 1] = b * turn.z + a * turn.w;
        }
}
