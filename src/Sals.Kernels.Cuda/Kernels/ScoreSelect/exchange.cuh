// What the blocks of a row tell each other: the bins of each block's tokens, then the tokens in the threshold's bin. Each 16 bytes carry the number of
// the launch and are written and read whole, so a reader knows by itself that they have arrived: no fence, no counter, nothing to clear. All
// blocks run at the same time: the grid fills the device at most once, what ran before does not wait for this launch, and what is launched after
// it begins when every block of this one has (release_successor). Included by score_select.cu.
#pragma once

constexpr int BINS_PER_WORDS = 6;  // in 16 bytes: six 16-bit counts, the launch
constexpr int RECORD = (BINS - 2) / BINS_PER_WORDS;
constexpr int GROUP = THREADS / RECORD;  // records that a block reads at a time
constexpr int RECORDS_EACH = (MAX_BLOCKS + GROUP - 1) / GROUP;
constexpr u32 SATURATED = 8191;  // stands for any count from there on; eight of them fit in 16 bits
constexpr int MANY = 1 << 22;    // tokens that a bin with such a count is taken to hold: more than CANDIDATES
static_assert(RECORDS_EACH <= 8 && SATURATED > CANDIDATES, "counts are added in pairs");
static_assert(RECORD * BINS_PER_WORDS == BINS - 2, "all bins but those of sinks and the last");

__device__ __forceinline__ void publish(u32* to, u32 x, u32 y, u32 z, u32 launch) {
    asm volatile(
        "{ .reg .b64 low, high; .reg .b128 all; mov.b64 low, {%1, %2}; mov.b64 high, {%3, %4}; mov.b128 all, {low, high}; "
        "st.relaxed.gpu.global.b128 [%0], all; }" ::"l"(to),
        "r"(x), "r"(y), "r"(z), "r"(launch)
        : "memory");
}

__device__ __forceinline__ uint4 look(const u32* from) {
    uint4 v;
    asm volatile(
        "{ .reg .b64 low, high; .reg .b128 all; ld.relaxed.gpu.global.b128 all, [%4]; mov.b128 {low, high}, all; mov.b64 {%0, %1}, low; "
        "mov.b64 {%2, %3}, high; }"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(from)
        : "memory");
    return v;
}

// A block has two records: of a row that begins in it, and of one that began before it.
__device__ __forceinline__ u32* record_of(const Args& args, int block, bool begins) {
    return args.counts + (2 * block + begins) * (RECORD * 4);
}

// What blocks of a row list, [CANDIDATES, 4], is kept with its first block.
__device__ __forceinline__ u32* list_of(const Args& args, const ScorePart& part) {
    return args.listed + (i64)part.block * (CANDIDATES * 4);
}

__device__ __forceinline__ void publish_counts(const Args& args, const Shared& shared, const ScorePart& part) {
    if (threadIdx.x < RECORD) {
        const u32* from = shared.histogram + 1 + threadIdx.x * BINS_PER_WORDS;
        u32 count[BINS_PER_WORDS];
#pragma unroll
        for (int i = 0; i < BINS_PER_WORDS; i++)
            count[i] = min(from[i], SATURATED);
        publish(record_of(args, blockIdx.x, part.first == 0) + threadIdx.x * 4, count[0] | count[1] << 16, count[2] | count[3] << 16,
                count[4] | count[5] << 16, shared.launch);
    }
}

// Waits for the counts of all blocks of the row and adds them up in shared.total, those of the blocks before this one in shared.before; both were zero.
// Thread tid has bins tid % RECORD * 6 + 1.. of blocks tid / RECORD, + GROUP, .., in pairs of 16 bits.
__device__ __forceinline__ void gather_counts(const Args& args, Shared& shared, const ScorePart& part) {
    int piece = threadIdx.x % RECORD, group = threadIdx.x / RECORD, index = blockIdx.x - part.block;
    u32 launch = shared.launch;
    if (group < GROUP && group < part.blocks) {
        uint4 record[RECORDS_EACH];
#pragma unroll
        for (int i = 0; i < RECORDS_EACH; i++) {
            int block = group + i * GROUP;
            record[i] = make_uint4(0, 0, 0, launch);
            if (i * GROUP < part.blocks && block < part.blocks)
                record[i] = look(record_of(args, part.block + block, block == 0) + piece * 4);
        }

        u32 all[3] = {}, before[3] = {};
#pragma unroll
        for (int i = 0; i < RECORDS_EACH; i++) {
            if (i * GROUP < part.blocks) {
                int block = group + i * GROUP;
                while (record[i].w != launch)
                    record[i] = look(record_of(args, part.block + block, block == 0) + piece * 4);
                all[0] += record[i].x, all[1] += record[i].y, all[2] += record[i].z;
                if (block < index)
                    before[0] += record[i].x, before[1] += record[i].y, before[2] += record[i].z;
            }
        }

        int bin = 1 + piece * BINS_PER_WORDS;
#pragma unroll
        for (int i = 0; i < BINS_PER_WORDS; i++) {
            atomicAdd(shared.total + bin + i, i % 2 ? all[i / 2] >> 16 : all[i / 2] & 0xffff);
            if (group < index)
                atomicAdd(shared.before + bin + i, i % 2 ? before[i / 2] >> 16 : before[i / 2] & 0xffff);
        }
    }

    __syncthreads();
}
