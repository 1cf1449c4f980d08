// Keys of 64 latent tokens and one KV head, before rope, by a warpgroup: four warps, 16 tokens each. Nothing is exchanged between threads: each copies
// the pieces of latents that its own registers need, widens them and multiplies by the basis in shared memory.
// A latent row is cut into chunks of 64 bytes, of which lane (g, t) holds bytes 16 t.. of tokens g and g + 8: the contraction runs in the order in which
// these deliver it, and so are the columns of the basis ordered (in C#: BasisImage). Codes are widened to fp16 exactly and meet a basis in fp16, whose
// power of two is undone by the caller; bf16 latents meet a basis in bf16.
// Heads of a group share a basis and RG of the R coordinates, one slice of each plane's rows.
// Constants: those of latent_page.cuh, BASIS_GROUPS.
#pragma once
#include "half.cuh"
#include "latent_page.cuh"
#include "matrix.cuh"
#if __CUDA_ARCH_FEAT_SM90_ALL
#include "warpgroup.cuh"
#endif

constexpr int RG = R / BASIS_GROUPS;
constexpr int SCORE_SLICE = SCORE_ROW / BASIS_GROUPS;
constexpr int REST_SLICE = REST_ROW / BASIS_GROUPS;
static_assert(HK % BASIS_GROUPS == 0 && R % (16 * BASIS_GROUPS) == 0 && RS % (16 * BASIS_GROUPS) == 0,
              "groups of whole heads, slices of whole 16-byte pieces");
constexpr int CHUNKS = (RG * LATENT_BYTES + 63) / 64;
constexpr int CHUNK_STEPS = LATENT_INT8 ? 4 : 2;  // matrix instructions of 16 coordinates
constexpr int BASIS_BLOCKS = (RG + 63) / 64;      // of 64 coordinates: [DH, 64] with 16-byte pieces of row r permuted by XOR with r % 8
constexpr int BASIS_BLOCK_BYTES = DH * 128;
constexpr int BASIS_BYTES = BASIS_BLOCKS * BASIS_BLOCK_BYTES;  // of one KV head
// shared memory that a block may ask for. In C#: LatentKeys
#if __CUDA_ARCH__ >= 900
constexpr int MOST_SHARED = 226 * 1024;
#elif __CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890
constexpr int MOST_SHARED = 98 * 1024;
#else
constexpr int MOST_SHARED = 162 * 1024;
#endif

// matrix instructions of a tile, of 16 coordinates; more than 16 take their operands chunk by chunk
constexpr int STEPS = CHUNKS * CHUNK_STEPS;
constexpr int MOST_OPERANDS = 16;

// Chunks of a warpgroup's tokens that are held at once: all of a tile whose operands fit in registers; else a part, since another warpgroup is worth more than
// copies further ahead. In C#: LatentKeys
constexpr int ring_chunks(int n) {
    return n % 2 == 0 && (n * 4096 + 32 * 1024 > MOST_SHARED || (STEPS > MOST_OPERANDS && n > 4)) ? ring_chunks(n / 2) : n;
}
constexpr int RING_CHUNKS = ring_chunks(CHUNKS);
constexpr int RING_BYTES = RING_CHUNKS * 4096;
static_assert(DH == 64 || DH == 128, "head sizes 64 and 128");

// k[j]: channels channel_of(j), + 1 of tokens g (elements 0, 1) and g + 8 (2, 3) of the warp's sixteen. Registers j and j + DH / 16 are rotary pairs.
typedef float Keys[DH / 8][4];

__device__ __forceinline__ int channel_of(int j) {
    int t = threadIdx.x & 3;
    return j / (DH / 16) * (DH / 2) + t * (DH / 8) + j % (DH / 16) * 2;
}

// Where a lane's pieces of the group's latents of tokens g and g + 8 of a warp begin; `rest` is SCORE_SLICE bytes ahead of the second plane's slice, so that
// both take the chunk's place in the slices.
struct LatentRows {
    const u8* score[2];
    const u8* rest[2];
};

// layer: of page 0; page: id; token: of the page
__device__ __forceinline__ void set_row(LatentRows& rows, int h, const u8* layer, u32 page, u32 token, int kv_head) {
    int group = kv_head / (HK / BASIS_GROUPS);
    const u8* base = layer + (u64)page * PAGE_UNIT + (threadIdx.x & 3) * 16;
    rows.score[h] = base + token * SCORE_ROW + group * SCORE_SLICE;
    rows.rest[h] = base + REST_PLANE + token * REST_ROW + group * REST_SLICE - SCORE_SLICE;
}

