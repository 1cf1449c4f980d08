// The body of prefill_attend with products of whole warpgroups (sm_90a): rounds of 128 keys, the next round's on their way during this one.
#pragma once
#include "prefill_softmax.cuh"
#include "warpgroup.cuh"

constexpr int QUERIES = 128;  // of a block: 2 warpgroups of 64
constexpr int KEYS = 128;     // of a round
constexpr int THREADS = 256;
constexpr int LINE = 128;
constexpr int ROW_VECTORS = DH / 8;

// rows [first, first + ROWS) of a matrix as blocks of 64 columns; rows at or past `end` become zeros and are not read
template <int ROWS>
__device__ __forceinline__ void fetch(u32 tile, const u16* matrix, i64 stride, int first, int end) {
#pragma unroll
    for (int i = 0; i < ROWS * ROW_VECTORS / THREADS; i++) {
        int index = i * THREADS + threadIdx.x, row = index / ROW_VECTORS, column = index % ROW_VECTORS;
        bool inside = first + row < end;
        u32 to = tile + (column / 8) * (ROWS * LINE) + row * LINE + (((column & 7) ^ (row & 7)) << 4);
        copy16_async(to, matrix + (inside ? first + row : 0) * stride + column * 8, inside ? 16 : 0);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) prefill_attend_warpgroup(const __grid_constant__ Args args) {
    extern __shared__ __align__(1024) u8 shared[];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, group = warp >> 2;
    int head = blockIdx.x, block = (gridDim.y - 1 - blockIdx.y) * QUERIES;
    constexpr i64 KEY_STRIDE = (i64)HK * DH;
    i64 query_stride = (i64)(HQ + 2 * HK) * DH;
    constexpr int TILE = KEYS * DH * 2;
    u32 query_tile = shared_address(shared), ring = query_tile + QUERIES * DH * 2;
    const u16* keys = args.keys + head / (HQ / HK) * DH;
    const u16* values = args.values + head / (HQ / HK) * DH;
    int end = args.first + min(block + QUERIES, args.tokens);  // keys that some query of this block sees
    int rounds = (end + KEYS - 1) / KEYS;
    fetch<QUERIES>(query_tile, args.qkv + head * DH, query_stride, block, args.tokens);
    fetch<KEYS>(ring, keys, KEY_STRIDE, 0, end);
    fetch<KEYS>(ring + TILE, values, KEY_STRIDE, 0, end);
    commit_copies();

    float o[DH / 8][4];
#pragma unroll
    for (int j = 0; j < DH / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            o[j][e] = 0.f;
    float m[2] = {NOTHING, NOTHING}, l[2] = {0.f, 0.f};
    int last_seen = args.first + block + warp * 16 + g;  // by row g; row g + 8 sees eight more
    int first_of_group = args.first + block + group * 64;

    for (int round = 0; round < rounds; round++) {
        wait_copies<0>();
        publish_shared();
        __syncthreads();
        u32 key_tile = ring + (round & 1) * 2 * TILE, value_tile = key_tile + TILE;
        if (round + 1 < rounds) {
            u32 next = ring + ((round + 1) & 1) * 2 * TILE;
            fetch<KEYS>(next, keys, KEY_STRIDE, (round + 1) * KEYS, end);
            fetch<KEYS>(next + TILE, values, KEY_STRIDE, (round + 1) * KEYS, end);
        }
        commit_copies();
        if (round * KEYS > first_of_group + 63)
            continue;  // the other warpgroup's alone

        float s[KEYS / 8][4];
        wg_begin();
#pragma unroll
        for (int k = 0; k < DH / 16; k++) {
            u64 a = matrix_descriptor(query_tile + k / 4 * (QUERIES * LINE) + group * 64 * LINE + k % 4 * 32, 16);
            u64 b = matrix_descriptor(key_tile + k / 4 * (KEYS * LINE) + k % 4 * 32, 16);
            wg_multiply_add_transposed(s, a, b, k);
        }
        wg_commit();
        wg_wait<0>();
        if ((round + 1) * KEYS > first_of_group)
            mask_round(s, round * KEYS, last_seen);

        soften_round(s, o, m, l, args.scale);

        u32 p[KEYS / 16][4];
#pragma unroll
        for (int k = 0; k < KEYS / 16; k++) {
            p[k][0] = narrow2(s[2 * k][0], s[2 * k][1]), p[k][1] = narrow2(s[2 * k][2], s[2 * k][3]);
            p[k][2] = narrow2(s[2 * k + 1][0], s[2 * k + 1][1]), p[k][3] = narrow2(s[2 * k + 1][2], s[2 * k + 1][3]);
        }
        wg_begin();
#pragma unroll
        for (int k = 0; k < KEYS / 16; k++)
            wg_multiply_add(o, p[k][0], p[k][1], p[k][2], p[k][3], matrix_descriptor(value_tile + k * 16 * LINE, KEYS * LINE));
        wg_commit();
        wg_wait<0>();
    }

    store_rows(args, o, l, block + warp * 16 + g, head);
}
