// sparse_attend_few, sparse_attend_many — attention of one query per row with latent pages in a compressed layer: sinks and window exactly, selected latent tokens rebuilt on the way
//   o[b,h] = softmax(q[b,h] . K[t,h/G] / sqrt(DH)) V[t,h/G]   over the sinks, the selected and the window of row b;
//   K[t] = rope(U latent[t] + bias) and V[t] from its codes for selected t, else as hot pages hold them;  G = HQ / HK <= 8
// in   qkv           [B, STRIDE]     bf16   queries [HQ, DH] after rope; the rest is not read
//      work          [work_room]     i32x4  (row, item of attend_items.cuh, length, slot), written by plan_step; work_count, row_first likewise
//      position      [B]             i32
//      hot_table, latent_table [SLOTS + 1, MAXP]  u32  page offsets in 4-KiB units; 0 = no page
//      pages                         bytes  PageLayout
//      selected      [B, YMAX]       i32x2  (position, latent page), ascending, of rows that need scores; other rows select sink_count + i
//      basis         [HK, BASIS_BYTES]      image of U (BasisImage): for int8 latents times their scales and 1 / key_scale, a power of two
//      bias          [D]             f32    what makes U latent a key: the mean, and for int8 latents what widening adds, in units of key_scale
//      turns         [DH/2]          u32    by value: turns per position of each rotary pair, in units of 2^-32;  rope_factor: of cos and sin
// out  o             [B, HQ, DH]     bf16
// tmp  partial       [ITEMS, HQ, DH] f32, partial_ml [ITEMS, HQ] f32x2 (m in base 2, l) of rows with several items, which merge_items joins
// grid (HK * blocks of a KV head)  block 128 * GROUPS (2 to 4, fewer where they do not fit)  smem basis, then GROUPS * (ring, parts, tokens, tasks)    a warpgroup takes one of each GROUPS * blocks items
// math f32 accumulation; keys rotated in f32, rounded to bf16 for q . k as cached keys are; base-2 softmax; probabilities and values in bf16 (of selected
//      tokens in fp16) for their product; parts merged in order: of warps, then of items, so a row's result depends on its own tokens alone
// cost 2 D R / BASIS_GROUPS operations per selected token; reads its group's share of a latent (R) for each KV head from L2, its packed values, 4 D bytes per exact token
// defs DH, HQ, HK, MAXP, R, RS, BASIS_GROUPS, SINK, RECENT, SPARSITY, CRIT_MIN, CRIT_MAX, DENSE_BELOW, VALUE_BITS, VALUE_GROUP, LATENT_INT8, YMAX,
//      MERGE_GROUPS
//      oracle Reference.SparseAttend · launcher SparseAttendKernel
#include "attend_items.cuh"
#include "chain.cuh"
#include "latent_keys.cuh"
#include "reduce.cuh"
#include "token_values.cuh"

struct Args {
    const u16* qkv;
    const int4* work;
    const int* work_count;
    const int* row_first;
    const int* position;
    const u32* hot_table;
    const u32* latent_table;
    const u8* pages;
    const uint2* selected;
    const u8* basis;
    const float* bias;
    float* partial;
    float2* partial_ml;
    u16* o;
    u32 hot_offset;
    u32 latent_offset;
    int qkv_stride;
    int work_room;
    float scale;
    float key_scale;
    float rope_factor;
    u32 turns[64];
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, qkv);
CHECK_FIELD(Args, work);
CHECK_FIELD(Args, work_count);
CHECK_FIELD(Args, row_first);
CHECK_FIELD(Args, position);
CHECK_FIELD(Args, hot_table);
CHECK_FIELD(Args, latent_table);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, selected);
CHECK_FIELD(Args, basis);
CHECK_FIELD(Args, bias);
CHECK_FIELD(Args, partial);
CHECK_FIELD(Args, partial_ml);
CHECK_FIELD(Args, o);
CHECK_FIELD(Args, hot_offset);
CHECK_FIELD(Args, latent_offset);
CHECK_FIELD(Args, qkv_stride);
CHECK_FIELD(Args, work_room);
CHECK_FIELD(Args, scale);
CHECK_FIELD(Args, key_scale);
CHECK_FIELD(Args, rope_factor);
CHECK_FIELD(Args, turns);

