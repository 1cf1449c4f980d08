// Bands of distance: Latent.ScoreBands on the device. Four bands each of 1, 2, 4, .. pages, from the newest latent page back.
#pragma once
#include "paging.cuh"

constexpr int BANDS_PER_WIDTH = 4;

// pages of a band are 1 << level
__device__ __forceinline__ int level_of(int band) { return band / BANDS_PER_WIDTH; }

// of the page with `newer` latent pages behind it
__device__ __forceinline__ int band_of(int newer) {
    int level = 31 - __clz(newer / BANDS_PER_WIDTH + 1);
    return BANDS_PER_WIDTH * level + ((newer - BANDS_PER_WIDTH * ((1 << level) - 1)) >> level);
}

// where a band begins; one that is cut begins at token 0
__device__ __forceinline__ int first_token_of(int band, int pages) {
    int level = level_of(band);
    return max(0, pages - BANDS_PER_WIDTH * ((1 << level) - 1) - ((band % BANDS_PER_WIDTH + 1) << level)) * PAGE_SIZE;
}

// latent pages of a band
__device__ __forceinline__ int pages_of_band(int band, int pages) {
    int level = level_of(band), newer = BANDS_PER_WIDTH * ((1 << level) - 1) + ((band % BANDS_PER_WIDTH) << level);
    return min(1 << level, pages - newer);
}
