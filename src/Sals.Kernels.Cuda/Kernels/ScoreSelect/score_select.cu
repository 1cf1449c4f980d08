// score_select — scores every latent token of a row and lists the best, ascending (paper section 3, stage 1)
//   score[t] = query . latent[t], leading RS coordinates; the row's critical_count(length) best of [sink_count, window_start) by
//   (score descending, position ascending). Rows that need no scores (timeline.cuh) are left alone
// in   qkv        [B, qkv_stride]  bf16   scoring query [RS] at element (HQ + 2 * HK) * DH
//      parts      [SMS]            i32x8  what each block has, as plan_step left it for at most 64 rows (score_parts.cuh)
//      position, slot [B]          i32    read instead by score_select_many
//      table      [SLOTS + 1, MAXP] u32   latent pages, offsets in 4-KiB units; 0 = no page
//      pages                       bytes  latent page: score plane [64, RS] of the layer at layer_offset, int8 or bf16
//      band_queries [B, BANDS, RS], band_biases [B, BANDS] f32   instead of the scoring query where BANDS > 0, see band_queries
//      scale, mean, variance [RS]  f32    value of code 1 (int8 only), calibrated mean and variance of the coordinates
// out  selected   [B, YMAX]        i32x2  (position, latent page), ascending
// tmp  keys       [B, MAXP * 64]   u32    scores as order-preserving integers, 0 = NaN
//      bins       [B, MAXP * 64]   u8     bin of each score, 0 for sinks; only of blocks with more tokens than their shared memory has room for
//      mask       [B, MAXP * 2]    u32    only for blocks with more tokens than their shared memory has bits for
//      counts     [2 * 192, 21, 4] u32    of a block and row: six 16-bit counts and the launch in each 16 bytes (exchange.cuh); 0 at first
//      listed     [192, 1536, 4]   u32    key, position, nothing, launch: of the row that begins in a block; 0 at first
//      launches   [1]              u64    launches so far, times 2^32; 0 at first
// grid (SMS), at most 192, all at the same time: no other stream may run this kernel  block 512  smem 48 KB
//      up to 64 rows (score_select): each has blocks in proportion to its length; more (score_select_many): an equal run of 32-token units a block
// math int8: exact int32 sums of a 15-bit query, those of Reference.ScoreSelect. bf16: f32, one fixed tree per token. Bins of the score lie around the
//      calibrated place of the threshold, 1/24 deviation wide: they only steer the search, a wrong calibration costs time. Every block of a row
//      finds the bin of the k-th best and its place in that bin exactly, and writes its own part of the list
// cost reads RS * element bytes a latent token; then two exchanges between the blocks of a row, whatever its length
// defs DH, HQ, HK, RS, MAXP, YMAX, LATENT_INT8, BANDS, timeline's · at most 256 rows · oracle Reference.ScoreSelect · launcher ScoreSelectKernel
#include "bf16.cuh"
#include "block_scan.cuh"
#include "chain.cuh"
#include "matrix.cuh"
#include "reduce.cuh"
#include "score_bands.cuh"
#include "score_parts.cuh"
#include "timeline.cuh"

struct Args {
    const u16* qkv;
    const int* position;
    const int* slot;
    const ScorePart* parts;
    const u32* table;
    const u8* pages;
    const float* scale;
    const float* mean;
    const float* variance;
    const float* band_queries;
    const float* band_biases;
    u32* keys;
    u8* bins;
    u32* mask;
    u32* counts;
    u32* listed;
    u64* launches;
    uint2* selected;
    i64 layer_offset;
    int qkv_stride;
    int rows;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, qkv);
CHECK_FIELD(Args, position);
CHECK_FIELD(Args, slot);
CHECK_FIELD(Args, parts);
CHECK_FIELD(Args, table);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, scale);
CHECK_FIELD(Args, mean);
CHECK_FIELD(Args, variance);
CHECK_FIELD(Args, band_queries);
CHECK_FIELD(Args, band_biases);
CHECK_FIELD(Args, keys);
CHECK_FIELD(Args, bins);
CHECK_FIELD(Args, mask);
CHECK_FIELD(Args, counts);
CHECK_FIELD(Args, listed);
CHECK_FIELD(Args, launches);
CHECK_FIELD(Args, selected);
CHECK_FIELD(Args, layer_offset);
CHECK_FIELD(Args, qkv_stride);
CHECK_FIELD(Args, rows);
static_assert(RS % 16 == 0 && RS <= 1024, "score rank: a multiple of 16, at most 1024");
static_assert(BANDS == 0 || LATENT_INT8, "bands need codes");

