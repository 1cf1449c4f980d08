// Values as left operands of the matrix instructions that weigh them: all channels of a KV head by 16 tokens of a warp, straight from memory to registers.
// Lane (g, t) holds tokens 2 t, 2 t + 1, 8 + 2 t and 9 + 2 t of channels LANE_CHANNELS g.., so a token's share of a lane is contiguous, and so are, in
// the result, a lane's channels of the query heads 2 t and 2 t + 1: half the instructions and accumulators of the other way round.
// Codes become fp16 as (1024 + code) scale - 1024 scale, exactly but for the last rounding; their zeros are weighed apart, one row for each lane g,
// and beside them the sum of the weights.
#pragma once
#include "bf16.cuh"
#include "half.cuh"
#include "latent_page.cuh"
#include "matrix.cuh"

constexpr int LANE_CHANNELS = DH / 8;

// o[i]: channel LANE_CHANNELS g + 2 i of query heads 2 t and 2 t + 1, then the next channel of both
typedef float Weighed[LANE_CHANNELS / 2][4];

__device__ __forceinline__ u32 low_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x5410); }
__device__ __forceinline__ u32 high_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x7632); }

// token i of the lane, of the warp's sixteen
__device__ __forceinline__ int lane_token(int i) { return (threadIdx.x & 3) * 2 + (i & 1) + (i >> 1) * 8; }

// 16-bit values of the lane's four tokens.
struct WholeValues {
    u32 pair[4][LANE_CHANNELS / 2];  // of adjacent channels
};

// row: of token i, at the head's first channel
__device__ __forceinline__ void load_whole(WholeValues& values, int i, const u16* row) {
    const uint4* from = (const uint4*)(row + (threadIdx.x >> 2 & 7) * LANE_CHANNELS);
#pragma unroll
    for (int k = 0; k < LANE_CHANNELS / 8; k++) {
        uint4 v = load_stream(from + k);
        values.pair[i][k * 4] = v.x, values.pair[i][k * 4 + 1] = v.y, values.pair[i][k * 4 + 2] = v.z, values.pair[i][k * 4 + 3] = v.w;
    }
}

// Adds bf16 values and their weights' sums. p0, p1: weights of tokens (2 t, 2 t + 1) and (8 + 2 t, 9 + 2 t) by head g, bf16
__device__ __forceinline__ void weigh_whole(Weighed& o, float (&l)[2], const WholeValues& values, u32 p0, u32 p1) {
    float sums[4] = {l[0], l[1], 0.f, 0.f};
    multiply_add(sums, 0x3f803f80u, 0, 0x3f803f80u, 0, p0, p1);
    l[0] = sums[0], l[1] = sums[1];
#pragma unroll
    for (int k = 0; k < LANE_CHANNELS / 2; k++) {
        u32 a = values.pair[0][k], b = values.pair[1][k], c = values.pair[2][k], d = values.pair[3][k];
        multiply_add(o[k], low_halves(a, b), high_halves(a, b), low_halves(c, d), high_halves(c, d), p0, p1);
    }
}

// 1 / 16, twice: 1024 scales stay within fp16 for scales of up to 1,023
constexpr u32 SIXTEENTHS = 0x2c002c00u;

// o = what the sixteen weigh, l = their weights; p0, p1: 16 times the weights, as weigh_whole has them, fp16
__device__ __forceinline__ void weigh_first(Weighed& o, float (&l)[2], const WholeValues& values, u32 p0, u32 p1) {
    u32 ones[4] = {SIXTEENTHS, 0, SIXTEENTHS, 0};
    float sums[4];
    multiply_half(sums, ones, p0, p1);
    l[0] = sums[0], l[1] = sums[1];
#pragma unroll
    for (int k = 0; k < LANE_CHANNELS / 2; k++) {
        u32 a = values.pair[0][k], b = values.pair[1][k], c = values.pair[2][k], d = values.pair[3][k];
        u32 v[4] = {low_halves(a, b), high_halves(a, b), low_halves(c, d), high_halves(c, d)};
        multiply_half(o[k], v, p0, p1);
#pragma unroll
        for (int e = 0; e < 4; e++)
            o[k][e] *= 1.f / 16.f;
    }
}

constexpr int CODE_WORDS = VALUE_BITS == 4 && DH == 128 ? 2 : 1;  // of a lane; 3 bits: of their lower two

// Codes of the lane's four tokens, and (fp16 scale, fp16 zero) of its group of channels.
struct CodedValues {
    u32 word[4][CODE_WORDS];
    u32 third[4];  // 3 bits: their third
    u32 scale[4];
};

