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
//      rope          [positions, DH/2]  f32x2  (cos, sin)
// out  o             [B, HQ, DH]     bf16
// tmp  partial, partial_ml, run_ticket, row_ticket  as partials.cuh has them
// grid (SMS * OCCUPANCY)  block 128  smem max(4 rings of exact tokens, one tile)    a block takes a contiguous part of (KV head, item), runs first
// math f32 accumulation, keys rotated in f32 and split into two bf16 (2^-17) for q . k, base-2 softmax of each item, probability times value scale
//      rounded to bf16 for the product with the codes; items merged in order: a row's result depends on its own tokens alone
// cost 2 D R operations per selected token; reads its latent (R) for each KV head from L2, its packed values, 4 D bytes per exact token
// defs DH, HQ, HK, MAXP, R, RS, SINK, RECENT, SPARSITY, CRIT_MIN, CRIT_MAX, DENSE_BELOW, VALUE_BITS, VALUE_GROUP, LATENT_INT8, YMAX
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
    const u16* reconstruct;
    const float* mean;
    const float2* rope;
    float* partial;
    float2* partial_ml;
    int* run_ticket;
    int* row_ticket;
    u16* o;
    u32 hot_offset;
    u32 latent_offset;
    int qkv_stride;
    float scale;
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
CHECK_FIELD(Args, mean);
CHECK_FIELD(Args, rope);
CHECK_FIELD(Args, partial);
CHECK_FIELD(Args, partial_ml);
CHECK_FIELD(Args, run_ticket);
CHECK_FIELD(Args, row_ticket);
CHECK_FIELD(Args, o);
CHECK_FIELD(Args, hot_offset);
CHECK_FIELD(Args, latent_offset);
CHECK_FIELD(Args, qkv_stride);
CHECK_FIELD(Args, scale);

static_assert(TILE == ATTEND_TILE && PAGE_SIZE == TILE, "tiles of the work list");
static_assert(ATTEND_RUN_PAGES == 4, "a warp takes one page of a run");
constexpr i64 MOST_EXACT = ((i64)MAXP * PAGE_SIZE < DENSE_BELOW ? (i64)MAXP * PAGE_SIZE : DENSE_BELOW) + RECENT + 2 * PAGE_SIZE;
static_assert(MOST_EXACT / (ATTEND_RUN_PAGES * PAGE_SIZE) + 1 + (YMAX + TILE - 1) / TILE <= MAX_GROUPS * MERGE_GROUP, "a row has at most 2,048 items");

// one item of one KV head
struct Task {
    int entry, kv_head, row, item, length;
};

constexpr int TASKS = 128;  // looked up at once
constexpr int P_STRIDE = TILE + 4;

// A tile but for its latents, codes and scales, which lie in dynamic shared memory.
struct Tile {
    u64 at[TILE];
    int position[TILE];
    float scores[N_WARPS][TILE][8];
    float p[8][P_STRIDE];
    float2 ml[8];
    float half_o[M_WARPS - 1 + (M_WARPS == 1)][M_WARPS == 1 ? 1 : 8][DH];
};
constexpr int VALUE_TILE_BYTES = TILE * VALUE_STRIDE, SCALE_TILE_BYTES = TILE * SCALE_STRIDE;
constexpr int TILE_BYTES = LATENT_TILE_BYTES + VALUE_TILE_BYTES + SCALE_TILE_BYTES;
static_assert((TILE_BYTES > 4 * RING_BYTES ? TILE_BYTES : 4 * RING_BYTES) == SHARED_BYTES, "the launcher's arithmetic");
static_assert(LATENT_TILE_BYTES % 16 == 0 && VALUE_TILE_BYTES % 16 == 0 && SCALE_TILE_BYTES % 16 == 0, "parts of a tile are aligned");

__device__ __forceinline__ const u16* query_of(const Args& args, const Task& task) {
    return args.qkv + (i64)task.row * args.qkv_stride + task.kv_head * G * DH;
}

__device__ __forceinline__ void attend_run(const Args& args, const Partials& partials, const Task& task, u8* shared, float2 (&warp_ml)[4][G], MergeScratch& scratch) {
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
    if (items > 1)
        arrive(partials, args.o, scratch, args.row_first[task.row], task.item, items, task.row, task.kv_head);
    __syncthreads();
}