// Starts copying chunk c of the thread's rows to its own place in the warpgroup's ring, where chunk c - RING_CHUNKS was.
__device__ __forceinline__ void fetch_chunk(u32 ring, int c, const LatentRows& rows) {
    int column = (threadIdx.x & 3) * 16;
    bool inside = RG * LATENT_BYTES % 64 == 0 || c * 64 + column < RG * LATENT_BYTES;
    bool scored = SCORE_SLICE % 64 == 0 ? c * 64 < SCORE_SLICE : c * 64 + column < SCORE_SLICE;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        u32 to = ring + (c % RING_CHUNKS * 2 + h) * 2048 + (threadIdx.x & 127) * 16;
        copy16_async(to, inside ? (scored ? rows.score[h] : rows.rest[h]) + c * 64 : rows.score[h], inside ? 16 : 0);
    }
}

__device__ __forceinline__ uint4 load_piece(u32 address) {
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(address) : "memory");
    return v;
}

// four int8 to four fp16, exactly, and 1152 too large, which the caller's bias takes back
__device__ __forceinline__ void widen_codes(u32 codes, u32& low, u32& high) {
    u32 biased = codes ^ 0x80808080u;
    // volatile: operands of a warpgroup's product have to be there before it begins
    asm volatile("prmt.b32 %0, %1, %2, 0x4140;" : "=r"(low) : "r"(biased), "r"(0x64646464u));
    asm volatile("prmt.b32 %0, %1, %2, 0x4342;" : "=r"(high) : "r"(biased), "r"(0x64646464u));
}

// A lane's pieces of a chunk, of tokens g and g + 8.
struct Pieces {
    uint4 top, bottom;
};

__device__ __forceinline__ Pieces load_pieces(u32 ring, int c) {
    u32 from = ring + c % RING_CHUNKS * 4096 + (threadIdx.x & 127) * 16;
    return {load_piece(from), load_piece(from + 2048)};
}

// Left operands of a chunk's steps.
__device__ __forceinline__ void widen_pieces(const Pieces& pieces, u32 (&a)[CHUNK_STEPS][4]) {
    u32 top[4] = {pieces.top.x, pieces.top.y, pieces.top.z, pieces.top.w};
    u32 bottom[4] = {pieces.bottom.x, pieces.bottom.y, pieces.bottom.z, pieces.bottom.w};
#pragma unroll
    for (int s = 0; s < CHUNK_STEPS; s++) {
        if constexpr (LATENT_INT8) {
            widen_codes(top[s], a[s][0], a[s][2]);
            widen_codes(bottom[s], a[s][1], a[s][3]);
        } else {
            a[s][0] = top[s * 2], a[s][2] = top[s * 2 + 1];
            a[s][1] = bottom[s * 2], a[s][3] = bottom[s * 2 + 1];
        }
    }
}

// Of a step's columns of the basis, from the descriptor of the first step's: the address is in the lower half, in units of 16 bytes. One addition, where
// a descriptor of its own is five instructions.
__device__ __forceinline__ u64 columns_of(u64 first, int step) {
    return (first & 0xffffffff00000000ull) | ((u32)first + (step / 4 * BASIS_BLOCK_BYTES + step % 4 * 32) / 16);
}

