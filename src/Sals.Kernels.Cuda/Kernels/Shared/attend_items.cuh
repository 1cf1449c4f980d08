// Into which items the attention of one row with latent pages is cut in a compressed layer: runs of exact pages, then tiles of selected tokens. Rows
// without are dense_attend's and have none. Functions of the row's own length, so that its result does not depend on the batch. Constants: those of timeline.cuh. In C#: AttendItems.
#pragma once
#include "timeline.cuh"

#define ATTEND_RUN_PAGES 2  // exact pages of a run
#define ATTEND_TILE 64      // selected tokens of a tile

// Pages read exactly: page 0 as far as the sinks go, then the window's.
__device__ __forceinline__ int exact_pages(int length) {
    return (sink_count(length) > 0 ? 1 : 0) + (length + PAGE_SIZE - 1) / PAGE_SIZE - latent_pages(length);
}

__device__ __forceinline__ int exact_runs(int length) { return (exact_pages(length) + ATTEND_RUN_PAGES - 1) / ATTEND_RUN_PAGES; }

__device__ __forceinline__ int selected_tiles(int length) { return (selected_count(length) + ATTEND_TILE - 1) / ATTEND_TILE; }

// items [0, exact_runs) are runs, the others tiles
__device__ __forceinline__ int attend_items(int length) {
    return latent_pages(length) == 0 ? 0 : exact_runs(length) + selected_tiles(length);
}
