// What both bodies of prefill_attend do with a round's scores, held as multiply_add leaves them: a lane has rows g and g + 8 of a warp's sixteen.
#pragma once

constexpr float NOTHING = -1e30f;

// scores of keys past the last one that a row sees become nothing; first: the round's first key, last_seen: row g's last, row g + 8 sees eight more
template <int TILES>
__device__ __forceinline__ void mask_round(float (&s)[TILES][4], int first, int last_seen) {
    int t = threadIdx.x & 3;
#pragma unroll
    for (int j = 0; j < TILES; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int key = first + j * 8 + t * 2 + (e & 1);
            if (key > last_seen + ((e >> 1) << 3))
                s[j][e] = NOTHING;
        }
}

// scores become weights against the rows' new maxima m; their sums l, the lane's own share, and the rows' results o shrink to match
template <int TILES>
__device__ __forceinline__ void soften_round(float (&s)[TILES][4], float (&o)[DH / 8][4], float (&m)[2], float (&l)[2], float scale) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float top = m[h];
#pragma unroll
        for (int j = 0; j < TILES; j++)
            top = fmaxf(top, fmaxf(s[j][h * 2], s[j][h * 2 + 1]));
        top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 1));
        top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 2));
        float shrink = exp2_fast((m[h] - top) * scale), offset = top * scale, sum = 0.f;
        m[h] = top;
#pragma unroll
        for (int j = 0; j < TILES; j++)
#pragma unroll
            for (int e = h * 2; e < h * 2 + 2; e++) {
                s[j][e] = exp2_fast(s[j][e] * scale - offset);
                sum += s[j][e];
            }
        l[h] = l[h] * shrink + sum;
#pragma unroll
        for (int j = 0; j < DH / 8; j++)
            o[j][h * 2] *= shrink, o[j][h * 2 + 1] *= shrink;
    }
}

// rows first_row and first_row + 8 of the output, those that exist
__device__ __forceinline__ void store_rows(const Args& args, const float (&o)[DH / 8][4], const float (&l)[2], int first_row, int head) {
    int t = threadIdx.x & 3;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float total = l[h];
        total += __shfl_xor_sync(FULL_MASK, total, 1);
        total += __shfl_xor_sync(FULL_MASK, total, 2);
        int row = first_row + h * 8;
        if (row < args.tokens) {
            float inverse = 1.f / total;
            u32* to = (u32*)(args.o + ((i64)row * HQ + head) * DH + t * 2);
#pragma unroll
            for (int j = 0; j < DH / 8; j++)
                to[j * 4] = narrow2(o[j][h * 2] * inverse, o[j][h * 2 + 1] * inverse);
        }
    }
}
