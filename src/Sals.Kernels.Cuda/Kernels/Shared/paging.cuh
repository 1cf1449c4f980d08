// Where a cached token lies. Page ids are offsets in the cache arena in 4-KiB units; 0 is nobody's page.
// A dense or hot page holds, per layer, K [P, HK, DH] then V [P, HK, DH], bf16.
#pragma once
#include "types.cuh"

#define PAGE_SIZE 64
#define PAGE_UNIT 4096

// K plane of one layer in a page; `layer_offset` is PageLayout.KeyOffset(layer)
__device__ __forceinline__ u16* key_plane(u8* arena, u32 page, u32 layer_offset) {
    return (u16*)(arena + (u64)page * PAGE_UNIT + layer_offset);
}
