// sparse_attend — attention of one query per row in a compressed layer: sinks and window exactly, selected latent tokens rebuilt on the way
//   o[b,h] = softmax(q[b,h] . K[t,h/G] / sqrt(DH)) V[t,h/G]   over the sinks, the selected and the window of row b;
//   K[t] = rope(U latent[t] + mean) and V[t] from its codes for selected t, else as hot pages hold them;  G = HQ / HK <= 8
// in   qkv           [B, STRIDE]     bf16   queries [HQ, DH] after rope; the rest is not read
//      work          [ITEMS]         i32x2  (row, item of attend_items.cuh), written by plan_step; work_count, row_first likewise
//      position, slot [B]            i32
//      hot_table, latent_table [SLOTS + 1, MAXP]  u32  page offsets in 4-KiB units; 0 = no page
//      pages                         bytes  PageLayout
//      selected      [B, YMAX]       i32    positions ascending, of rows that need scores; other rows select sink_count + i
//      reconstruct   [D, R]          bf16   U, for int8 latents times their scales;  mean [D] f32
//         or         [D, R]          i8     its codes, with reconstruct_scale [ceil(R / 128), D] f32  (RECONSTRUCT_INT8)
//      turns         [DH/2]          u64    by value: turns per position of each rotary pair, in units of 2^-64;  rope_factor: of cos and sin
// out  o             [B, HQ, DH]     bf16
// tmp  partial, partial_ml, run_ticket, row_ticket  as partials.cuh has them
// grid (SMS * OCCUPANCY)  block 128  smem max(4 rings of exact tokens, one tile)    a block takes a contiguous part of (KV head, item), runs first
// math f32 accumulation, keys rotated in f32 and split into two bf16 (2^-17) for q . k, base-2 softmax of each item, probability times value scale
//      rounded to bf16 for the product with the codes; items merged in order: a row's result depends on its own tokens alone
// cost 2 D R operations per selected token; reads its latent (R) for each KV head from L2, its packed values, 4 D bytes per exact token
// defs DH, HQ, HK, MAXP, R, RS, SINK, RECENT, SPARSITY, CRIT_MIN, CRIT_MAX, DENSE_BELOW, VALUE_BITS, VALUE_GROUP, LATENT_INT8, RECONSTRUCT_INT8, YMAX
//      oracle Reference.SparseAttend · launcher SparseAttendKernel
#define EXACT_STAGES 2  // leaves room for two blocks and their tiles
#include "attend_items.cuh"
#include "latent_tile.cuh"
#include "packed_values.cuh"
#include "partials.cuh"
#include "reduce.cuh"

struct Args {
    const u16* qkv;
    const int2* work;
    const int* work_count;
    const int* row_first;
    const int* position;
    const int* slot;
    const u32* hot_table;
    const u32* latent_table;
    const u8* pages;
    const int* selected;
    const u8* reconstruct;
    const float* reconstruct_scale;
    const float* mean;
    float* partial;
    float2* partial_ml;
    int* run_ticket;
    int* row_ticket;
    u16* o;
    u32 hot_offset;
    u32 latent_offset;
    int qkv_stride;
    float scale;
    float rope_factor;
    u64 turns[64];
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, qkv);
CHECK_FIELD(Args, work);
CHECK_FIELD(Args, work_count);
CHECK_FIELD(Args, row_first);
CHECK_FIELD(Args, position);
CHECK_FIELD(Args, slot);
CHECK_FIELD(Args, hot_table);
CHECK_FIELD(Args, latent_table);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, selected);
CHECK_FIELD(Args, reconstruct);
CHECK_FIELD(Args, reconstruct_scale);
CHECK_FIELD(Args, mean);
CHECK_FIELD(Args, partial);
CHECK_FIELD(Args, partial_ml);
CHECK_FIELD(Args, run_ticket);
CHECK_FIELD(Args, row_ticket);
CHECK_FIELD(Args, o);
CHECK_FIELD(Args, hot_offset);
CHECK_FIELD(Args, latent_offset);
CHECK_FIELD(Args, qkv_stride);
CHECK_FIELD(Args, scale);
CHECK_FIELD(Args, rope_factor);
CHECK_FIELD(Args, turns);

