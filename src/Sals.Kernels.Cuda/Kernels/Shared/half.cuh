// fp16 as raw bits, without toolkit headers.
#pragma once
#include "types.cuh"

// low half = first argument; round to nearest even
__device__ __forceinline__ u32 half2_of(float low, float high) {
    u32 pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

__device__ __forceinline__ float half_low(u32 pair) {
    float value;
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, low; }" : "=f"(value) : "r"(pair));
    return value;
}

__device__ __forceinline__ float half_high(u32 pair) {
    float value;
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; cvt.f32.f16 %0, high; }" : "=f"(value) : "r"(pair));
    return value;
}

// values = high + low to about 2^-22; clamped to the range of fp16
__device__ __forceinline__ void split2(float x, float y, u32& high, u32& low) {
    constexpr float MAX = 65504.f;
    x = x != x ? x : fminf(fmaxf(x, -MAX), MAX);
    y = y != y ? y : fminf(fmaxf(y, -MAX), MAX);
    high = half2_of(x, y);
    low = half2_of(x - half_low(high), y - half_high(high));
}

__device__ __forceinline__ void split8(const float (&in)[8], uint4& high, uint4& low) {
    split2(in[0], in[1], high.x, low.x);
    split2(in[2], in[3], high.y, low.y);
    split2(in[4], in[5], high.z, low.z);
    split2(in[6], in[7], high.w, low.w);
}

// c[16,8] += a[16,16] b[16,8] in fp16 with f32 sums; layouts of multiply_add
__device__ __forceinline__ void multiply_add_half(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// d = a b + c likewise; c: (c0, c1) in either row
__device__ __forceinline__ void multiply_half_onto(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1, float c0, float c1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%10,%11};"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c0), "f"(c1));
}

// c = a b likewise
__device__ __forceinline__ void multiply_half(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%10,%10,%10};"
                 : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(0.f));
}
