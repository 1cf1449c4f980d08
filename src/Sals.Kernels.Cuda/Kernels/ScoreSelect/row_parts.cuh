// Which tokens of which rows a block scores. Included by score_select.cu.
#pragma once

__device__ __forceinline__ int units_of(int length) { return needs_scores(length) ? window_start(length) / UNIT : 0; }

// Up to 64 rows, half as many as blocks: each warp finds by itself which part of one row is the block's. A row has a number of blocks in proportion to
// its length. False where there is nothing to do.
__device__ __forceinline__ bool part_of_few(const Args& args, Part& part) {
    constexpr int EACH = FEW_ROWS / 32;
    int lane = threadIdx.x & 31, length[EACH], slot[EACH], units[EACH], total = 0, rows = 0;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int row = i * 32 + lane;
        length[i] = row < args.rows ? args.position[row] + 1 : 0;
        slot[i] = row < args.rows ? args.slot[row] : 0;
    }

#pragma unroll
    for (int i = 0; i < EACH; i++) {
        units[i] = units_of(length[i]);
        total += __reduce_add_sync(FULL_MASK, units[i]);
        rows += __popc(__ballot_sync(FULL_MASK, units[i] > 0));
    }

    int others = gridDim.x - rows, least = total <= 32 * LEAST_UNITS ? LEAST_UNITS : LEAST_OF_LONG;
    int share = max(least, (total + others - 1) / others), before = 0;
    bool works = false;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int blocks = (units[i] + share - 1) / share, sum = blocks;
#pragma unroll
        for (int offset = 1; offset < 32; offset <<= 1) {
            int below = __shfl_up_sync(FULL_MASK, sum, offset);
            if (lane >= offset)
                sum += below;
        }

        int first = before + sum - blocks, block = blockIdx.x;
        before += __shfl_sync(FULL_MASK, sum, 31);
        u32 owner = __ballot_sync(FULL_MASK, first <= block && block < first + blocks);
        if (owner != 0) {
            int from = __ffs(owner) - 1, index = block - first, begin = units[i] * index / max(blocks, 1),
                end = units[i] * (index + 1) / max(blocks, 1);
            part = {i * 32 + from,
                    __shfl_sync(FULL_MASK, slot[i], from),
                    __shfl_sync(FULL_MASK, length[i], from),
                    __shfl_sync(FULL_MASK, units[i], from),
                    __shfl_sync(FULL_MASK, begin, from),
                    __shfl_sync(FULL_MASK, end, from),
                    __shfl_sync(FULL_MASK, first, from),
                    __shfl_sync(FULL_MASK, blocks, from)};
            works = true;
        }
    }

    return works;
}

// Any number of rows: the units of all, side by side, in equal runs of which the block's is [begin, end).
__device__ __forceinline__ bool part_of_many(const Args& args, Shared& shared, int& begin, int& end) {
    int tid = threadIdx.x, units = 0;
    if (tid < args.rows) {
        int length = args.position[tid] + 1;
        shared.slot[tid] = args.slot[tid];
        shared.length[tid] = length;
        units = units_of(length);
    }

    int first = exclusive_scan<WARPS>(units, shared.scan);
    if (tid < MAX_ROWS)
        shared.first[tid + 1] = first + units;
    if (tid == 0)
        shared.first[0] = 0;
    __syncthreads();
    i64 total = shared.first[MAX_ROWS];
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
    int from = shared.first[row], units = shared.first[row + 1] - from;
    i64 total = shared.first[MAX_ROWS], blocks = shared.blocks;
    int block = units == 0 ? 0 : (int)(((from + 1) * blocks - 1) / total),
        last = units == 0 ? 0 : (int)(((from + units) * blocks - 1) / total);
    return {row, shared.slot[row], shared.length[row], units, max(begin - from, 0), min(end - from, units), block, last - block + 1};
}