// keys += latents U^T, by all four warps. ahead(c) is called when the place of chunk c in the ring is free again; it starts copying what comes RING_CHUNKS
// later, here or in the next tile, and commits one group. No more than RING_CHUNKS - 1 groups may be younger than that of chunk 0. basis: shared image of the KV head, or, !SHARED, in device memory.
template <bool SHARED, typename Ahead>
__device__ __forceinline__ void rebuild_keys(Keys& keys, u32 ring, u32 basis_shared, const u8* basis, Ahead ahead) {
#if __CUDA_ARCH_FEAT_SM90_ALL
    if constexpr (SHARED) {
        u64 columns = matrix_descriptor(basis_shared, 16);
        u32 a[2][CHUNK_STEPS][4];
        wait_copies<RING_CHUNKS - 1>();
        Pieces pieces = load_pieces(ring, 0);
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            widen_pieces(pieces, a[c & 1]);
            ahead(c);
            if (c + 1 < CHUNKS) {
                wait_copies<RING_CHUNKS - 1>();
                pieces = load_pieces(ring, c + 1);
            }

            wg_begin();
#pragma unroll
            for (int s = 0; s < CHUNK_STEPS; s++) {
                u64 b = columns_of(columns, c * CHUNK_STEPS + s);
                if constexpr (LATENT_INT8)
                    wg_multiply_add_rows_half(keys, a[c & 1][s], b);
                else
                    wg_multiply_add_rows_bf16(keys, a[c & 1][s], b);
            }

            wg_commit();
            wg_wait<1>();  // the registers of the chunk before are free
        }

        wg_wait<0>();
        return;
    }
#endif
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll 1
    for (int c = 0; c < CHUNKS; c++) {
        u32 a[CHUNK_STEPS][4];
        wait_copies<RING_CHUNKS - 1>();
        widen_pieces(load_pieces(ring, c), a);
        ahead(c);
#pragma unroll
        for (int s = 0; s < CHUNK_STEPS; s++) {
            int step = c * CHUNK_STEPS + s, block = step / 4 * BASIS_BLOCK_BYTES, piece = step % 4 * 2;
            if constexpr (!SHARED)
                asm volatile("" : "+r"(g));  // or all addresses of a pass are kept, more than there are registers
#pragma unroll
            for (int j = 0; j < DH / 8; j += 2) {
                u32 b[4];  // columns 8 j.., coordinates 0..7 and 8..15, then columns 8 (j + 1)..
                if constexpr (SHARED) {
                    int row = j * 8 + (lane & 7) + (lane >> 4) * 8;
                    load_tiles(b, basis_shared + block + row * 128 + (((piece + (lane >> 3 & 1)) ^ (row & 7)) << 4));
                } else {
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        int row = (j + (i >> 1)) * 8 + g;
                        b[i] = __ldg((const u32*)(basis + block + row * 128 + (((piece + (i & 1)) ^ (row & 7)) << 4)) + t);
                    }
                }

#pragma unroll
                for (int i = 0; i < 2; i++) {
                    if constexpr (LATENT_INT8)
                        multiply_add_half(keys[j + i], a[s], b[i * 2], b[i * 2 + 1]);
                    else
                        multiply_add(keys[j + i], a[s][0], a[s][1], a[s][2], a[s][3], b[i * 2], b[i * 2 + 1]);
                }
            }
        }
    }
}

// Where a tile's operands fit in registers, its keys are rebuilt by a loop over blocks of channels: a launch's first pass over straight code costs more than
// the loop does, and registers are left for more warpgroups.
constexpr int BLOCK_PAIRS = 2;  // rotary pairs of registers of a block
constexpr int KEY_BLOCKS = DH / 16 / BLOCK_PAIRS;
constexpr bool OPERANDS_FIT = STEPS <= MOST_OPERANDS && RING_CHUNKS == CHUNKS;

// block[m] of block i is register i + m KEY_BLOCKS of Keys; registers m and m + BLOCK_PAIRS of a block are rotary pairs
typedef float KeyBlock[2 * BLOCK_PAIRS][4];
typedef u32 Operands[CHUNKS][CHUNK_STEPS][4];

// Waits for all copies of the thread; the ring is free behind it.
__device__ __forceinline__ void load_operands(Operands& a, u32 ring) {
    wait_copies<0>();
#pragma unroll
    for (int c = 0; c < CHUNKS; c++)
        widen_pieces(load_pieces(ring, c), a[c]);
}

// Adds the products of block i to keys; basis: in shared memory
__device__ __forceinline__ void rebuild_block(KeyBlock& keys, const Operands& a, u32 basis, int i) {
#if __CUDA_ARCH_FEAT_SM90_ALL
    u64 columns = matrix_descriptor(basis + i * 1024, 16, KEY_BLOCKS * 1024);
    wg_begin();
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        const u32(&left)[4] = a[step / CHUNK_STEPS][step % CHUNK_STEPS];
        u64 b = columns_of(columns, step);
        if constexpr (LATENT_INT8)
            wg_multiply_add_rows_half(keys, left, b);
        else
            wg_multiply_add_rows_bf16(keys, left, b);
    }

    wg_commit();
    wg_wait<0>();