constexpr int G = HQ / HK;
static_assert(HQ % HK == 0 && G <= 8, "at most 8 query heads share a KV head");
static_assert(PAGE_SIZE == ATTEND_TILE && ATTEND_RUN_PAGES == 2, "a warp takes 16 tokens of a tile, and half a page of a run");
constexpr float NOTHING = -1e30f;  // m of no tokens; finite, so that differences are

// parts of four warps: [4, G, DH] numbers, heads 4 further apart so that the lanes of a store meet different banks; then (m, l)
constexpr int PART_ROW = DH + 4;
constexpr int PARTS_BYTES = 4 * G * (PART_ROW * 4 + 8);

// one item of the block's KV head
struct Task {
    int entry, row, item, length, slot;
    int first;   // of the selected tokens of a tile
    int tokens;  // of a tile
    bool alone;  // all of its row
};

constexpr int TASKS = 14;  // of a warpgroup, looked up at once; one more would not leave rank 512 its third warpgroup
constexpr int GROUP_BYTES = RING_BYTES + (PARTS_BYTES + 127) / 128 * 128 + TASKS * (ATTEND_TILE * 8 + sizeof(Task));

// Whether the basis fits in shared memory, and warpgroups of a block. In C#: SparseAttendKernel. Two have the registers to take a tile in the least time, three
// or, where a tile's operands leave the registers, four take the most tiles.
constexpr int ROOM = MOST_SHARED - 1024;  // 2 KB of a block's shared memory are Common's, of which MOST_SHARED leaves 1
constexpr bool BASIS_FITS = BASIS_BYTES + GROUP_BYTES <= ROOM;
constexpr bool IN_BLOCKS = BASIS_FITS && OPERANDS_FIT;
#if __CUDA_ARCH__ >= 900
constexpr int FEW_GROUPS = 2, MOST_GROUPS = !BASIS_FITS ? 2 : STEPS <= 8 ? 4 : 3;
#else
constexpr int FEW_GROUPS = 2, MOST_GROUPS = 2;
#endif
constexpr int HELD_BYTES = BASIS_FITS ? BASIS_BYTES : 0;
constexpr int FITTING = (ROOM - HELD_BYTES) / GROUP_BYTES;
constexpr int fitting_groups(int groups) { return FITTING < groups ? FITTING : groups; }
static_assert(sizeof(Task) == 32, "the launcher's arithmetic");
static_assert(FITTING >= 1, "a warpgroup's latents fit in shared memory");

struct Common {
    __align__(16) FirstKeys first_keys;
    __align__(16) u32 turns[DH / 16][4][2];  // of each register of keys that is the first of a pair, and lane t
};
static_assert(sizeof(Common) <= 2048, "beside ROOM");

#include "attend_run.cuh"
#include "attend_tile.cuh"

