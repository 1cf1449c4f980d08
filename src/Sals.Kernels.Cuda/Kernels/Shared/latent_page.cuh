// Planes of one layer in a latent page, as PageLayout has them; row t = token t of the page.
// Constants: DH, HK, R, RS, LATENT_INT8, VALUE_BITS, VALUE_GROUP.
#pragma once
#include "paging.cuh"

constexpr int LATENT_BYTES = LATENT_INT8 ? 1 : 2;
constexpr int SCORE_ROW = RS * LATENT_BYTES;
constexpr int REST_ROW = (R - RS) * LATENT_BYTES;
constexpr int VALUE_ROW = HK * DH * VALUE_BITS / 8;
constexpr int SCALE_ROW = VALUE_BITS == 16 ? 0 : HK * DH / VALUE_GROUP * 4;  // (fp16 scale, fp16 zero) of each group

constexpr int REST_PLANE = PAGE_SIZE * SCORE_ROW;
constexpr int VALUE_PLANE = REST_PLANE + PAGE_SIZE * REST_ROW;
constexpr int SCALE_PLANE = VALUE_PLANE + PAGE_SIZE * VALUE_ROW;
static_assert(R % 16 == 0 && RS % 16 == 0 && RS <= R, "rows of both planes are whole 16-byte pieces");
static_assert(VALUE_BITS == 2 || VALUE_BITS == 3 || VALUE_BITS == 4 || VALUE_BITS == 16, "value codes of 2, 3 or 4 bits, or fp16");
static_assert(VALUE_BITS == 16 || (VALUE_GROUP % 32 == 0 && DH % VALUE_GROUP == 0), "a head has whole groups");

// what one KV head has of a token's values
constexpr int HEAD_VALUE_BYTES = DH * VALUE_BITS / 8;
constexpr int HEAD_GROUPS = VALUE_BITS == 16 ? 0 : DH / VALUE_GROUP;

// of token `at` of a page; layer: where the layer's planes begin in it
__device__ __forceinline__ const u8* values_of(const u8* layer, u32 at, int kv_head) {
    return layer + VALUE_PLANE + at * VALUE_ROW + kv_head * HEAD_VALUE_BYTES;
}

__device__ __forceinline__ const u8* scales_of(const u8* layer, u32 at, int kv_head) {
    return layer + SCALE_PLANE + at * SCALE_ROW + kv_head * (HEAD_GROUPS * 4);
}
