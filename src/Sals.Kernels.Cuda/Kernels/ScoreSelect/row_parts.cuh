// Which tokens of which rows a block scores. Included by score_select.cu.
#pragma once

__device__ __forceinline__ int units_of(int length) { return needs_scores(length) ? window_start(length) / UNIT : 0; }

// Up to 64 rows, half as many as blocks: a warp finds which part of one row is the block's, none where there is nothing to do. A row has a number of
// blocks in proportion to its length.
__device__ __forceinline__ void part_of_few(const Args& args, Shared& shared) {
    int lane = threadIdx.x;
    u32 total = 0, rows = 0, before = 0;
#pragma unroll 1
    for (int row = lane; row - lane < args.rows; row += 32) {
        u32 units = row < args.rows ? units_of(args.position[row] + 1) : 0;
        total += __reduce_add_sync(FULL_MASK, units);
        rows += __popc(__ballot_sync(FULL_MASK, units > 0));
    }

    u32 others = gridDim.x - rows, share = max(total <= 32 * LEAST_UNITS ? LEAST_UNITS : LEAST_OF_LONG, (total + others - 1) / others);
    if (lane == 0)
        shared.part.first = shared.part.end = 0;
    __syncwarp();
#pragma unroll 1
    for (int row = lane; row - lane < args.rows; row += 32) {
        int length = row < args.rows ? args.position[row] + 1 : 0;
        u32 units = units_of(length), blocks = (units + share - 1) / share, sum = warp_scan(blocks);
        u32 first = before + sum - blocks, index = blockIdx.x - first;
        before += __shfl_sync(FULL_MASK, sum, 31);
        if (index < blocks) {
            u32 each = units / blocks, more = units % blocks, begin = index * each + min(index, more);
            shared.part = {row,        args.slot[row], length, (int)units, (int)begin, (int)(begin + each + (index < more)),
                           (int)first, (int)blocks};
        }
    }
}

// Any number of rows: the units of all, side by side, in equal runs of which the block's is [begin, end).
__device__ __forceinline__ bool part_of_many(const Args& args, Shared& shared, int& begin, int& end) {
    int tid = threadIdx.x, units = 0;
    if (tid < args.rows) {
        int length = args.position[tid] + 1;
        shared.rows.slot[tid] = args.slot[tid];
        shared.rows.length[tid] = length;
        units = units_of(length);
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
__device__ __forceinline__ Part part_of_row(const Shared& shared, int row, int begin, int end) {
    int from = shared.rows.first[row], units = shared.rows.first[row + 1] - from;
    i64 total = shared.rows.first[MAX_ROWS], blocks = shared.blocks;
    int block = units == 0 ? 0 : (int)(((from + 1) * blocks - 1) / total),
        last = units == 0 ? 0 : (int)(((from + units) * blocks - 1) / total);
    return {row,   shared.rows.slot[row], shared.rows.length[row], units, max(begin - from, 0), min(end - from, units),
            block, last - block + 1};
}
