// The body of prefill_attend with products of single warps: every architecture. Rounds of 64 keys; values arrive while scores are computed.
#pragma once
#include "prefill_softmax.cuh"

constexpr int QUERIES = 128;  // of a block: 8 warps of 16
constexpr int KEYS = 64;      // of a round
constexpr int THREADS = 256;
constexpr int ROW_BYTES = DH * 2;
constexpr int ROW_VECTORS = DH / 8;

__device__ __forceinline__ u32 piece(int row, int column) { return row * ROW_BYTES + ((column ^ (row & 7)) << 4); }

// rows [first, first + ROWS) of a matrix; those at or past `end` become zeros and are not read
template <int ROWS>
__device__ __forceinline__ void fetch(u32 tile, const u16* matrix, i64 stride, int first, int end) {
#pragma unroll
    for (int i = 0; i < ROWS * ROW_VECTORS / THREADS; i++) {
        int index = i * THREADS + threadIdx.x, row = index / ROW_VECTORS, column = index % ROW_VECTORS;
        bool inside = first + row < end;
        copy16_async(tile + piece(row, column), matrix + (inside ? first + row : 0) * stride + column * 8, inside ? 16 : 0);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) prefill_attend(const __grid_constant__ Args args) {
    extern __shared__ __align__(128) u8 shared[];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2;
    int head = blockIdx.x, block = (gridDim.y - 1 - blockIdx.y) * QUERIES;
    constexpr i64 QUERY_STRIDE = (i64)(HQ + 2 * HK) * DH, KEY_STRIDE = (i64)HK * DH;
    u32 query_tile = shared_address(shared), key_tile = query_tile + QUERIES * ROW_BYTES, value_tile = key_tile + KEYS * ROW_BYTES;
    const u16* keys = args.keys + head / (HQ / HK) * DH;
    const u16* values = args.values + head / (HQ / HK) * DH;
    int end = args.first + min(block + QUERIES, args.tokens);  // keys that some query of this block sees
    int rounds = (end + KEYS - 1) / KEYS;
    fetch<QUERIES>(query_tile, args.qkv + head * DH, QUERY_STRIDE, block, args.tokens);
    fetch<KEYS>(key_tile, keys, KEY_STRIDE, 0, end);
    commit_copies();

    u32 q[DH / 16][4];
    float o[DH / 8][4];
#pragma unroll
    for (int j = 0; j < DH / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            o[j][e] = 0.f;
    float m[2] = {NOTHING, NOTHING}, l[2] = {0.f, 0.f};
    int last_seen = args.first + block + warp * 16 + g;  // by row g; row g + 8 sees eight more

    for (int round = 0; round < rounds; round++) {
        wait_copies<0>();
        __syncthreads();
        fetch<KEYS>(value_tile, values, KEY_STRIDE, round * KEYS, end);
        commit_copies();
        if (round == 0) {
#pragma unroll
            for (int k = 0; k < DH / 16; k++)
                load_tiles(q[k], query_tile + piece(warp * 16 + (lane & 15), k * 2 + (lane >> 4)));
        }

        float s[KEYS / 8][4];
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                s[j][e] = 0.f;
#pragma unroll
        for (int k = 0; k < DH / 16; k++)
#pragma unroll
            for (int j = 0; j < KEYS / 16; j++) {
                u32 b[4];
                load_tiles(b, key_tile + piece(j * 16 + (lane & 7) + ((lane >> 4) << 3), k * 2 + ((lane >> 3) & 1)));
                multiply_add(s[2 * j], q[k][0], q[k][1], q[k][2], q[k][3], b[0], b[1]);
                multiply_add(s[2 * j + 1], q[k][0], q[k][1], q[k][2], q[k][3], b[2], b[3]);
            }

        wait_copies<0>();
        __syncthreads();
        if (round + 1 < rounds)
            fetch<KEYS>(key_tile, keys, KEY_STRIDE, (round + 1) * KEYS, end);
        commit_copies();
        if ((round + 1) * KEYS > args.first + block + warp * 16)
            mask_round(s, round * KEYS, last_seen);

        soften_round(s, o, m, l, args.scale);

#pragma unroll
        for (int k = 0; k < KEYS / 16; k++) {
            u32 p0 = narrow2(s[2 * k][0], s[2 * k][1]), p1 = narrow2(s[2 * k][2], s[2 * k][3]);
            u32 p2 = narrow2(s[2 * k + 1][0], s[2 * k + 1][1]), p3 = narrow2(s[2 * k + 1][2], s[2 * k + 1][3]);
#pragma unroll
            for (int j = 0; j < DH / 16; j++) {
                u32 b[4];
                load_tiles_transposed(b, value_tile + piece(k * 16 + (lane & 7) + (((lane >> 3) & 1) << 3), j * 2 + (lane >> 4)));
                multiply_add(o[2 * j], p0, p1, p2, p3, b[0], b[1]);
                multiply_add(o[2 * j + 1], p0, p1, p2, p3, b[2], b[3]);
            }
        }
    }

    store_rows(args, o, l, block + warp * 16 + g, head);
}