template <int GROUPS>
__device__ __forceinline__ void attend(const Args& args) {
    constexpr int THREADS = GROUPS * 128;
    extern __shared__ __align__(1024) u8 shared[];
    __shared__ Common common;
    int thread = threadIdx.x & 127, warp = thread >> 5, group = threadIdx.x >> 7;
    int kv_head = blockIdx.x % HK, blocks = gridDim.x / HK, slots = blocks * GROUPS;
    // each warpgroup of a block two entries further on than the one before: runs, which lie alike in rows of equal lengths, are not all one block's
    int slot = group * blocks + (blockIdx.x / HK + 2 * group) % blocks;
    u8* own = shared + HELD_BYTES + group * GROUP_BYTES;
    u32 basis = shared_address(shared), ring = shared_address(own);
    Token* tokens = (Token*)(own + RING_BYTES);  // [TASKS, ATTEND_TILE]
    Task* tasks = (Task*)(own + RING_BYTES + TASKS * ATTEND_TILE * sizeof(Token));
    float* parts = (float*)(tasks + TASKS);
    release_successor();
    // Work list entries of the warpgroup's next tasks, a lane each; read whether or not there are so many, so that nothing waits for their count.
    auto read_entry = [&](int first) {
        int lane = threadIdx.x & 31, entry = first + lane * slots + slot;
        return lane < TASKS && entry < args.work_room ? args.work[entry] : make_int4(0, 0, 0, 0);
    };
    int4 first_work = read_entry(0);
    int first_count = *args.work_count;
    // also where all tasks are runs: to know that takes longer than to begin
    bool wants_basis = (int)blockIdx.x / HK < first_count, ready = false;
    if (wants_basis) {
        prepare_keys<THREADS>(common.first_keys, args.bias, kv_head);
        if (BASIS_FITS)
            fetch_basis<THREADS>(basis, args.basis, kv_head);
    }

    commit_copies();
    // Of the warpgroup's next tasks, bits in `tiles` and `runs`. work: what read_entry gave; count: of the list
    u32 tiles, runs;
    auto look_up = [&](int first, int4 work, int count) {
        int lane = threadIdx.x & 31;
        int entry = first + lane * slots + slot;
        bool some = lane < TASKS && entry < count;
        int length = work.z, before = (work.y - exact_runs(length)) * ATTEND_TILE;
        Task task = {
            entry, work.x, work.y, length, work.w, before, min(ATTEND_TILE, selected_count(length) - before), attend_items(length) == 1};

        tiles = __ballot_sync(FULL_MASK, some && task.first >= 0), runs = __ballot_sync(FULL_MASK, some) & ~tiles;
        if (warp == 0 && some)
            tasks[lane] = task;
    };
    look_up(0, first_work, first_count);
#pragma unroll 1
    for (int i = threadIdx.x; i < DH / 2; i += THREADS)
        common.turns[i / 2 % (DH / 16)][i / (DH / 8)][i % 2] = args.turns[i];
    sync_group(group);
    wait_predecessor();
    for (int first = 0;;) {
        // all tasks' tokens at once: a chain of reads that is waited for once
#pragma unroll 1
        for (int at = thread; at < (32 - __clz(tiles)) * ATTEND_TILE; at += 128) {
            if (tiles >> (at / ATTEND_TILE) & 1)
                fetch_token(tokens + at, args, tasks[at / ATTEND_TILE], at % ATTEND_TILE);
        }

        commit_copies();
        wait_copies<0>();
        sync_group(group);
        auto tokens_of = [&](u32 some) { return tokens + (__ffs(some) - 1) * ATTEND_TILE + warp * 16; };
        LatentRows rows;
        auto fetch_rows = [&](const Token* of) {
            set_rows(rows, args, of, kv_head);
#pragma unroll
            for (int c = 0; c < RING_CHUNKS; c++) {
                fetch_chunk(ring, c, rows);
                commit_copies();
            }
        };
        if (tiles)
            fetch_rows(tokens_of(tiles));

        if (!ready && wants_basis) {
            if (tiles)
                wait_copies<RING_CHUNKS>();
            else
                wait_copies<0>();
            publish_basis();
            __syncthreads();
            ready = true;
        }

        while (runs | tiles) {
            State state;
            const Task& task = tasks[__ffs(runs ? runs : tiles) - 1];
            if (runs) {
                attend_run(args, task, kv_head, state);
                runs &= runs - 1;
            } else {
                u32 own = tiles, next = tiles & (tiles - 1);
                if (!IN_BLOCKS && RING_CHUNKS == CHUNKS && next)
                    set_rows(rows, args, tokens_of(next), kv_head);
                attend_tile(
                    args, task, kv_head, tokens_of(own), common, ring, basis, state,
                    [&](int c) {
                        if (RING_CHUNKS < CHUNKS && c == CHUNKS - RING_CHUNKS && next)
                            set_rows(rows, args, tokens_of(next), kv_head);
                        if (c + RING_CHUNKS < CHUNKS || next)
                            fetch_chunk(ring, (c + RING_CHUNKS) % CHUNKS, rows);
                        commit_copies();
                    },
                    [&] {
                        if (next)
                            fetch_rows(tokens_of(next));
                    });
                tiles = next;
            }
            finish(args, task, kv_head, parts, state);
        }

        wait_copies<0>();
        first += TASKS * slots;
        // read again: no register is free for it meanwhile
        int count = *args.work_count;
        if (first >= count)
            break;
        sync_group(group);  // the tasks before have been read
        look_up(first, read_entry(first), count);
        sync_group(group);
    }
}

extern "C" __global__ void __launch_bounds__(fitting_groups(FEW_GROUPS) * 128, 1) sparse_attend_few(const __grid_constant__ Args args) {
    attend<fitting_groups(FEW_GROUPS)>(args);
}

extern "C" __global__ void __launch_bounds__(fitting_groups(MOST_GROUPS) * 128, 1) sparse_attend_many(const __grid_constant__ Args args) {
    attend<fitting_groups(MOST_GROUPS)>(args);
}

#include "merge_items.cuh"