// codes, scales: of token i, at the head's first
__device__ __forceinline__ void load_coded(CodedValues& values, int i, const u8* codes, const u8* scales) {
    int g = threadIdx.x >> 2 & 7;
    values.scale[i] = __ldg((const u32*)scales + (VALUE_BITS == 16 ? 0 : g * LANE_CHANNELS / VALUE_GROUP));
    if constexpr (CODE_WORDS == 2) {
        uint2 v = __ldg((const uint2*)codes + g);
        values.word[i][0] = v.x, values.word[i][CODE_WORDS - 1] = v.y;
    } else if constexpr (VALUE_BITS == 4) {
        values.word[i][0] = __ldg((const u32*)codes + g);
    } else if constexpr (VALUE_BITS == 2) {
        values.word[i][0] = __ldg((const u32*)codes + g * LANE_CHANNELS / 16) >> (DH == 64 ? (g & 1) * 8 : 0);
    } else {
        int channel = g * LANE_CHANNELS % 32;
        const u32* of_group = (const u32*)codes + g * LANE_CHANNELS / 32 * 3;
        values.word[i][0] = __ldg(of_group + channel / 16) >> (channel % 16);
        values.third[i] = __ldg(of_group + 2) >> (channel / 2);
    }
}

__device__ __forceinline__ u32 multiply_add2(u32 a, u32 b, u32 c) {
    u32 d;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

// x & MASK | bits
template <u32 MASK>
__device__ __forceinline__ u32 mask_or(u32 x, u32 bits) {
    u32 y;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(y) : "r"(x), "n"(MASK), "r"(bits));
    return y;
}

// o and l likewise
__device__ __forceinline__ void weigh_coded(Weighed& o, float (&l)[2], const CodedValues& values, u32 p0, u32 p1) {
    constexpr int FIELD = VALUE_BITS == 4 ? 4 : 2, WORD_CHANNELS = 32 / FIELD;
    constexpr u32 MASK = VALUE_BITS == 4 ? 0x000f000fu : 0x00030003u;
    u32 scale[2], back[2], even[2][CODE_WORDS], odd[2][CODE_WORDS], even_third[2], odd_third[2];
    float zeros[4];
    u32 zero[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        u32 pair = low_halves(values.scale[i * 2], values.scale[i * 2 + 1]);
        asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(scale[i]) : "r"(pair), "r"(SIXTEENTHS));
        asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(back[i]) : "r"(scale[i]), "r"(0xe400e400u));  // -1024
        zero[i] = high_halves(values.scale[i * 2], values.scale[i * 2 + 1]);
#pragma unroll
        for (int w = 0; w < CODE_WORDS; w++) {
            even[i][w] = low_halves(values.word[i * 2][w], values.word[i * 2 + 1][w]);
            odd[i][w] = high_halves(values.word[i * 2][w], values.word[i * 2 + 1][w]);
        }

        if constexpr (VALUE_BITS == 3) {
            even_third[i] = low_halves(values.third[i * 2], values.third[i * 2 + 1]);
            odd_third[i] = high_halves(values.third[i * 2], values.third[i * 2 + 1]);
        }
    }

    // in a register, so that mask and offset are one instruction
    u32 offset;
    asm("mov.b32 %0, 0x64006400;" : "=r"(offset));
    u32 rows[4] = {zero[0], SIXTEENTHS, zero[1], SIXTEENTHS};
    multiply_half(zeros, rows, p0, p1);
    zeros[0] *= 1.f / 16.f, zeros[1] *= 1.f / 16.f, l[0] = zeros[2], l[1] = zeros[3];
    u32 once0, once1;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(once0) : "r"(p0), "r"(SIXTEENTHS));
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(once1) : "r"(p1), "r"(SIXTEENTHS));
#pragma unroll
    for (int k = 0; k < LANE_CHANNELS / 2; k++) {
        int word = k * 2 / WORD_CHANNELS, bit = k % (WORD_CHANNELS / 2) * FIELD;
        // Four bits further up a code is 16 times itself: half of the codes need no shift of their own, and weights once instead of 16 times.
        int up = VALUE_BITS == 3 ? 0 : bit & 4;
        u32 v[4];  // the even channel of tokens 0 and 1, the odd one, both of tokens 2 and 3
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 pair = (i % 2 ? odd : even)[i / 2][word] >> (bit - up),
                code = up ? mask_or<(MASK << 4)>(pair, offset) : mask_or<MASK>(pair, offset);
            if constexpr (VALUE_BITS == 3)
                code |= ((i % 2 ? odd_third : even_third)[i / 2] >> (bit / FIELD) & 0x00010001u) << 2;
            v[i] = multiply_add2(code, scale[i / 2], back[i / 2]);
        }

        multiply_half_onto(o[k], v, up ? once0 : p0, up ? once1 : p1, zeros[0], zeros[1]);
    }
}