static_assert(TILE == ATTEND_TILE && PAGE_SIZE == TILE, "tiles of the work list");
static_assert(ATTEND_RUN_PAGES == 4, "a warp takes one page of a run");
constexpr i64 MOST_EXACT = ((i64)MAXP * PAGE_SIZE < DENSE_BELOW ? (i64)MAXP * PAGE_SIZE : DENSE_BELOW) + RECENT + 2 * PAGE_SIZE;
static_assert(MOST_EXACT / (ATTEND_RUN_PAGES * PAGE_SIZE) + 1 + (YMAX + TILE - 1) / TILE <= MAX_GROUPS * MERGE_GROUP,
              "a row has at most 2,048 items");

// one item of one KV head
struct Task {
    int entry, kv_head, row, item, length;
};

constexpr int TASKS = 16;  // looked up at once
constexpr int P_STRIDE = TILE + 4;

// Where the selected tokens of a task lie.
struct Tokens {
    u32 page[TILE];
    int position[TILE];
};

// A tile but for its latents, codes and scales, which lie in dynamic shared memory.
struct Tile {
    float scores[N_WARPS][TILE][8];
    float p[8][P_STRIDE];
    float2 ml[8];
    float half_o[M_WARPS == 1 ? 1 : 8][M_WARPS == 1 ? 1 : DH];
};

constexpr int VALUE_TILE_BYTES = TILE * VALUE_STRIDE, SCALE_TILE_BYTES = TILE * SCALE_STRIDE;
constexpr int FETCH_BYTES = LATENT_TILE_BYTES + VALUE_TILE_BYTES + SCALE_TILE_BYTES;
// the next tile is fetched while one is worked on, unless two are too large for sm_80
constexpr int FETCHES = WIDE_TILE_BYTES + 2 * FETCH_BYTES <= 140 * 1024 ? 2 : 1;
constexpr int TILE_BYTES = WIDE_TILE_BYTES + FETCHES * FETCH_BYTES;
static_assert((TILE_BYTES > 4 * RING_BYTES ? TILE_BYTES : 4 * RING_BYTES) == SHARED_BYTES, "the launcher's arithmetic");
static_assert(LATENT_TILE_BYTES % 16 == 0 && VALUE_TILE_BYTES % 16 == 0 && SCALE_TILE_BYTES % 16 == 0, "parts of a tile are aligned");

__device__ __forceinline__ const u16* query_of(const Args& args, const Task& task) {
    return args.qkv + (i64)task.row * args.qkv_stride + task.kv_head * G * DH;
}

__device__ __forceinline__ void attend_run(const Args& args, const Partials& partials, const Task& task, u8* shared,
                                           float2 (&warp_ml)[4][G]) {
    int warp = threadIdx.x >> 5, items = attend_items(task.length);
    int sinks = sink_count(task.length), nth = task.item * ATTEND_RUN_PAGES + warp;
    int index = sinks > 0 ? (nth == 0 ? 0 : latent_pages(task.length) + nth - 1) : latent_pages(task.length) + nth;
    int count = sinks > 0 && nth == 0 ? sinks : min(max(task.length - index * PAGE_SIZE, 0), PAGE_SIZE);
    u32 page = count > 0 ? args.hot_table[(i64)args.slot[task.row] * MAXP + index] : 0;
    const u16* keys = key_plane((u8*)args.pages, page, args.hot_offset) + task.kv_head * DH;
    float o[DH / 8][4], m, l;
    attend_exact(shared_address(shared) + warp * RING_BYTES, keys, count, query_of(args, task), args.scale, o, m, l);
    merge_warps((float*)shared, warp_ml, o, m, l, [&](int i, float sum, float top, float total) {
        if (items == 1) {
            args.o[((i64)task.row * HQ + task.kv_head * G) * DH + i] = narrow(sum / total);
        } else {
            partials.o[((i64)task.entry * HQ + task.kv_head * G) * DH + i] = sum;
            if (i % DH == 0)
                partials.ml[(i64)task.entry * HQ + task.kv_head * G + i / DH] = make_float2(top, total);
        }
    });
    __syncthreads();
}