constexpr int THREADS = 512;
constexpr int WARPS = THREADS / 32;
constexpr int MAX_ROWS = 256;
constexpr int BINS = 128;  // 1..126 by score, 0 for sinks
constexpr float BINS_PER_DEVIATION = 24.f;
constexpr int FINE_BINS = BINS;          // of the threshold's bin
constexpr int CANDIDATES = 3 * THREADS;  // tokens of the threshold's bin that are ordered by fine bins; more are counted digit by digit
constexpr int MASK_WORDS = MAXP * PAGE_SIZE / 32;
constexpr int SHARED_WORDS = 1024;  // of the mask that a block keeps; the mask of more tokens lies in global memory
constexpr int SHARED_KEYS = 4096;   // keys and bins that a block keeps; of more tokens they are read back
constexpr int MAX_BLOCKS = 192;     // of a launch

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

// A lane's columns of the scoring query.
struct Query {
#if LATENT_INT8
    uint4 high[COLUMNS];
    uint4 low[COLUMNS];
#else
    float value[COLUMNS][8];
#endif
#if BANDS
    int band;  // the band whose query this is
#endif
};

// What is known of a scored part, as it becomes known.
struct Scored {
    ScorePart part;
    float2 expected;   // bin = score * x + y
    const u32* keys;   // of the row; those of the part may be read
    u32* mask;         // of the part
    bool kept;         // keys and bins are in shared memory
    int above, count;  // tokens of the row above the bin of the k-th best, and in it
    int above_before;  // tokens above it in blocks before this one
};

// Of a histogram, descending: the bin of the k-th best token, the tokens above it and those in it; the same of the blocks before this one.
struct Found {
    int bin, above, count, above_before, before;
};

// Of the tokens of a part.
struct Kept {
    __align__(16) u32 keys[SHARED_KEYS];
    u8 bins[SHARED_KEYS];
};

struct Rows {
    int first[MAX_ROWS + 1];  // units before each row
    int length[MAX_ROWS];
    int slot[MAX_ROWS];
};

struct Shared {
#if LATENT_INT8
    __align__(16) u8 high[RS];
    __align__(16) u8 low[RS];
#endif
    __align__(16) u32 histogram[BINS];
    __align__(16) u32 total[BINS];   // of the row
    __align__(16) u32 before[BINS];  // of the blocks before this one
    __align__(16) u32 fine[FINE_BINS];
    union {
        Kept kept;  // score_select
        Rows rows;  // score_select_many
    };
    Scored waiting[2];  // parts of rows that other blocks share
    ScorePart part;
    float2 expected;  // bin = score * x + y
    Found found;
    u16 tied[CANDIDATES];
    u8 place[CANDIDATES];  // fine bin of each candidate
    int scan[WARPS];
    float4 moments[WARPS];
    int row, last_row, blocks, candidate_count, tied_count, before_selected;
    u32 launch;
#if BANDS
    float2 band[WARPS];  // of a warp's band: score = product * x + y
#endif
    u32 mask[SHARED_WORDS];
    u64 rank[CANDIDATES];  // of the row's candidates
    u64 least;             // of those that are selected
};

// Coordinates tid, tid + 512, .. of what a row's query is prepared from.
struct Coordinates {
    static constexpr int EACH = (RS + THREADS - 1) / THREADS;
    float query[EACH], scale[EACH], mean[EACH], variance[EACH];
};

#include "row_parts.cuh"
#include "score_tokens.cuh"
#include "exchange.cuh"
#include "select_best.cuh"

// The number of this launch, for the last thread, whose warp has the least to do: the upper half of a count whose lower half is the blocks that have
// asked. All of them get the same, for the last to ask moves it on.
__device__ __forceinline__ u32 number_launch(const Args& args) {
    if (threadIdx.x != THREADS - 1)
        return 0;
    u64 before = atomicAdd(args.launches, 1ull);
    if ((u32)before == gridDim.x - 1)
        atomicAdd(args.launches, (1ull << 32) - gridDim.x);
    return (u32)(before >> 32) + 1;
}

__device__ __forceinline__ void clear(Shared& shared) {
    if (threadIdx.x < BINS)
        shared.histogram[threadIdx.x] = shared.total[threadIdx.x] = shared.before[threadIdx.x] = shared.fine[threadIdx.x] = 0;
    if (threadIdx.x == 0)
        shared.candidate_count = shared.before_selected = shared.tied_count = 0;
}

