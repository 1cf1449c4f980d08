// bf16 as raw bits: widening is a shift, narrowing one PTX instruction (round to nearest even). No toolkit header needed.
#pragma once
#include "types.cuh"

__device__ __forceinline__ float widen(u16 bits) { return __uint_as_float((u32)bits << 16); }
__device__ __forceinline__ float widen_low(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float widen_high(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

// low half = first argument
__device__ __forceinline__ u32 narrow2(float low, float high) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

__device__ __forceinline__ u16 narrow(float value) { return (u16)narrow2(value, 0.f); }

__device__ __forceinline__ void widen8(const uint4& packed, float (&out)[8]) {
    out[0] = widen_low(packed.x), out[1] = widen_high(packed.x);
    out[2] = widen_low(packed.y), out[3] = widen_high(packed.y);
    out[4] = widen_low(packed.z), out[5] = widen_high(packed.z);
    out[6] = widen_low(packed.w), out[7] = widen_high(packed.w);
}

__device__ __forceinline__ uint4 narrow8(const float (&in)[8]) {
    return make_uint4(narrow2(in[0], in[1]), narrow2(in[2], in[3]), narrow2(in[4], in[5]), narrow2(in[6], in[7]));
}

// a - b of both halves
__device__ __forceinline__ u32 subtract2(u32 a, u32 b) {
    u32 difference;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(difference) : "r"(b), "r"(0xbf80bf80u), "r"(a));
    return difference;
}
