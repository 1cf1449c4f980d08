// Blocks of a cluster read each other's shared memory. Before compute capability 9.0 a cluster is one block and all of this is plain.
#pragma once
#include "types.cuh"

#if __CUDA_ARCH__ >= 900
#define SPLIT 4  // blocks of a cluster; launchers multiply their grid by it
#define CLUSTER __cluster_dims__(SPLIT, 1, 1)
#else
#define SPLIT 1
#define CLUSTER
#endif

__device__ __forceinline__ u32 cluster_rank() {
    u32 rank = 0;
#if SPLIT > 1
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
    return rank;
}

// A barrier of all threads of the cluster; orders their accesses to shared and global memory.
__device__ __forceinline__ void cluster_sync() {
#if SPLIT > 1
    asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#else
    __syncthreads();
#endif
}

// The value at the same place in the shared memory of block `rank`.
__device__ __forceinline__ u32 load_peer(const u32& here, u32 rank) {
#if SPLIT > 1
    u32 value;
    asm volatile(
        "{ .reg .u64 a; .reg .u32 s; cvta.to.shared.u64 a, %1; cvt.u32.u64 s, a; mapa.shared::cluster.u32 s, s, %2; ld.shared::cluster.u32 "
        "%0, [s]; }"
        : "=r"(value)
        : "l"(&here), "r"(rank)
        : "memory");
    return value;
#else
    return here;
#endif
}

__device__ __forceinline__ u64 load_peer(const u64& here, u32 rank) {
    const u32* words = (const u32*)&here;
    return load_peer(words[0], rank) | (u64)load_peer(words[1], rank) << 32;
}
