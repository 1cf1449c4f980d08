// Int8 dense pages: one head's key or value of a token as DH codes and a peak, the largest |x| as a bf16; x ~ code * peak / 127.
// A page holds, per layer, K codes [P, HK, DH] then V codes; behind those of all layers, per layer, K peaks [HK, P] then V peaks. Reference.HeadCodes has the
// same rounding to the bit. Constants: DH, HK.
#pragma once
#include "bf16.cuh"
#include "paging.cuh"

#define CODE_UNIT (1.f / 127.f)
#define LEAST_PEAK 7.888609e-31f  // 2^-100: 127 / peak stays in range

// Of one layer of a page; row = token * HK + head, for V behind those of K.
struct CodePlanes {
    u8* codes;   // [2, P, HK, DH]
    u16* peaks;  // [2, HK, P]
    __device__ __forceinline__ CodePlanes(u8* arena, u32 page, u32 layer_offset, u32 peak_offset)
        : codes(arena + (u64)page * PAGE_UNIT + layer_offset), peaks((u16*)(arena + (u64)page * PAGE_UNIT + peak_offset)) {}
    __device__ __forceinline__ u8* row(int is_value, int token, int head) const {
        return codes + ((is_value * PAGE_SIZE + token) * HK + head) * DH;
    }
    __device__ __forceinline__ u16* peak(int is_value, int token, int head) const {
        return peaks + (is_value * HK + head) * PAGE_SIZE + token;
    }
};

// The peak of a head that a warp holds, of each lane's largest |x| as bf16 bits without sign: as integers they order as their numbers do, NaN last.
__device__ __forceinline__ u32 warp_peak(u32 largest) {
    u32 peak = __reduce_max_sync(FULL_MASK, largest);
    return peak < 0x0d80 ? 0 : peak;  // 2^-100
}

// what numbers are multiplied by to become codes: 0 for a peak of 0, infinity or NaN, which reads back as itself or NaN
__device__ __forceinline__ float code_factor(u32 peak) { return widen((u16)peak) >= LEAST_PEAK ? __fdiv_rn(127.f, widen((u16)peak)) : 0.f; }

// x is a bf16; ties to even; NaN becomes 0
__device__ __forceinline__ u32 code_of(float x, float factor) {
    return (u32)max(-127, min(127, __float2int_rn(__fmul_rn(x, factor)))) & 0xff;
}

__device__ __forceinline__ float code_scale(u16 peak) { return __fmul_rn(widen(peak), CODE_UNIT); }

// codes at bytes 0 .. 3 of a word, as numbers
__device__ __forceinline__ float code_value(u32 word, int at) { return (float)(signed char)(word >> (8 * at)); }
