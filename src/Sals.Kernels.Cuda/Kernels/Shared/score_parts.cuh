// Which part of which row each block of score_select has in a step of few rows: a row has a number of blocks in proportion to its length. plan_step finds
// it once a step, for all compressed layers. Constants: those of timeline.cuh. In C#: ScoreParts.
#pragma once
#include "timeline.cuh"

constexpr int UNIT = 32;           // tokens a warp takes at a time: one word of the mask
constexpr int LEAST_UNITS = 8;     // of a block where rows have several
constexpr int LEAST_OF_LONG = 16;  // the same of more than 32 such blocks: every warp has a unit, and fewer blocks have to agree
constexpr int FEW_ROWS = 64;

// Units [first, end) of a row's `units`, which `blocks` blocks from `block` on share: what a block scores at a time. None in blocks without work.
struct __align__(16) ScorePart {
    int row, slot, length, units, first, end, block, blocks;
};

// whether each row of a step can have blocks of its own
__device__ __forceinline__ bool has_few_rows(int rows, int blocks) { return rows <= FEW_ROWS && 2 * rows <= blocks; }

__device__ __forceinline__ int score_units(int length) { return needs_scores(length) ? window_start(length) / UNIT : 0; }

// Units of a block at most, when `rows` rows with `units` in all share that many blocks: less one a row, since the last block of each may not be full.
__device__ __forceinline__ int score_share(int units, int rows, int blocks) {
    int others = blocks - rows;
    return max(units <= 32 * LEAST_UNITS ? LEAST_UNITS : LEAST_OF_LONG, (units + others - 1) / others);
}

// part `index` of a row that `blocks` blocks from `block` on share
__device__ __forceinline__ ScorePart score_part_of(int row, int slot, int length, int units, int block, int blocks, int index) {
    int each = units / blocks, more = units % blocks, begin = index * each + min(index, more);
    return {row, slot, length, units, begin, begin + each + (index < more), block, blocks};
}