// Scores shared.part, whose first step is in `ahead`; tells the row's other blocks its bins. mask: null where shared memory has no room; kept: it has for
// keys and bins.
__device__ __forceinline__ Scored score_part(const Args& args, Shared& shared, Coordinates& coordinates, Window window, Tile& ahead,
                                             u32 launch, u32* mask, bool kept) {
    Query query;
    prepare(args, shared, coordinates, query);
    scan(args, shared, query, window, ahead, kept);
    if (threadIdx.x == THREADS - 1)
        shared.launch = launch;
    __syncthreads();
    Scored scored;
    scored.part = shared.part;
    scored.expected = shared.expected;
    scored.kept = kept;
    scored.mask = mask ? mask : args.mask + (i64)scored.part.row * MASK_WORDS + scored.part.first;
    scored.keys = kept ? shared.kept.keys - scored.part.first * UNIT : args.keys + (i64)scored.part.row * (MAXP * PAGE_SIZE);
    if (scored.part.blocks > 1)
        publish_counts(args, shared, scored.part);
    return scored;
}

// What plan_step found for this block: one load by eight lanes.
__device__ __forceinline__ void load_part(const Args& args, Shared& shared) {
    constexpr int WORDS = sizeof(ScorePart) / 4;
    if (threadIdx.x < WORDS)
        ((int*)&shared.part)[threadIdx.x] = __ldcg((const int*)(args.parts + blockIdx.x) + threadIdx.x);
}

// at most 64 rows, and twice as many blocks
extern "C" __global__ void __launch_bounds__(512, 1) score_select(const __grid_constant__ Args args) {
    __shared__ Shared shared;
    release_successor();
    Coordinates coordinates;
    load_calibration(args, coordinates);
    // parts are plan_step's (chain.cuh), tables and latent pages are older still: all older than the launch before this one; the query is not
    load_part(args, shared);
    clear(shared);
    __syncthreads();
    Tile ahead;
    Window window;
    int units = shared.part.end - shared.part.first;
    if (units > 0)
        window = open_tile(args, shared.part, ahead);
    // also without work: the launch after this one takes its end for that of all before it
    wait_predecessor();
    u32 launch = number_launch(args);
    if (units == 0)
        return;
    Scored scored = score_part(args, shared, coordinates, window, ahead, launch, units <= SHARED_WORDS ? shared.mask : nullptr,
                               units * UNIT <= SHARED_KEYS);
    find_candidates(args, shared, scored);
    list_best(args, shared, scored);
}

extern "C" __global__ void __launch_bounds__(512, 1) score_select_many(const __grid_constant__ Args args) {
    __shared__ Shared shared;
    release_successor();
    Coordinates coordinates;
    load_calibration(args, coordinates);
    clear(shared);
    int begin, end;
    bool works = part_of_many(args, shared, begin, end);
    wait_predecessor();
    u32 launch = number_launch(args);
    if (!works)
        return;

    // rows shared with other blocks first, for they wait: the first and the last of the run; then rows that are the block's alone; then the lists of the
    // shared ones
    int first = shared.row, last = shared.last_row, turns = 3 + last - first, waiting = 0;
    u32* mask = end - begin <= SHARED_WORDS ? shared.mask : nullptr;
    for (int turn = 0; turn < turns + 2 * waiting; turn++) {
        Scored scored;
        bool finds, lists;
        if (turn < turns) {
            ScorePart part = part_of_row(shared, turn == 0 ? first : turn == 1 ? last : first + turn - 2, begin, end);
            if (part.units == 0 || (part.blocks > 1) != (turn < 2) || (turn == 1 && first == last))
                continue;
            if (threadIdx.x == 0)
                shared.part = part;
            __syncthreads();
            Tile ahead;
            Window window = open_tile(args, part, ahead);
            scored = score_part(args, shared, coordinates, window, ahead, launch, mask, false);
            finds = lists = part.blocks == 1;
            if (!finds && threadIdx.x == 0)
                shared.waiting[waiting] = scored;
            if (!finds) {
                waiting++;
                mask = mask ? mask + part.end - part.first : nullptr;
            }
        } else {
            lists = turn >= turns + waiting, finds = !lists;
            scored = shared.waiting[(turn - turns) % waiting];
        }

        if (finds)
            find_candidates(args, shared, scored);
        if (lists)
            list_best(args, shared, scored);
        __syncthreads();
        if (finds && !lists && threadIdx.x == 0)
            shared.waiting[turn - turns] = scored;
        clear(shared);
        __syncthreads();
    }
}