#else
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        const u32(&left)[4] = a[step / CHUNK_STEPS][step % CHUNK_STEPS];
        int block = step / 4 * BASIS_BLOCK_BYTES, piece = step % 4 * 2;
#pragma unroll
        for (int m = 0; m < 2 * BLOCK_PAIRS; m += 2) {
            u32 b[4];  // columns of register m, coordinates 0..7 and 8..15, then of register m + 1
            int row = (i + (m + (lane >> 4)) * KEY_BLOCKS) * 8 + (lane & 7);
            load_tiles(b, basis + block + row * 128 + (((piece + (lane >> 3 & 1)) ^ (row & 7)) << 4));
#pragma unroll
            for (int n = 0; n < 2; n++) {
                if constexpr (LATENT_INT8)
                    multiply_add_half(keys[m + n], left, b[n * 2], b[n * 2 + 1]);
                else
                    multiply_add(keys[m + n], left[0], left[1], left[2], left[3], b[n * 2], b[n * 2 + 1]);
            }
        }
    }
#endif
}

// Rotates two rotary pairs: channels low[i] and high[i]. by: (cos, sin) of i = 0, then of i = 1
__device__ __forceinline__ void rotate(float* low, float* high, float4 by) {
    float a = low[0], b = high[0];
    low[0] = a * by.x - b * by.y;
    high[0] = b * by.x + a * by.y;
    a = low[1], b = high[1];
    low[1] = a * by.z - b * by.w;
    high[1] = b * by.z + a * by.w;
}

// Rotates registers j and j + DH / 16 of the warp's keys. turn(h): (cos, sin) of channel_of(j) and of the next at the position of token g + 8 h
template <typename Turn>
__device__ __forceinline__ void rotate_pair(Keys& keys, int j, Turn turn) {
    constexpr int OTHER = DH / 16;
#pragma unroll
    for (int h = 0; h < 2; h++)
        rotate(keys[j] + h * 2, keys[j + OTHER] + h * 2, turn(h));
}

// [DH / 8, 4, 4]: what the keys of lane t begin with, register by register
typedef float FirstKeys[DH / 8][4][4];

// Starts copying; bias: [D], of the image. By the whole block; before it is read: wait_copies, a barrier.
template <int THREADS>
__device__ __forceinline__ void prepare_keys(FirstKeys& first, const float* bias, int kv_head) {
#pragma unroll 1
    for (int i = threadIdx.x; i < DH * 2; i += THREADS) {
        int j = i / 16, t = i / 4 % 4, e = i % 2;
        copy_async<4>(shared_address(&first[j][t][i % 4]),
                      bias + kv_head * DH + j / (DH / 16) * (DH / 2) + t * (DH / 8) + j % (DH / 16) * 2 + e);
    }
}

__device__ __forceinline__ void begin_keys(Keys& keys, const FirstKeys& first) {
#pragma unroll
    for (int j = 0; j < DH / 8; j++) {
        float4 v = *(const float4*)first[j][threadIdx.x & 3];
        keys[j][0] = v.x, keys[j][1] = v.y, keys[j][2] = v.z, keys[j][3] = v.w;
    }
}

__device__ __forceinline__ void begin_block(KeyBlock& keys, const FirstKeys& first, int i) {
#pragma unroll
    for (int m = 0; m < 2 * BLOCK_PAIRS; m++) {
        float4 v = *(const float4*)first[i + m * KEY_BLOCKS][threadIdx.x & 3];
        keys[m][0] = v.x, keys[m][1] = v.y, keys[m][2] = v.z, keys[m][3] = v.w;
    }
}

// Starts copying one KV head's basis by the whole block; before products read it: wait_copies, publish_basis, a barrier.
template <int THREADS>
__device__ __forceinline__ void fetch_basis(u32 to, const u8* image, int kv_head) {
#pragma unroll 1
    for (int i = threadIdx.x * 16; i < BASIS_BYTES; i += THREADS * 16)
        copy16_async(to + i, image + (i64)kv_head * BASIS_BYTES + i, 16);
}

__device__ __forceinline__ void publish_basis() {
#if __CUDA_ARCH_FEAT_SM90_ALL
    publish_shared();
#endif
}