// (cos, sin) of two rotary pairs at a position: the phase is exact to 2^-32 turns, sine and cosine to 2^-20
__device__ __forceinline__ float4 turn_by(const u64* turns, int position, float factor) {
    ulonglong2 pair = *(const ulonglong2*)turns;
    float angle[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        u64 each = i ? pair.y : pair.x;
        u32 phase = (u32)position * (u32)(each >> 32) + __umulhi((u32)position, (u32)each);
        angle[i] = (float)(int)phase * 1.46291807926715968e-9f;  // 2 pi / 2^32
    }

    return make_float4(cos_fast(angle[0]) * factor, sin_fast(angle[0]) * factor, cos_fast(angle[1]) * factor, sin_fast(angle[1]) * factor);
}

// q . k of the warp's tokens over its channels: scores[token][head]
__device__ __forceinline__ void score_tile(const Args& args, const Task& task, const BasisPart& basis, const BasisShared& of_head,
                                           const u8* latents, const int* position, const u64* turns, Tile& tile) {
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    int n = warp % N_WARPS, first_token = warp / N_WARPS * WARP_TOKENS;
    // right operand: column g is query head g of the group
    u32 q[2][2];
    const u16* query = query_of(args, task) + (g < G ? g : 0) * DH + t * 2;
#pragma unroll
    for (int k = 0; k < 2; k++)
#pragma unroll
        for (int e = 0; e < 2; e++)
            q[k][e] = g < G ? *(const u32*)(query + group_channel(k * 2 + e)) : 0;

#pragma unroll
    for (int step = 0; step < M_TILES / M_STEP; step++) {
        float keys[M_STEP][4][4];
        rebuild_keys(keys, latents, first_token / 16 + step * M_STEP, basis, of_head);
#pragma unroll
        for (int m = 0; m < M_STEP; m++) {
            int token = first_token + (step * M_STEP + m) * 16 + g;
            rotate_keys(keys[m], [&](int h, int channel) { return turn_by(turns + channel, position[token + h * 8], args.rope_factor); });
            float score[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
            for (int k = 0; k < 2; k++) {
                u32 high[4], low[4];
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    float x = keys[m][k * 2 + (e >> 1)][(e & 1) * 2], y = keys[m][k * 2 + (e >> 1)][(e & 1) * 2 + 1];
                    high[e] = narrow2(x, y);
                    low[e] = narrow2(x - widen_low(high[e]), y - widen_high(high[e]));
                }

                multiply_add(score, low[0], low[1], low[2], low[3], q[k][0], q[k][1]);
                multiply_add(score, high[0], high[1], high[2], high[3], q[k][0], q[k][1]);
            }

            if (t * 2 < G) {
                *(float2*)&tile.scores[n][token][t * 2] = make_float2(score[0], score[1]);
                *(float2*)&tile.scores[n][token + 8][t * 2] = make_float2(score[2], score[3]);
            }
        }
    }
}

// A warp takes heads w and w + 4: probabilities of the tile's tokens, their largest score and their sum.
__device__ __forceinline__ void soften_tile(const Args& args, Tile& tile, int count) {
    int lane = threadIdx.x & 31;
    for (int head = threadIdx.x >> 5; head < G; head += 4) {
        float score[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float sum = 0.f;
#pragma unroll
            for (int n = 0; n < N_WARPS; n++)
                sum += tile.scores[n][lane + i * 32][head];
            score[i] = lane + i * 32 < count ? sum * args.scale : NOTHING;
        }

        float m = warp_max(fmaxf(score[0], score[1]));
        float p0 = exp2_fast(score[0] - m), p1 = exp2_fast(score[1] - m);
        tile.p[head][lane] = p0, tile.p[head][lane + 32] = p1;
        float l = warp_sum(p0 + p1);
        if (lane == 0)
            tile.ml[head] = make_float2(m, l);
    }
}