// q . k of the warp's tokens over its channels: scores[token][head]
__device__ __forceinline__ void score_tile(const Args& args, const Task& task, const BasisPart& basis, const u8* latents, Tile& tile) {
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
        rebuild_keys(keys, latents, first_token / 16 + step * M_STEP, basis);
#pragma unroll
        for (int m = 0; m < M_STEP; m++) {
            int token = first_token + (step * M_STEP + m) * 16 + g;
            rotate_keys(keys[m], args.rope, tile.position[token], tile.position[token + 8]);
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

__device__ __forceinline__ void attend_tile(const Args& args, const Partials& partials, const Task& task, const BasisPart& basis, u8* shared, Tile& tile, MergeScratch& scratch) {
    u8 *latents = shared, *codes = latents + LATENT_TILE_BYTES;
    u32* scales = (u32*)(codes + VALUE_TILE_BYTES);
    int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5, g = lane >> 2, t = lane & 3;
    int first = (task.item - exact_runs(task.length)) * TILE, count = min(TILE, selected_count(task.length) - first);
    if (tid < TILE) {
        int position = 0;
        u64 at = 0;
        if (tid < count) {
            position = needs_scores(task.length) ? args.selected[(i64)task.row * YMAX + first + tid] : sink_count(task.length) + first + tid;
            at = (u64)args.latent_table[(i64)args.slot[task.row] * MAXP + position / PAGE_SIZE] * PAGE_UNIT + args.latent_offset;
        }

        tile.position[tid] = position;
        tile.at[tid] = at;
    }

    __syncthreads();
    fetch_latents(shared_address(latents), args.pages, tile.at, tile.position, count);
    commit_copies();
    fetch_values<TILE, 128>(shared_address(codes), shared_address(scales), args.pages, tile.at, tile.position, count, task.kv_head);
    commit_copies();
    wait_copies<1>();
    __syncthreads();
    score_tile(args, task, basis, latents, tile);
    wait_copies<0>();
    __syncthreads();
    soften_tile(args, tile, count);
    __syncthreads();
    float o[4][4];
    weigh_values(tile, codes, scales, o);
    if constexpr (M_WARPS == 2) {
        // the second half of the tokens is added to the first
        if (warp >= N_WARPS && g < G) {
#pragma unroll
            for (int j = 0; j < 4; j++)
                *(float2*)&tile.half_o[0][g][warp % N_WARPS * 32 + t * 8 + j * 2] = make_float2(o[j][0], o[j][1]);
        }

        __syncthreads();
        if (warp < N_WARPS && g < G) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                float2 other = *(const float2*)&tile.half_o[0][g][warp * 32 + t * 8 + j * 2];
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

    // there is a window, so there are several items
    arrive(partials, args.o, scratch, args.row_first[task.row], task.item, attend_items(task.length), task.row, task.kv_head);
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(128, 2) sparse_attend(const __grid_constant__ Args args) {
    extern __shared__ __align__(128) u8 shared[];
    __shared__ Task tasks[TASKS];
    __shared__ Tile tile;
    __shared__ float2 warp_ml[4][G];
    __shared__ MergeScratch scratch;
    Partials partials = {args.partial, args.partial_ml, args.run_ticket, args.row_ticket};
    int entries = *args.work_count;
    i64 total = (i64)entries * HK;
    int end = (int)(total * (blockIdx.x + 1) / gridDim.x);
    for (int begin = (int)(total * blockIdx.x / gridDim.x); begin < end; begin += TASKS) {
        int count = min(TASKS, end - begin);
        if (threadIdx.x < count) {
            int index = begin + threadIdx.x, kv_head = index / entries, entry = index - kv_head * entries;
            int2 work = args.work[entry];
            tasks[threadIdx.x] = {entry, kv_head, work.x, work.y, args.position[work.x] + 1};
        }

        __syncthreads();
        // runs first: they need no basis, whose registers they can use
        for (int i = 0; i < count; i++) {
            if (tasks[i].item < exact_runs(tasks[i].length))
                attend_run(args, partials, tasks[i], shared, warp_ml, scratch);
        }

        // loaded in any case: a value that is undefined on some way into the loop costs registers everywhere
        BasisPart basis;
        int loaded = tasks[0].kv_head;
        load_basis(basis, args.reconstruct, args.mean, loaded);
        for (int i = 0; i < count; i++) {
            if (tasks[i].item >= exact_runs(tasks[i].length)) {
                if (tasks[i].kv_head != loaded) {
                    loaded = tasks[i].kv_head;
                    load_basis(basis, args.reconstruct, args.mean, loaded);
                }

                attend_tile(args, partials, tasks[i], basis, shared, tile, scratch);
            }
        }

        __syncthreads();
    }
}
