// A stage's keys and values as operands of matrix products, bf16 or int8 (KV_INT8, widened on the way: their peaks are applied to scores and weights).
// Codes are widened four of a row at a time, so which channel of a head stands where in a product is permuted. Included by dense_attend.cu.
#pragma once

// Column g of the right operand of K q^T, query head g of an item's group; columns G.. are zero.
struct Query {
    u32 q[DH / 16][2];
    __device__ __forceinline__ void load(const Args& args, int item) {
        int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, row = args.work[item / HK].x;
        const u16* from = args.qkv + (i64)row * args.qkv_stride + (item % HK * G + (g < G ? g : 0)) * DH + t * (KV_INT8 ? 4 : 2);
#pragma unroll
        for (int k = 0; k < DH / 16; k++) {
            q[k][0] = g < G ? __ldcg((const u32*)(from + k * 16)) : 0;
            q[k][1] = g < G ? __ldcg((const u32*)(from + k * 16 + (KV_INT8 ? 2 : 8))) : 0;
        }
    }
};

// Channel within each 16 of a head at which rows g and g + 8 of V^T p stand.
__device__ __forceinline__ int value_channel(int g, int half) { return KV_INT8 ? g * 2 + half : g + half * 8; }

// two codes as bf16, exactly: `pick` takes a code and 0x43 twice
template <u32 PICK>
__device__ __forceinline__ u32 widen_codes(u32 word) {
    u32 pair = __byte_perm(word, 0x43434343u, PICK);
    // 128 + the low seven bits, less 128 or, where the code is negative, 256
    return subtract2(pair & 0xff7fff7fu, pair & 0xff80ff80u);
}

struct Tiles {
    u32 keys[4], values[4];  // where a lane's rows of matrix tiles lie in a stage, by column modulo 8
    __device__ __forceinline__ Tiles() {
        int lane = threadIdx.x & 31;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            keys[k] = piece((lane & 7) + (((lane >> 3) & 1) << 3), (k * 2 + (lane >> 4)) % (ROW_BYTES / 16));
            values[k] = PLANE_BYTES + (KV_INT8 ? keys[k] : piece((lane & 7) + ((lane >> 4) << 3), k * 2 + ((lane >> 3) & 1)));
        }
    }

    // left operands: 16 tokens by channels [32 k, 32 k + 32)
    __device__ __forceinline__ void load_keys(u32 (&a)[2][4], u32 stage, int k) const {
        if constexpr (KV_INT8) {
            u32 codes[4];
            load_tiles(codes, stage + keys[k]);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                a[i][0] = widen_codes<0x4140>(codes[i * 2]), a[i][2] = widen_codes<0x4342>(codes[i * 2]);
                a[i][1] = widen_codes<0x4140>(codes[i * 2 + 1]), a[i][3] = widen_codes<0x4342>(codes[i * 2 + 1]);
            }
        } else {
#pragma unroll
            for (int i = 0; i < 2; i++)
                load_tiles(a[i], stage + keys[(k * 2 + i) % 4] + (k * 2 + i) / 4 * 128);
        }
    }

    // left operands: channels [32 j, 32 j + 32) by 16 tokens
    __device__ __forceinline__ void load_values(u32 (&a)[2][4], u32 stage, int j) const {
        if constexpr (KV_INT8) {
            // a transposed tile has two channels of two tokens in a word
            u32 codes[4];
            load_tiles_transposed(codes, stage + values[j]);
#pragma unroll
            for (int i = 0; i < 2; i++) {
                a[i][0] = widen_codes<0x4240>(codes[i * 2]), a[i][1] = widen_codes<0x4341>(codes[i * 2]);
                a[i][2] = widen_codes<0x4240>(codes[i * 2 + 1]), a[i][3] = widen_codes<0x4341>(codes[i * 2 + 1]);
            }
        } else {
#pragma unroll
            for (int i = 0; i < 2; i++)
                load_tiles_transposed(a[i], stage + values[(j * 2 + i) % 4] + (j * 2 + i) / 4 * 128);
        }
    }
};

// peak of token `token` of a stage; 1 where numbers are exact
__device__ __forceinline__ float stage_peak(u32 stage, int is_value, int token) {
    if constexpr (!KV_INT8)
        return 1.f;
    u16 bits;
    asm volatile("ld.shared.u16 %0, [%1];" : "=h"(bits) : "r"(stage + PEAKS + (is_value * TOKENS + token) * 2) : "memory");
    return widen(bits);
}
