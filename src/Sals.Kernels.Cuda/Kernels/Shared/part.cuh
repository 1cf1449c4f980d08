// A lane's share of one query head's result while partial results of attention are merged. Constant: DH.
#pragma once
#include "bf16.cuh"

// DH / 32 consecutive numbers of a head, which a lane merges
struct Part {
    float v[DH / 32];
};

__device__ __forceinline__ Part load_part(const float* from) {
    Part part;
    if constexpr (DH == 128) {
        float4 v = __ldcg((const float4*)from);
        part.v[0] = v.x, part.v[1] = v.y, part.v[2] = v.z, part.v[3] = v.w;
    } else {
        float2 v = __ldcg((const float2*)from);
        part.v[0] = v.x, part.v[1] = v.y;
    }

    return part;
}

// zeros where it is not wanted, and nothing read; no branch, so that many may be on their way at once
__device__ __forceinline__ Part load_part_if(const float* from, bool wanted) {
    Part part;
#pragma unroll
    for (int i = 0; i < DH / 32; i++)
        part.v[i] = 0.f;
    if constexpr (DH == 128)
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %5, 0; @p ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4]; }"
                     : "+f"(part.v[0]), "+f"(part.v[1]), "+f"(part.v[DH / 32 - 2]), "+f"(part.v[DH / 32 - 1])
                     : "l"(from), "r"((int)wanted)
                     : "memory");
    else
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %3, 0; @p ld.global.cg.v2.f32 {%0, %1}, [%2]; }"
                     : "+f"(part.v[0]), "+f"(part.v[1])
                     : "l"(from), "r"((int)wanted)
                     : "memory");
    return part;
}

__device__ __forceinline__ void store_part(float* to, const Part& part) {
    if constexpr (DH == 128)
        *(float4*)to = make_float4(part.v[0], part.v[1], part.v[2], part.v[3]);
    else
        *(float2*)to = make_float2(part.v[0], part.v[1]);
}

__device__ __forceinline__ void store_output(u16* to, const Part& part, float inverse) {
    if constexpr (DH == 128)
        *(uint2*)to = make_uint2(narrow2(part.v[0] * inverse, part.v[1] * inverse), narrow2(part.v[2] * inverse, part.v[3] * inverse));
    else
        *(u32*)to = narrow2(part.v[0] * inverse, part.v[1] * inverse);
}
