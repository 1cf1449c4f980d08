// Which tokens of which rows a block of score_select_many scores; those of few rows: Shared/score_parts.cuh. Included by score_select.cu.
#pragma once

// Any number of rows: the units of all, side by side, in equal runs of which the block's is [begin, end).
__device__ __forceinline__ bool part_of_many(const Args& args, Shared& shared, int& begin, int& end) {
    int tid = threadIdx.x, units = 0;
    if (tid < args.rows) {
        int length = args.position[tid] + 1;
        shared.rows.slot[tid] = args.slot[tid];
        shared.rows.length[tid] = length;
        units = score_units(length);
    }

    int first = exclusive_scan<WARPS>(units, shared.scan);
    if (tid < MAX_ROWS)
        shared.rows.first[tid + 1] = first + units;
    if (tid == 0)
        shared.rows.first[0] = 0;
    __syncthreads();
    i64 total = shared.rows.first[MAX_ROWS];
    int blocks = min((int)gridDim.x, ((int)total + LEAST_UNITS - 1) / LEAST_UNITS);
    if ((int)blockIdx.x >= blocks)
        return false;
    begin = (int)(total * blockIdx.x / blocks), end = (int)(total * (blockIdx.x + 1) / blocks);
    if (first <= begin && begin < first + units)
        shared.row = tid;
    if (first < end && end <= first + units)
        shared.last_row = tid;
    if (tid == 0)
        shared.blocks = blocks;
    __syncthreads();
    return true;
}

// What the block's run [begin, end) has of a row.
__device__ __forceinline__ ScorePart part_of_row(const Shared& shared, int row, int begin, int end) {
    int from = shared.rows.first[row], units = shared.rows.first[row + 1] - from;
    i64 total = shared.rows.first[MAX_ROWS], blocks = shared.blocks;
    int block = units == 0 ? 0 : (int)(((from + 1) * blocks - 1) / total),
        last = units == 0 ? 0 : (int)(((from + units) * blocks - 1) / total);
    return {row,   shared.rows.slot[row], shared.rows.length[row], units, max(begin - from, 0), min(end - from, units),
            block, last - block + 1};
}
