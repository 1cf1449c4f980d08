// Which tokens of a sequence are sinks, latent and window: CacheTimeline and LatentSpec on the device. `length` counts the row's own token
// (position + 1). Constants: SINK, RECENT, SPARSITY, CRIT_MIN, CRIT_MAX, DENSE_BELOW.
#pragma once
#include "paging.cuh"

static_assert(SINK >= 0 && SINK <= PAGE_SIZE && RECENT >= 1 && SPARSITY >= 1 && CRIT_MIN <= CRIT_MAX, "LatentSpecParser's ranges");

// leading pages that are latent; 0: the row is exact, all its tokens lie in hot pages
__device__ __forceinline__ int latent_pages(int length) {
    return length <= DENSE_BELOW || length <= RECENT ? 0 : (length - RECENT) / PAGE_SIZE;
}

// first token of the exact window
__device__ __forceinline__ int window_start(int length) { return PAGE_SIZE * latent_pages(length); }

// tokens read from hot page 0 ahead of the latent ones; 0 when the window covers them
__device__ __forceinline__ int sink_count(int length) { return min(SINK, window_start(length)); }

// latent tokens that may be selected: [sink_count, window_start)
__device__ __forceinline__ int candidate_count(int length) { return window_start(length) - sink_count(length); }

// most tokens that a row of this length selects
__device__ __forceinline__ int critical_count(int length) { return min(max(length / SPARSITY, CRIT_MIN), CRIT_MAX); }

// tokens that it does select
__device__ __forceinline__ int selected_count(int length) { return min(candidate_count(length), critical_count(length)); }

// false: every candidate is selected (or none), token i of the selection is sink_count + i and nothing is written to `selected`
__device__ __forceinline__ bool needs_scores(int length) {
    return critical_count(length) > 0 && candidate_count(length) > critical_count(length);
}
