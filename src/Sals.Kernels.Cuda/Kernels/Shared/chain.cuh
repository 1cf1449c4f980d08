// Overlap of a launch with the end of the one before it (programmatic dependent launch: compute capability 9.0; nothing elsewhere).
// A kernel launched so calls wait_predecessor before it reads or writes anything that an earlier launch of the step writes or reads, and every
// block that works calls it. Before that it may touch weights, and what plan_step wrote: embed_tokens, the second launch of a step, lets its
// successor begin only when plan_step is complete.
#pragma once
#include "types.cuh"

// until the launch before this one is complete and its stores are visible
__device__ __forceinline__ void wait_predecessor() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// the next launch may begin once every block has said so or has ended
__device__ __forceinline__ void release_successor() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