// o[j]: channels 32 n + 8 t + 2 j, + 1 of head g, over the warp's tokens
__device__ __forceinline__ void weigh_values(const Tile& tile, const u8* codes, const u32* scales, float (&o)[4][4]) {
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    int n = warp % N_WARPS, first_token = warp / N_WARPS * WARP_TOKENS;
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            o[j][e] = 0.f;

#pragma unroll
    for (int k = 0; k < M_TILES; k++) {
        // the lane's tokens: t, t + 4, t + 8, t + 12 of sixteen, in this order in both operands
        int token = first_token + k * 16 + t;
        float p[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            p[i] = g < G ? tile.p[g < G ? g : 0][token + i * 4] : 0.f;
        if constexpr (VALUE_BITS == 16) {
            u32 a0 = half2_of(p[0], p[1]), a2 = half2_of(p[2], p[3]);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                u32 v[4];
#pragma unroll
                for (int i = 0; i < 4; i++)
                    v[i] = *(const u16*)(codes + (token + i * 4) * VALUE_STRIDE + (n * 32 + (g >> 1) * 8 + j * 2 + (g & 1)) * 2);
                multiply_add_half(o[j], a0, 0, a2, 0, v[0] | v[1] << 16, v[2] | v[3] << 16);
            }
        } else {
            CodeFields fields[4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                fields[i] = load_codes(codes + (token + i * 4) * VALUE_STRIDE, n * 32, g);
                p[i] *= half_low(scales[(token + i * 4) * HEAD_GROUPS + n * 32 / VALUE_GROUP]);
            }

            u32 a0 = narrow2(p[0], p[1]), a2 = narrow2(p[2], p[3]);
            u32 low01 = fields[0].low | fields[1].low << 16, low23 = fields[2].low | fields[3].low << 16;
            u32 high01 = fields[0].high | fields[1].high << 16, high23 = fields[2].high | fields[3].high << 16;
#pragma unroll
            for (int j = 0; j < 4; j++)
                multiply_add(o[j], a0, 0, a2, 0, code_pair(low01, high01, j), code_pair(low23, high23, j));
        }
    }

    if constexpr (VALUE_BITS != 16) {
        // what the zeros and the centre of the codes add is the same for the whole group of channels
        float zeros[WARP_TOKENS / 32];
#pragma unroll
        for (int i = 0; i < WARP_TOKENS / 32; i++) {
            u32 pair = scales[(first_token + lane + i * 32) * HEAD_GROUPS + n * 32 / VALUE_GROUP];
            zeros[i] = fmaf(half_low(pair), (float)CODE_CENTRE, half_high(pair));
        }

        float added = 0.f;
#pragma unroll
        for (int head = 0; head < G; head++) {
            float sum = 0.f;
#pragma unroll
            for (int i = 0; i < WARP_TOKENS / 32; i++)
                sum += tile.p[head][first_token + lane + i * 32] * zeros[i];
            sum = warp_sum(sum);
            added = g == head ? sum : added;
        }

#pragma unroll
        for (int j = 0; j < 4; j++)
            o[j][0] += added, o[j][1] += added;
    }
}

__device__ __forceinline__ int tile_count(const Task& task) {
    return min(TILE, selected_count(task.length) - (task.item - exact_runs(task.length)) * TILE);
}

__device__ __forceinline__ void fetch_tile(const Args& args, const Task& task, const Tokens& tokens, u8* buffer) {
    u32 latents = shared_address(buffer), codes = latents + LATENT_TILE_BYTES;
    const u8* layer = args.pages + args.latent_offset;
    int count = tile_count(task);
    fetch_latents(latents, layer, tokens.page, tokens.position, count);
    fetch_values<TILE, 128>(codes, codes + VALUE_TILE_BYTES, layer, tokens.page, tokens.position, count, task.kv_head);
}

