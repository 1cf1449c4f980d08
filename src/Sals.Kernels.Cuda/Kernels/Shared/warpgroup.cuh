// Matrix products of a warpgroup: 4 consecutive warps, asynchronous, operands in shared memory (wgmma; sm_90a only).
// Source: PTX ISA, "Asynchronous warpgroup level matrix instructions".
#pragma once
#include "types.cuh"

// Rows of 64 bf16 (128 bytes), 16-byte pieces of row r permuted by XOR with r % 8; groups of 8 rows follow each other.
// blocks: bytes from one block of 64 columns to the next, for operands whose columns are the product's own dimension; rows: from one group of 8 rows to the next.
__device__ __forceinline__ u64 matrix_descriptor(u32 shared, u32 blocks, u32 rows = 1024) {
    return (u64)((shared & 0x3ffff) >> 4) | (u64)(blocks >> 4) << 16 | (u64)(rows >> 4) << 32 | (u64)1 << 62;
}

// registers of products that follow are final; issued before the first of them
__device__ __forceinline__ void wg_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wg_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING>
__device__ __forceinline__ void wg_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// what this thread stored to shared memory is visible to products issued behind the next barrier
__device__ __forceinline__ void publish_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// d[64, 128] = a[64, 16] b[128, 16]^T + (keep ? d : 0); both in shared memory, their 16 columns contiguous
__device__ __forceinline__ void wg_multiply_add_transposed(float (&d)[16][4], u64 a, u64 b, int keep) {
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %66, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%"
        "34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, %64, "
        "%65, p, 1, 1, 0, 0; }"
        : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]),
          "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]),
          "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
          "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3]),
          "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]), "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]),
          "+f"(d[10][0]), "+f"(d[10][1]), "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]), "+f"(d[11][3]),
          "+f"(d[12][0]), "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]), "+f"(d[13][0]), "+f"(d[13][1]), "+f"(d[13][2]), "+f"(d[13][3]),
          "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]), "+f"(d[15][0]), "+f"(d[15][1]), "+f"(d[15][2]), "+f"(d[15][3])
        : "l"(a), "l"(b), "r"(keep));
}

// d[64, 64] = a[64, 16] b[64, 16]^T + (keep ? d : 0); both in shared memory, their 16 columns contiguous
__device__ __forceinline__ void wg_multiply_add_transposed(float (&d)[8][4], u64 a, u64 b, int keep) {
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %34, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, %32, "
        "%33, p, 1, 1, 0, 0; }"
        : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]),
          "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]),
          "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
          "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
        : "l"(a), "l"(b), "r"(keep));
}

// d[64, 128] += a[64, 16] b[16, 128]; a in registers as multiply_add has it, b in shared memory, its 128 columns contiguous
__device__ __forceinline__ void wg_multiply_add(float (&d)[16][4], u32 a0, u32 a1, u32 a2, u32 a3, u64 b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%"
        "34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, "
        "{%64,%65,%66,%67}, %68, 1, 1, 1, 1;"
        : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]),
          "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]),
          "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
          "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3]),
          "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]), "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]),
          "+f"(d[10][0]), "+f"(d[10][1]), "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]), "+f"(d[11][3]),
          "+f"(d[12][0]), "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]), "+f"(d[13][0]), "+f"(d[13][1]), "+f"(d[13][2]), "+f"(d[13][3]),
          "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]), "+f"(d[15][0]), "+f"(d[15][1]), "+f"(d[15][2]), "+f"(d[15][3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));
}

// d[64, 64] += a[64, 16] b[16, 64]; a in registers as multiply_add has it, b in shared memory, its 64 columns contiguous
__device__ __forceinline__ void wg_multiply_add(float (&d)[8][4], u32 a0, u32 a1, u32 a2, u32 a3, u64 b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
        "{%32,%33,%34,%35}, %36, 1, 1, 1, 1;"
        : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), "+f"(d[1][2]), "+f"(d[1][3]),
          "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]),
          "+f"(d[4][0]), "+f"(d[4][1]), "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
          "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), "+f"(d[7][2]), "+f"(d[7][3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b));
}

#define WG_ROW(d, j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])

// d[64, 128] or [64, 64] += a[64, 16] b[.., 16]^T of fp16 or bf16; a in registers as multiply_add has it, b in shared memory, its 16 columns contiguous
#define WG_MULTIPLY_ADD_ROWS_128(NAME, KIND)                                                                                         \
    __device__ __forceinline__ void NAME(float(&d)[16][4], const u32(&a)[4], u64 b) {                                                \
        asm volatile(                                                                                                                \
            "wgmma.mma_async.sync.aligned.m64n128k16.f32." KIND "." KIND                                                             \
            " {"                                                                                                                     \
            "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
            "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%6" \
            "1,%62,%63"                                                                                                              \
            "}, {%64,%65,%66,%67}, %68, 1, 1, 1, 0;"                                                                                 \
            : WG_ROW(d, 0), WG_ROW(d, 1), WG_ROW(d, 2), WG_ROW(d, 3), WG_ROW(d, 4), WG_ROW(d, 5), WG_ROW(d, 6), WG_ROW(d, 7),        \
              WG_ROW(d, 8), WG_ROW(d, 9), WG_ROW(d, 10), WG_ROW(d, 11), WG_ROW(d, 12), WG_ROW(d, 13), WG_ROW(d, 14), WG_ROW(d, 15)   \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                                                   \
    }
#define WG_MULTIPLY_ADD_ROWS_64(NAME, KIND)                                                                                         \
    __device__ __forceinline__ void NAME(float(&d)[8][4], const u32(&a)[4], u64 b) {                                                \
        asm volatile(                                                                                                               \
            "wgmma.mma_async.sync.aligned.m64n64k16.f32." KIND "." KIND                                                             \
            " {"                                                                                                                    \
            "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31" \
            "}, {%32,%33,%34,%35}, %36, 1, 1, 1, 0;"                                                                                \
            : WG_ROW(d, 0), WG_ROW(d, 1), WG_ROW(d, 2), WG_ROW(d, 3), WG_ROW(d, 4), WG_ROW(d, 5), WG_ROW(d, 6), WG_ROW(d, 7)        \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                                                  \
    }
WG_MULTIPLY_ADD_ROWS_128(wg_multiply_add_rows_half, "f16")
WG_MULTIPLY_ADD_ROWS_128(wg_multiply_add_rows_bf16, "bf16")
WG_MULTIPLY_ADD_ROWS_64(wg_multiply_add_rows_half, "f16")
WG_MULTIPLY_ADD_ROWS_64(wg_multiply_add_rows_bf16, "bf16")
#define WG_MULTIPLY_ADD_ROWS_32(NAME, KIND)                                                                          \
    __device__ __forceinline__ void NAME(float(&d)[4][4], const u32(&a)[4], u64 b) {                                 \
        asm volatile("wgmma.mma_async.sync.aligned.m64n32k16.f32." KIND "." KIND                                     \
                     " {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, {%16,%17,%18,%19}, %20, 1, 1, 1, 0;" \
                     : WG_ROW(d, 0), WG_ROW(d, 1), WG_ROW(d, 2), WG_ROW(d, 3)                                        \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                          \
    }
WG_MULTIPLY_ADD_ROWS_32(wg_multiply_add_rows_half, "f16")
WG_MULTIPLY_ADD_ROWS_32(wg_multiply_add_rows_bf16, "bf16")
