// Values of latent tokens as operands of the tensor cores: codes of 2, 3 or 4 bits become bf16 integers around zero, exactly; their scales go into the
// probabilities. A warp takes 32 channels of the head, a lane (g, t) of it the channels 8 (g / 2) + g % 2 + 2 j, j = 0..3, which are one half word of
// ValueQuantizer's packing. Constants: those of latent_page.cuh.
#pragma once
#include "bf16.cuh"
#include "latent_page.cuh"
#include "matrix.cuh"

constexpr int VALUE_STRIDE = HEAD_VALUE_BYTES + 16;  // of a token's codes in shared memory
constexpr int SCALE_STRIDE = HEAD_GROUPS * 4;
constexpr int VALUE_PIECE = HEAD_VALUE_BYTES % 16 == 0 ? 16 : 8;  // bytes copied at once
static_assert(HEAD_VALUE_BYTES % VALUE_PIECE == 0, "whole pieces");
// codes are read as code - CODE_CENTRE, which the zero makes good
constexpr int CODE_CENTRE = VALUE_BITS == 16 ? 0 : 1 << (VALUE_BITS - 1);

__device__ __forceinline__ float half_low(u32 pair) {
    float value;
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, low; }" : "=f"(value) : "r"(pair));
    return value;
}

__device__ __forceinline__ float half_high(u32 pair) { return half_low(pair >> 16); }

// low half = first argument
__device__ __forceinline__ u32 half2_of(float low, float high) {
    u32 pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// Starts copying one KV head's codes and scales of `count` tokens; the rows behind them become zeros. page, position: as fetch_latents has them.
template <int TOKENS, int THREADS>
__device__ __forceinline__ void fetch_values(u32 codes, u32 scales, const u8* layer, const u32* page, const int* position, int count,
                                             int kv_head) {
    constexpr int PIECES = HEAD_VALUE_BYTES / VALUE_PIECE;
    for (int i = threadIdx.x; i < TOKENS * PIECES; i += THREADS) {
        int row = i / PIECES, byte = i % PIECES * VALUE_PIECE;
        const u8* from =
            layer + (u64)page[row] * PAGE_UNIT + VALUE_PLANE + position[row] % PAGE_SIZE * VALUE_ROW + kv_head * HEAD_VALUE_BYTES + byte;
        copy_async<VALUE_PIECE>(codes + row * VALUE_STRIDE + byte, row < count ? from : layer, row < count ? VALUE_PIECE : 0);
    }

    if constexpr (HEAD_GROUPS > 0) {
        for (int row = threadIdx.x; row < TOKENS; row += THREADS) {
            const u8* from =
                layer + (u64)page[row] * PAGE_UNIT + SCALE_PLANE + position[row] % PAGE_SIZE * SCALE_ROW + kv_head * SCALE_STRIDE;
            copy_async<SCALE_STRIDE>(scales + row * SCALE_STRIDE, row < count ? from : layer, row < count ? SCALE_STRIDE : 0);
        }
    }
}

// One token's share of a lane: a half word whose fields are its codes; 3 bits: the third bits in `high`.
struct CodeFields {
    u32 low;
    u32 high;
};

__device__ __forceinline__ CodeFields load_codes(const u8* token, int channels, int g) {
    const u8* at = token + channels * VALUE_BITS / 8;
    CodeFields fields = {0, 0};
    if constexpr (VALUE_BITS == 4) {
        fields.low = *(const u16*)(at + g * 2);
    } else {
        fields.low = *(const u16*)(at + (g >> 2) * 4 + (g & 1) * 2) >> ((g >> 1 & 1) * 8);
        if constexpr (VALUE_BITS == 3)
            fields.high = *(const u16*)(at + 8 + (g & 1) * 2) >> ((g >> 1) * 4);
    }

    return fields;
}

// codes of channel j of two tokens, as bf16 integers less CODE_CENTRE
__device__ __forceinline__ u32 code_pair(u32 low, u32 high, int j) {
    constexpr u32 LOW_MASK = VALUE_BITS == 4 ? 0x000f000fu : 0x00030003u;
    u32 code = low >> (j * (VALUE_BITS == 4 ? 4 : 2)) & LOW_MASK;
    if constexpr (VALUE_BITS == 3)
        code |= (high >> j & 0x00010001u) << 2;
    constexpr u32 OFFSET = 0x4300 | CODE_CENTRE;  // 128 + centre
    return subtract2(code | 0x43004300u, OFFSET | OFFSET << 16);
}