// wide: room for the widened latents, where WIDE_TILE
__device__ __forceinline__ void attend_tile(const Args& args, const Partials& partials, const Task& task, const BasisPart& basis,
                                            const BasisShared& of_head, const u8* buffer, u8* wide, const Tokens& tokens, const u64* turns,
                                            Tile& tile) {
    const u8 *latents = buffer, *codes = latents + LATENT_TILE_BYTES;
    const u32* scales = (const u32*)(codes + VALUE_TILE_BYTES);
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    if constexpr (WIDE_TILE) {
        widen_tile(wide, latents);
        __syncthreads();
        latents = wide;
    }

    score_tile(args, task, basis, of_head, latents, tokens.position, turns, tile);
    __syncthreads();
    soften_tile(args, tile, tile_count(task));
    __syncthreads();
    float o[4][4];
    weigh_values(tile, codes, scales, o);
    if constexpr (M_WARPS == 2) {
        // the second half of the tokens is added to the first
        if (warp >= N_WARPS && g < G) {
#pragma unroll
            for (int j = 0; j < 4; j++)
                *(float2*)&tile.half_o[g][warp % N_WARPS * 32 + t * 8 + j * 2] = make_float2(o[j][0], o[j][1]);
        }

        __syncthreads();
        if (warp < N_WARPS && g < G) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                float2 other = *(const float2*)&tile.half_o[g][warp * 32 + t * 8 + j * 2];
                o[j][0] += other.x, o[j][1] += other.y;
            }
        }
    }

    if (warp < N_WARPS && g < G) {
        i64 head = (i64)task.entry * HQ + task.kv_head * G + g;
        float4* to = (float4*)(partials.o + head * DH + warp * 32 + t * 8);
        to[0] = make_float4(o[0][0], o[0][1], o[1][0], o[1][1]);
        to[1] = make_float4(o[2][0], o[2][1], o[3][0], o[3][1]);
        if (warp == 0 && t == 0)
            partials.ml[head] = tile.ml[g];
    }
}

// Counts the block's tasks in, all of one (row, KV head, group) at once, and merges the groups they complete.
__device__ __forceinline__ void arrive_tasks(const Args& args, const Partials& partials, const Task* tasks, int count, int* complete,
                                             MergeScratch& scratch) {
    __threadfence();
    __syncthreads();
    int i = threadIdx.x;
    if (i < count) {
        Task task = tasks[i];
        int items = attend_items(task.length), n = 0;
        auto same = [&](int k) {
            return tasks[k].row == task.row && tasks[k].kv_head == task.kv_head && tasks[k].item / MERGE_GROUP == task.item / MERGE_GROUP;
        };
        if (items > 1 && (i == 0 || !same(i - 1))) {
            do
                n++;
            while (i + n < count && same(i + n));
        }

        bool last = false;
        if (n > 0) {
            MergeGroup group = merge_group(args.row_first[task.row], task.item, items);
            int* ticket = partials.run_ticket + (i64)group.first * HK + task.kv_head;
            last = atomicAdd(ticket, n) == group.count - n;
            if (last)
                *ticket = 0;
        }

        complete[i] = last;
        __threadfence();
    }

    __syncthreads();
    for (int k = 0; k < count; k++) {
        if (complete[k]) {
            Task task = tasks[k];
            int row_first = args.row_first[task.row];
            complete_group(partials, args.o, scratch, merge_group(row_first, task.item, attend_items(task.length)), row_first, task.row,
                           task.kv_head);
            __syncthreads();
        }
    }
}

