// The stream of stages of one warp: TOKENS keys and values of one KV head at a time, on their way to shared memory while earlier ones are worked
// on. One stream over all items of the block: while an item ends, the first stages of the next are being copied. Included by dense_attend.cu.
#pragma once

#if __CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890
constexpr int STAGES = KV_INT8 ? 4 : 2, BLOCKS = 1;  // what 99 KB of shared memory hold
#else
constexpr int STAGES = KV_INT8 ? 5 : 3, BLOCKS = 2;
#endif
constexpr int TOKENS = 16;  // tokens of a stage
constexpr int ROW_BYTES = KV_INT8 ? DH : DH * 2;
constexpr int PLANE_BYTES = TOKENS * ROW_BYTES;
constexpr int PEAKS = 2 * PLANE_BYTES;  // behind K and V those of int8 codes, K's first
constexpr int STAGE_BYTES = PEAKS + (KV_INT8 ? 2 * TOKENS * 2 : 0);
constexpr int GIVEN = 3;                 // items of a block that are its own from the start; the others it claims
constexpr int TURN = WARPS * PAGE_SIZE;  // tokens of which each warp takes a page
constexpr int TASKS = 8;                 // items of which a block holds the tasks

// 16-byte pieces are permuted within a row (of 64 bytes: two rows) so that eight rows of one column lie in different banks
__device__ __forceinline__ u32 piece(int row, int column) {
    return row * ROW_BYTES + ((column ^ (ROW_BYTES == 64 ? row >> 1 & 3 : row & 7)) << 4);
}

// A warp's share of an item, which is one KV head of a run of a row: its pages warp, warp + 4, ..
struct Task {
    int item;    // entry of the work list * HK + KV head; -1 = the block has no more items
    u32 page;    // the first
    u32 table;   // index of its entry in the page table
    u32 tokens;  // of the share | its last one is the row's newest << 30 | the row has no other run << 31
    __device__ __forceinline__ int kv_head() const { return item % HK; }
    __device__ __forceinline__ int count() const { return tokens & 0x3fffffff; }
    __device__ __forceinline__ bool has_newest() const { return tokens >> 30 & 1; }
    __device__ __forceinline__ bool only_run() const { return tokens >> 31; }
};

struct Stages {
    const Args& args;
    u32 ring;     // of the warp, in shared memory
    Task* tasks;  // [TASKS, WARPS], of the block
    int items, lane, warp;
    int current = 0, fetched = 0, done = 0;            // item being worked on; stages
    int ahead = -1, ahead_stage = 0, ahead_count = 0;  // item being fetched
    u32 page = 0, next_page = 0, slot = 0, head = 0;   // where its next stage lies and goes
    const u32* table = nullptr;
    bool newest = false, waited = false;
    u32 stage;  // at hand

    // `items` of the launch
    __device__ __forceinline__ Stages(const Args& args, u32 ring, Task* tasks, int items)
        : args(args), ring(ring), tasks(tasks), items(items), lane(threadIdx.x & 31), warp(threadIdx.x >> 5), stage(ring) {
        if (warp < GIVEN)
            write_tasks(warp, blockIdx.x + warp * gridDim.x);
        __syncthreads();
    }

    __device__ __forceinline__ const Task& task(int item) const { return tasks[item % TASKS * WARPS + warp]; }

    // Claims item `number` of the block; by one warp, GIVEN items ahead. A block takes as many as it has time for: not all have equal paths to memory.
    __device__ __forceinline__ void claim(int number) {
        int item = items;
        if (claims()) {
            if (lane == 0)
                item = GIVEN * gridDim.x + atomicAdd(args.claimed, 1u);
            item = __shfl_sync(FULL_MASK, item, 0);
        }

        write_tasks(number, item);
    }

    // by all warps, when none claims any more: the last block leaves the counters as they were
    __device__ __forceinline__ void end_claims() {
        __syncthreads();
        if (threadIdx.x == 0 && claims() && atomicInc(args.claimed + 1, gridDim.x - 1) == gridDim.x - 1)
            args.claimed[0] = 0;
    }

    __device__ __forceinline__ bool claims() const { return GIVEN * (int)gridDim.x < items; }

