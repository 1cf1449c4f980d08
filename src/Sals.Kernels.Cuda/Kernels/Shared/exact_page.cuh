// Attention of the G query heads of one KV head to one page of exact keys and values, by one warp: 16 tokens at a time through a private ring
// in shared memory, base-2 softmax, the state (m, l, o) in registers. Constants: DH, HQ, HK; EXACT_STAGES where 3 are too many.
#pragma once
#include "bf16.cuh"
#include "matrix.cuh"
#include "paging.cuh"

constexpr int G = HQ / HK;
static_assert(HQ % HK == 0 && G <= 8, "at most 8 query heads share a KV head");
static_assert(DH == 64 || DH == 128, "head sizes 64 and 128");

#ifndef EXACT_STAGES
#define EXACT_STAGES 3
#endif
constexpr int EXACT_TOKENS = 16;  // tokens of a stage
constexpr int ROW_BYTES = DH * 2;
constexpr int ROW_VECTORS = DH / 8;  // 16-byte pieces of a row
constexpr int PLANE_BYTES = EXACT_TOKENS * ROW_BYTES;
constexpr int STAGE_BYTES = 2 * PLANE_BYTES;  // K, then V
constexpr int RING_BYTES = EXACT_STAGES * STAGE_BYTES;
constexpr float NOTHING = -1e30f;  // m of no tokens; finite, so that differences are

// 16-byte pieces are permuted within a row so that eight rows of one column lie in different banks
__device__ __forceinline__ u32 piece(int row, int column) { return row * ROW_BYTES + ((column ^ (row & 7)) << 4); }

// Copies tokens [first, first + 16) of a page's K and V head; those at or past `count` become zeros and are not read.
__device__ __forceinline__ void fetch_exact(u32 stage, const u16* keys, int first, int count) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < EXACT_TOKENS * ROW_VECTORS / 32; i++) {
        int index = i * 32 + lane, row = index / ROW_VECTORS, column = index % ROW_VECTORS;
        int bytes = first + row < count ? 16 : 0;
        const u16* key = keys + (i64)(bytes ? first + row : 0) * (HK * DH) + column * 8;
        copy16_async(stage + piece(row, column), key, bytes);
        copy16_async(stage + PLANE_BYTES + piece(row, column), key + PAGE_SIZE * HK * DH, bytes);
    }
}

// Lane (g, t): row g of the left operand is query head g of the group, rows G.. are zero; o[j] holds channels 8 j + 2 t, + 1 of head g.
// keys: the head's first element in the page's K plane; query: the group's first, [G, DH]. No copies are in flight afterwards.
__device__ __forceinline__ void attend_exact(u32 ring, const u16* keys, int count, const u16* query, float scale, float (&o)[DH / 8][4],
                                             float& m, float& l) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    int stages = (count + EXACT_TOKENS - 1) / EXACT_TOKENS;
#pragma unroll
    for (int s = 0; s < EXACT_STAGES - 1; s++) {
        if (s < stages)
            fetch_exact(ring + s * STAGE_BYTES, keys, s * EXACT_TOKENS, count);
        commit_copies();
    }

    u32 q[DH / 16][2];
    query += (g < G ? g : 0) * DH + t * 2;
#pragma unroll
    for (int k = 0; k < DH / 16; k++) {
        q[k][0] = g < G ? *(const u32*)(query + k * 16) : 0;
        q[k][1] = g < G ? *(const u32*)(query + k * 16 + 8) : 0;
    }

#pragma unroll
    for (int j = 0; j < DH / 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            o[j][e] = 0.f;
    m = NOTHING, l = 0.f;
    for (int s = 0; s < stages; s++) {
        wait_copies<EXACT_STAGES - 2>();
        __syncwarp();
        if (s + EXACT_STAGES - 1 < stages)
            fetch_exact(ring + (s + EXACT_STAGES - 1) % EXACT_STAGES * STAGE_BYTES, keys, (s + EXACT_STAGES - 1) * EXACT_TOKENS, count);
        commit_copies();
        u32 key_stage = ring + s % EXACT_STAGES * STAGE_BYTES, value_stage = key_stage + PLANE_BYTES;
        float p[2][4] = {{0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}};
#pragma unroll
        for (int k = 0; k < DH / 16; k++) {
            u32 b[4];
            load_tiles(b, key_stage + piece((lane & 7) + ((lane >> 4) << 3), k * 2 + ((lane >> 3) & 1)));
            multiply_add(p[0], q[k][0], 0, q[k][1], 0, b[0], b[1]);
            multiply_add(p[1], q[k][0], 0, q[k][1], 0, b[2], b[3]);
        }

        // tokens past the end have p = 0: their keys are zeros, so they are masked here, and their values are zeros too
        int left = count - s * EXACT_TOKENS;
        float top = m;
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                p[j][e] = j * 8 + t * 2 + e < left ? p[j][e] * scale : NOTHING;
                top = fmaxf(top, p[j][e]);
            }
        top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 1));
        top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 2));
        float shrink = exp2_fast(m - top);
        m = top;
        l *= shrink;
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                p[j][e] = exp2_fast(p[j][e] - top);
                l += p[j][e];
            }
#pragma unroll
        for (int j = 0; j < DH / 8; j++)
            o[j][0] *= shrink, o[j][1] *= shrink;
        u32 p_low = narrow2(p[0][0], p[0][1]), p_high = narrow2(p[1][0], p[1][1]);
#pragma unroll
        for (int j = 0; j < DH / 16; j++) {
            u32 b[4];
            load_tiles_transposed(b, value_stage + piece((lane & 7) + (((lane >> 3) & 1) << 3), j * 2 + (lane >> 4)));
            multiply_add(o[j * 2], p_low, 0, p_high, 0, b[0], b[1]);
            multiply_add(o[j * 2 + 1], p_low, 0, p_high, 0, b[2], b[3]);
        }

        __syncwarp();
    }

    l += __shfl_xor_sync(FULL_MASK, l, 1);
    l += __shfl_xor_sync(FULL_MASK, l, 2);
    wait_copies<0>();
}

// Puts the states of the block's four warps together, in order: store(channel of the group [G * DH], sum, m, l). Called by the whole block of 128.
// states [4, G, DH] may lie over the rings, all of which are drained behind the barrier here.
template <typename Store>
__device__ __forceinline__ void merge_warps(float* states, float2 (&ml)[4][G], const float (&o)[DH / 8][4], float m, float l, Store store) {
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    __syncthreads();
    if (g < G) {
        if (t == 0)
            ml[warp][g] = make_float2(m, l);
#pragma unroll
        for (int j = 0; j < DH / 8; j++)
            *(float2*)(states + (warp * G + g) * DH + j * 8 + t * 2) = make_float2(o[j][0], o[j][1]);
    }

    __syncthreads();
    for (int i = threadIdx.x; i < G * DH; i += 128) {
        int head = i / DH;
        float top = fmaxf(fmaxf(ml[0][head].x, ml[1][head].x), fmaxf(ml[2][head].x, ml[3][head].x));
        float sum = 0.f, total = 0.f;
#pragma unroll
        for (int w = 0; w < 4; w++) {
            float weight = exp2_fast(ml[w][head].x - top);
            sum += states[w * G * DH + i] * weight;
            total += ml[w][head].y * weight;
        }

        store(i, sum, top, total);
    }
}