extern "C" __global__ void __launch_bounds__(128, 2) sparse_attend(const __grid_constant__ Args args) {
    extern __shared__ __align__(128) u8 shared[];
    __shared__ Task tasks[TASKS];
    __shared__ Tokens tokens[TASKS];
    __shared__ int complete[TASKS];
    __shared__ __align__(16) u64 turns[DH / 2];
    __shared__ Tile tile;
    __shared__ BasisShared of_head;
    __shared__ float2 warp_ml[4][G];
    __shared__ MergeScratch scratch;
    Partials partials = {args.partial, args.partial_ml, args.run_ticket, args.row_ticket};
    int tid = threadIdx.x;
    if (tid < DH / 2)
        turns[tid] = args.turns[tid];
    // in shared memory, since registers are short while a basis is in them
    __shared__ volatile int begin, end, count;
    if (tid == 0) {
        i64 total = (i64)*args.work_count * HK;
        begin = (int)(total * blockIdx.x / gridDim.x);
        end = (int)(total * (blockIdx.x + 1) / gridDim.x);
    }

    __syncthreads();
    while (begin < end) {
        int entries = *args.work_count;
        if (tid == 0)
            count = min(TASKS, end - begin);
        __syncthreads();
        if (tid < count) {
            int index = begin + tid, kv_head = index / entries, entry = index - kv_head * entries;
            int2 work = args.work[entry];
            tasks[tid] = {entry, kv_head, work.x, work.y, args.position[work.x] + 1};
        }

        __syncthreads();
        for (int i = tid; i < count * TILE; i += 128) {
            Task task = tasks[i / TILE];
            int nth = (task.item - exact_runs(task.length)) * TILE + i % TILE, position = 0;
            u32 page = 0;
            if (nth >= 0 && nth < selected_count(task.length)) {
                position = needs_scores(task.length) ? args.selected[(i64)task.row * YMAX + nth] : sink_count(task.length) + nth;
                page = args.latent_table[(i64)args.slot[task.row] * MAXP + position / PAGE_SIZE];
            }

            tokens[i / TILE].position[i % TILE] = position;
            tokens[i / TILE].page[i % TILE] = page;
        }

        // runs first: they need no basis, whose registers they can use
        auto is_run = [&](int i) { return tasks[i].item < exact_runs(tasks[i].length); };
        for (int i = 0; i < count; i++) {
            if (is_run(i))
                attend_run(args, partials, tasks[i], shared, warp_ml);
        }

        __syncthreads();
        // loaded in any case: a value that is undefined on some way into the loop costs registers everywhere
        BasisPart basis;
        int loaded = tasks[0].kv_head;
        load_basis(basis, args.reconstruct, loaded);
        load_shared(of_head, args.mean, args.reconstruct_scale, loaded);
        auto next_tile = [&](int i) {
            do
                i++;
            while (i < count && is_run(i));
            return i;
        };
        u8 *wide = shared, *buffers = shared + WIDE_TILE_BYTES;
        int i = next_tile(-1);
        if (FETCHES == 2 && i < count)
            fetch_tile(args, tasks[i], tokens[i], buffers);
        commit_copies();
        for (int turn = 0; i < count; turn ^= FETCHES - 1) {
            int next = next_tile(i), fetched = FETCHES == 2 ? next : i;
            if (fetched < count)
                fetch_tile(args, tasks[fetched], tokens[fetched], buffers + (FETCHES == 2 ? turn ^ 1 : 0) * FETCH_BYTES);
            commit_copies();
            if (tasks[i].kv_head != loaded) {
                loaded = tasks[i].kv_head;
                load_basis(basis, args.reconstruct, loaded);
                load_shared(of_head, args.mean, args.reconstruct_scale, loaded);
            }

            wait_copies<FETCHES - 1>();
            __syncthreads();
            attend_tile(args, partials, tasks[i], basis, of_head, buffers + turn * FETCH_BYTES, wide, tokens[i], turns, tile);
            __syncthreads();
            i = next;
        }

        wait_copies<0>();
        arrive_tasks(args, partials, tasks, count, complete, scratch);
        __syncthreads();
        if (tid == 0)
            begin = begin + TASKS;
        __syncthreads();
    }
}