    // the tasks of item `number` of the block, a lane each
    __device__ __forceinline__ void write_tasks(int number, int item) {
        if (lane >= WARPS)
            return;
        Task task = {-1, 0, 0, 0};
        if (item < items) {
            int4 work = args.work[item / HK];
            int length = work.z, run = run_tokens(length), start = work.y * run, tokens = min(length - start, run);
            int count = tokens / TURN * PAGE_SIZE + min(max(tokens % TURN - lane * PAGE_SIZE, 0), PAGE_SIZE);
            bool last = start + tokens == length && (tokens - 1) / PAGE_SIZE % WARPS == lane;
            task.item = item;
            task.table = work.w * MAXP + start / PAGE_SIZE + lane;
            task.page = count > 0 ? args.page_table[task.table] : 0;
            task.tokens = (u32)count | (u32)last << 30 | (u32)(length <= run) << 31;
        }

        tasks[number % TASKS * WARPS + lane] = task;
    }

    // Fetches the next stage, unless the block has none or that of the item after next.
    __device__ __forceinline__ bool fetch() {
        while (ahead_stage * TOKENS >= ahead_count) {
            if (ahead > current || task(ahead + 1).item < 0)
                return false;
            ahead++;
            const Task& begun = task(ahead);
            ahead_stage = 0, ahead_count = begun.count(), newest = begun.has_newest();
            next_page = begun.page, table = args.page_table + begun.table, head = begun.kv_head();
        }

        // the page after this one is looked up while this one is read
        if (ahead_stage % (PAGE_SIZE / TOKENS) == 0) {
            page = next_page;
            table += WARPS;
            if (ahead_stage * TOKENS + PAGE_SIZE < ahead_count)
                next_page = *table;
        }

        // the newest token was written by the launch before this one
        int left = ahead_count - ahead_stage * TOKENS;
        if (!waited && newest && left <= TOKENS)
            wait_newest();
        copy(ring + slot * STAGE_BYTES, ahead_stage % (PAGE_SIZE / TOKENS) * TOKENS, left);
        ahead_stage++, fetched++;
        slot = slot + 1 == STAGES ? 0 : slot + 1;
        return true;
    }

    __device__ __forceinline__ void wait_newest() {
        wait_predecessor();
        waited = true;
    }

    // tokens [first, first + TOKENS) of the page, of which `left` exist; the others become zeros and are not read
    __device__ __forceinline__ void copy(u32 to, int first, int left) {
        constexpr int ROW_VECTORS = ROW_BYTES / 16, ROWS_AT_ONCE = 32 / ROW_VECTORS;
        int row = lane / ROW_VECTORS, column = lane % ROW_VECTORS;
        const u8* keys = args.pages + (u64)page * PAGE_UNIT + args.layer_offset + (first * HK + head) * ROW_BYTES + column * 16;
#pragma unroll
        for (int i = 0; i < TOKENS / ROWS_AT_ONCE; i++, row += ROWS_AT_ONCE) {
            bool inside = row < left;
            const u8* key = keys + (inside ? row : 0) * (HK * ROW_BYTES);
            copy16_async(to + piece(row, column), key, inside ? 16 : 0);
            copy16_async(to + PLANE_BYTES + piece(row, column), key + PAGE_SIZE * HK * ROW_BYTES, inside ? 16 : 0);
        }

        // eight peaks a lane, K's first
        if (KV_INT8 && lane < 4) {
            CodePlanes planes((u8*)args.pages, page, args.layer_offset, args.peak_offset);
            int token = (lane & 1) * 8;
            copy16_async(to + PEAKS + lane * 16, planes.peak(lane >> 1, first + token, head), min(max(left - token, 0), 8) * 2);
        }

        commit_copies();
    }

    // as many stages on their way as there is room for beside the one at hand
    __device__ __forceinline__ void refill() {
        while (fetched - done < STAGES - 1 && fetch())
            ;
    }

    // the next stage of the item at hand is there for the whole warp
    __device__ __forceinline__ void wait() {
        // groups of copies are stages, in order; at the end of the stream all of them are waited for
        if (fetched - done >= STAGES - 1)
            wait_copies<STAGES - 2>();
        else
            wait_copies<0>();
        __syncwarp();
    }

    // the warp has read the stage
    __device__ __forceinline__ void release() {
        __syncwarp();
        done++;
        stage += STAGE_BYTES;
        if (stage == ring + STAGES * STAGE_BYTES)
            stage = ring;
    }
};
