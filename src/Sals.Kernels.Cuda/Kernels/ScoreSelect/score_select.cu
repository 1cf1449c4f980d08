// score_select — scores every latent token of a row and lists the best, ascending (paper section 3, stage 1)
//   score[t] = query . latent[t], leading RS coordinates; the row's critical_count(length) best of [sink_count, window_start) by
//   (score descending, position ascending). Rows that need no scores (timeline.cuh) are left alone
// in   qkv        [B, qkv_stride]  bf16   scoring query [RS] at element (HQ + 2 * HK) * DH
//      position, slot [B]          i32
//      table      [SLOTS + 1, MAXP] u32   latent pages, offsets in 4-KiB units; 0 = no page
//      pages                       bytes  latent page: score plane [64, RS] of the layer at layer_offset, int8 or bf16
//      scale, mean, variance [RS]  f32    value of code 1 (int8 only), calibrated mean and variance of the coordinates
// out  selected   [B, YMAX]        i32    positions, ascending
// tmp  keys       [B, MAXP * 64]   u32    scores as order-preserving integers, 0 = NaN
//      bins       [B, MAXP * 2, 8] u32    bin of each score, 0 for sinks; of 32 tokens bit 0 of the bins, bit 1, .., bit 6, nothing
//      histogram  [B, BINS]        u32    0 before and after
//      ticket     [B]              i32    0 before and after
//      mask       [B, MAXP * 2]    u32    only where it does not fit in shared memory
// grid (SMS * OCCUPANCY)  block 512  smem 22 KB + 4 * MASK_WORDS     an equal run of 32-token units each, rows side by side
// math int8: exact int32 sums of a 15-bit query, those of Reference.ScoreSelect. bf16: f32, one fixed tree per token. Bins of the score lie around the
//      calibrated place of the threshold, 1/24 deviation wide: they only steer the search, a wrong calibration costs time. The block that completes a
//      row finds the bin of the k-th best, then its place in that bin exactly, and writes the list
// cost reads RS * element bytes a latent token; then a byte a token by one block per row
// defs DH, HQ, HK, RS, MAXP, YMAX, LATENT_INT8, timeline's · at most 256 rows · oracle Reference.ScoreSelect · launcher ScoreSelectKernel
#include "bf16.cuh"
#include "block_scan.cuh"
#include "chain.cuh"
#include "matrix.cuh"
#include "reduce.cuh"
#include "timeline.cuh"

struct Args {
    const u16* qkv;
    const int* position;
    const int* slot;
    const u32* table;
    const u8* pages;
    const float* scale;
    const float* mean;
    const float* variance;
    u32* keys;
    u32* bins;
    u32* histogram;
    int* ticket;
    u32* mask;
    int* selected;
    i64 layer_offset;
    int qkv_stride;
    int rows;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, qkv);
CHECK_FIELD(Args, position);
CHECK_FIELD(Args, slot);
CHECK_FIELD(Args, table);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, scale);
CHECK_FIELD(Args, mean);
CHECK_FIELD(Args, variance);
CHECK_FIELD(Args, keys);
CHECK_FIELD(Args, bins);
CHECK_FIELD(Args, histogram);
CHECK_FIELD(Args, ticket);
CHECK_FIELD(Args, mask);
CHECK_FIELD(Args, selected);
CHECK_FIELD(Args, layer_offset);
CHECK_FIELD(Args, qkv_stride);
CHECK_FIELD(Args, rows);
static_assert(RS % 16 == 0 && RS <= 1024, "score rank: a multiple of 16, at most 1024");

constexpr int THREADS = 512;
constexpr int WARPS = THREADS / 32;
constexpr int MAX_ROWS = 256;
constexpr int UNIT = 32;      // tokens a warp takes at a time: one word of the mask
constexpr int BINS = 128;     // 1..127 by score, 0 for sinks
constexpr int BIN_WORDS = 8;  // of 32 tokens: one a bit, and a spare
constexpr float BINS_PER_DEVIATION = 24.f;
constexpr int FINE_BINS = 256;           // of the threshold's bin
constexpr int CANDIDATES = 3 * THREADS;  // tokens of the threshold's bin that are ordered by fine bins; more are counted digit by digit
constexpr int TIED = 256;                // tokens of the threshold's fine bin that are ordered pairwise
constexpr int MASK_WORDS = MAXP * PAGE_SIZE / 32;
constexpr bool SHARED_MASK = MASK_WORDS <= 6144;
constexpr int EARLY = RS * (LATENT_INT8 ? 1 : 2) >= 256 ? 1 : 2;  // units of a warp that L2 is asked for before the query is ready

constexpr int round_up_power(int n) { return n <= 1 ? 1 : 2 * round_up_power((n + 1) / 2); }
constexpr int smaller(int a, int b) { return a < b ? a : b; }

constexpr int ELEMENT_BYTES = LATENT_INT8 ? 1 : 2;
constexpr int PER_VECTOR = 16 / ELEMENT_BYTES;
constexpr int VECTORS = RS / PER_VECTOR;                                        // 16-byte pieces of a token
constexpr int LANES = smaller(32, round_up_power(VECTORS));                     // lanes that share a token
constexpr int COLUMNS = (VECTORS + LANES - 1) / LANES;                          // pieces a lane holds of it
constexpr int LOADS = smaller(LANES, COLUMNS == 1 ? 8 : COLUMNS == 2 ? 4 : 2);  // tokens a lane reads at once
constexpr int GROUPS = 32 / LANES;
constexpr int STEP = LOADS * GROUPS;  // tokens a warp reads at once
static_assert(UNIT % STEP == 0, "whole steps");

// A lane's columns of the scoring query, and where the score is expected: bin = score * factor + offset.
struct Query {
#if LATENT_INT8
    uint4 high[COLUMNS];
    uint4 low[COLUMNS];
#else
    float value[COLUMNS][8];
#endif
    float factor;
    float offset;
};

struct Completed {
    int row, length;
    float2 expected;
};

struct Shared {
#if LATENT_INT8
    __align__(16) u8 high[RS];
    __align__(16) u8 low[RS];
#endif
    u32 histogram[BINS];
    __align__(16) u32 fine[FINE_BINS];
    int first[MAX_ROWS + 1];  // units before each row
    int length[MAX_ROWS];
    int slot[MAX_ROWS];
    Completed last[MAX_ROWS];  // rows this block completed
    u32 candidates[CANDIDATES];
    u64 tied[TIED];
    int scan[WARPS];
    float4 moments[WARPS];
    u32 largest[WARPS];
    int last_count, row, candidate_count, tied_count;
    u32 mask[SHARED_MASK ? MASK_WORDS : 1];
};

// Coordinates tid, tid + 512, .. of what a row's query is prepared from.
struct Coordinates {
    static constexpr int EACH = (RS + THREADS - 1) / THREADS;
    float query[EACH], scale[EACH], mean[EACH], variance[EACH];
};

#include "score_tokens.cuh"
#include "select_best.cuh"

__device__ __forceinline__ int units_of(int length) { return needs_scores(length) ? window_start(length) / UNIT : 0; }

// True in thread 0 of the block that completes a row's `all` units, of which it has scored `own`; the ticket is then back at zero. The caller's
// barrier stands between the block's writes and this.
__device__ __forceinline__ bool arrive_last(int* ticket, int own, int all) {
    if (threadIdx.x != 0)
        return false;
    __threadfence();
    bool last = atomicAdd(ticket, own) == all - own;
    if (last)
        *ticket = 0;
    __threadfence();
    return last;
}

// Up to 32 rows: each warp finds by itself which part of one row is the block's. A row has a number of blocks in proportion to its length.
// False where there is nothing to do.
__device__ __forceinline__ bool part_of_few(const Args& args, Part& part) {
    int lane = threadIdx.x & 31, length = 0, slot = 0;
    if (lane < args.rows) {
        length = args.position[lane] + 1;
        slot = args.slot[lane];
    }

    int units = units_of(length), total = __reduce_add_sync(FULL_MASK, units), rows = __popc(__ballot_sync(FULL_MASK, units > 0));
    int others = gridDim.x - rows, share = max(1, (total + others - 1) / others), blocks = (units + share - 1) / share, first = blocks;
#pragma unroll
    for (int offset = 1; offset < 32; offset <<= 1) {
        int below = __shfl_up_sync(FULL_MASK, first, offset);
        if (lane >= offset)
            first += below;
    }

    first -= blocks;
    int block = blockIdx.x;
    u32 owner = __ballot_sync(FULL_MASK, first <= block && block < first + blocks);
    if (owner == 0)
        return false;
    int row = __ffs(owner) - 1, index = block - __shfl_sync(FULL_MASK, first, row);
    blocks = __shfl_sync(FULL_MASK, blocks, row), units = __shfl_sync(FULL_MASK, units, row);
    part = {row,   __shfl_sync(FULL_MASK, slot, row),  __shfl_sync(FULL_MASK, length, row),
            units, (int)((i64)units * index / blocks), (int)((i64)units * (index + 1) / blocks)};
    return true;
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
    begin = (int)(total * blockIdx.x / gridDim.x), end = (int)(total * (blockIdx.x + 1) / gridDim.x);
    if (first <= begin && begin < first + units)
        shared.row = tid;
    __syncthreads();
    return begin < end;
}

extern "C" __global__ void __launch_bounds__(512, 1) score_select(const __grid_constant__ Args args) {
    __shared__ Shared shared;
    release_successor();
    int begin = 0, end = 0;
    Coordinates coordinates;
    load_calibration(args, coordinates);
    if (threadIdx.x < BINS)
        shared.histogram[threadIdx.x] = 0;
    if (threadIdx.x == 0)
        shared.candidate_count = shared.tied_count = shared.last_count = 0;
    bool few = args.rows <= 32 && 2 * args.rows <= gridDim.x;
    Part part;
    if (few ? !part_of_few(args, part) : !part_of_many(args, shared, begin, end)) {
        // also without work: the launch after this one takes its end for that of all before it
        wait_predecessor();
        return;
    }

    // positions, tables and latent pages are older than the launch before this one; the query is not
    int row = few ? part.row : shared.row;
    bool waited = false;
    do {
        if (!few) {
            while (shared.first[row + 1] <= begin)
                row++;
            int from = shared.first[row], units = shared.first[row + 1] - from, stop = min(from + units, end);
            part = {row, shared.slot[row], shared.length[row], units, begin - from, stop - from};
            begin = stop;
        }

        Window window = open_window(args, part);
        if (!waited)
            wait_predecessor();
        waited = true;
        load_query(args, row, coordinates);
        float2 expected = scan(args, shared, coordinates, part, window);
        __syncthreads();
        if (arrive_last(args.ticket + row, part.end - part.first, part.units))
            shared.last[shared.last_count++] = {row, part.length, expected};
    } while (begin < end);

    // completed rows last: others wait for this block's scores
    __syncthreads();
    int completed = shared.last_count;
    for (int i = 0; i < completed; i++)
        select(args, shared, shared.last[i]);
}
