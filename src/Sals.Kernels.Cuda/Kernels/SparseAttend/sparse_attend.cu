// sparse_attend_few, sparse_attend_many — attention of one query per row in a compressed layer: sinks and window exactly, selected latent tokens rebuilt on the way
//   o[b,h] = softmax(q[b,h] . K[t,h/G] / sqrt(DH)) V[t,h/G]   over the sinks, the selected and the window of row b;
//   K[t] = rope(U latent[t] + bias) and V[t] from its codes for selected t, else as hot pages hold them;  G = HQ / HK <= 8
// in   qkv           [B, STRIDE]     bf16   queries [HQ, DH] after rope; the rest is not read
//      work          [ITEMS]         i32x2  (row, item of attend_items.cuh), written by plan_step; work_count, row_first likewise
//      position, slot [B]            i32
//      hot_table, latent_table [SLOTS + 1, MAXP]  u32  page offsets in 4-KiB units; 0 = no page
//      pages                         bytes  PageLayout
//      selected      [B, YMAX]       i32    positions ascending, of rows that need scores; other rows select sink_count + i
//      basis         [HK, BASIS_BYTES]      image of U (BasisImage): for int8 latents times their scales and 1 / key_scale, a power of two
//      bias          [D]             f32    what makes U latent a key: the mean, and for int8 latents what widening adds, in units of key_scale
//      turns         [DH/2]          u64    by value: turns per position of each rotary pair, in units of 2^-64;  rope_factor: of cos and sin
// out  o             [B, HQ, DH]     bf16
// tmp  partial       [ITEMS, HQ, DH] f32, partial_ml [ITEMS, HQ] f32x2 (m in base 2, l) of rows with several items, which merge_items joins
// grid (HK * blocks of a KV head)  block 128 * GROUPS (2 or 3, fewer where they do not fit)  smem basis, then GROUPS * (ring, parts, tokens, tasks)    a warpgroup takes every GROUPS * blocks-th item
// math f32 accumulation; keys rotated in f32, rounded to bf16 for q . k as cached keys are; base-2 softmax; probabilities and values in bf16 (of selected
//      tokens in fp16) for their product; parts merged in order: of warps, then of items, so a row's result depends on its own tokens alone
// cost 2 D R operations per selected token; reads its latent (R) for each KV head from L2, its packed values, 4 D bytes per exact token
// defs DH, HQ, HK, MAXP, R, RS, SINK, RECENT, SPARSITY, CRIT_MIN, CRIT_MAX, DENSE_BELOW, VALUE_BITS, VALUE_GROUP, LATENT_INT8, YMAX,
//      MERGE_GROUPS
//      oracle Reference.SparseAttend · launcher SparseAttendKernel
#include "attend_items.cuh"
#include "chain.cuh"
#include "latent_keys.cuh"
#include "reduce.cuh"
#include "token_values.cuh"

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
    const u8* basis;
    const float* bias;
    float* partial;
    float2* partial_ml;
    u16* o;
    u32 hot_offset;
    u32 latent_offset;
    int qkv_stride;
    float scale;
    float key_scale;
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
CHECK_FIELD(Args, basis);
CHECK_FIELD(Args, bias);
CHECK_FIELD(Args, partial);
CHECK_FIELD(Args, partial_ml);
CHECK_FIELD(Args, o);
CHECK_FIELD(Args, hot_offset);
CHECK_FIELD(Args, latent_offset);
CHECK_FIELD(Args, qkv_stride);
CHECK_FIELD(Args, scale);
CHECK_FIELD(Args, key_scale);
CHECK_FIELD(Args, rope_factor);
CHECK_FIELD(Args, turns);

constexpr int G = HQ / HK;
static_assert(HQ % HK == 0 && G <= 8, "at most 8 query heads share a KV head");
static_assert(PAGE_SIZE == ATTEND_TILE && ATTEND_RUN_PAGES == 4, "a warp takes 16 tokens of a tile, and one page of a run");
constexpr float NOTHING = -1e30f;  // m of no tokens; finite, so that differences are

// parts of four warps: [4, G, 8] pieces of LANE_CHANNELS numbers, 4 apart from each other so that eight lanes store to different banks; then (m, l)
constexpr int PIECE = LANE_CHANNELS + 4;
constexpr int PARTS_BYTES = 4 * G * (8 * PIECE * 4 + 8);

// one item of the block's KV head
struct Task {
    int entry, row, item, length;
    int first;   // of the selected tokens of a tile
    int tokens;  // of a tile
    bool alone;  // all of its row
};

constexpr int TASKS = 16;  // of a warpgroup, looked up at once
constexpr int GROUP_BYTES = RING_BYTES + (PARTS_BYTES + 127) / 128 * 128 + TASKS * (ATTEND_TILE * 8 + sizeof(Task));
// Whether the basis fits in shared memory, and warpgroups of a block. In C#: SparseAttendKernel. Two have the registers to take a tile in the least time, three
// take the most tiles, where all their operands are close.
constexpr bool BASIS_FITS = BASIS_BYTES + GROUP_BYTES <= MOST_SHARED;
#if __CUDA_ARCH__ >= 900
constexpr int FEW_GROUPS = 2, MOST_GROUPS = BASIS_FITS ? 3 : 2;
#else
constexpr int FEW_GROUPS = 2, MOST_GROUPS = 2;
#endif
constexpr int HELD_BYTES = BASIS_FITS ? BASIS_BYTES : 0;
constexpr int FITTING = (MOST_SHARED - HELD_BYTES) / GROUP_BYTES;
constexpr int fitting_groups(int groups) { return FITTING < groups ? FITTING : groups; }
static_assert(sizeof(Task) == 28, "the launcher's arithmetic");
static_assert(FITTING >= 1, "a warpgroup's latents fit in shared memory");

struct Common {
    __align__(16) FirstKeys first_keys;
    __align__(16) u64 turns[DH / 2];
};

// What a warp knows of the query heads after some tokens: maximum m (base 2), this lane's share of the sum l, and the weighed values.
struct State {
    Weighed o;
    float m, l;
};

__device__ __forceinline__ void clear(State& state) {
#pragma unroll
    for (int k = 0; k < LANE_CHANNELS / 2; k++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            state.o[k][e] = 0.f;
    state.m = NOTHING, state.l = 0.f;
}

// Left operand of the scores, row g = query head g: query[k] is channels channel_of(2 k).. + 3, two a word.
struct Query {
    u32 pair[DH / 16][2];
};

__device__ __forceinline__ void load_query(Query& query, const Args& args, int row, int kv_head) {
    int g = threadIdx.x >> 2 & 7;
    const u16* from = args.qkv + (i64)row * args.qkv_stride + (kv_head * G + (g < G ? g : 0)) * DH;
#pragma unroll
    for (int k = 0; k < DH / 16; k += 2) {
        uint4 v = g < G ? *(const uint4*)(from + channel_of(2 * k)) : make_uint4(0, 0, 0, 0);
        query.pair[k][0] = v.x, query.pair[k][1] = v.y, query.pair[k + 1][0] = v.z, query.pair[k + 1][1] = v.w;
    }
}

// Scores of 16 tokens: score[n][e] is token 8 n + 2 t + e by head g. Tokens at or past `count` weigh nothing. Leaves the weights p, unrounded.
template <bool FIRST>
__device__ __forceinline__ void soften(State& state, const float (&score)[2][4], float (&p)[2][2], int count, float scale) {
    int t = threadIdx.x & 3;
    float top = state.m;
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            p[n][e] = n * 8 + t * 2 + e < count ? score[n][e] * scale : NOTHING;
            top = fmaxf(top, p[n][e]);
        }

    top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 1));
    top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 2));
    float sum = 0.f;
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int e = 0; e < 2; e++)
            sum += p[n][e] = exp2_fast(p[n][e] - top);
    if constexpr (FIRST) {
        state.l = sum;
    } else {
        float kept = exp2_fast(state.m - top);
        float of_heads[2] = {__shfl_sync(FULL_MASK, kept, t * 8), __shfl_sync(FULL_MASK, kept, t * 8 + 4)};
        state.l = state.l * kept + sum;
#pragma unroll
        for (int k = 0; k < LANE_CHANNELS / 2; k++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                state.o[k][e] *= of_heads[e % 2];
    }

    state.m = top;
}

// Joins the four warps' states in order and leaves the item's part, or the row's result where the item is all of it.
__device__ __forceinline__ void finish(const Args& args, const Task& task, int kv_head, float* parts, const State& state) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, warp = threadIdx.x >> 5 & 3, group = threadIdx.x >> 7;
    float2* parts_ml = (float2*)(parts + 4 * G * 8 * PIECE);
    float l = state.l + __shfl_xor_sync(FULL_MASK, state.l, 1);
    l += __shfl_xor_sync(FULL_MASK, l, 2);
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");  // the item before has been read
#pragma unroll
    for (int e = 0; e < 2; e++) {
        if (t * 2 + e < G) {
            float* to = parts + ((warp * G + t * 2 + e) * 8 + g) * PIECE;
#pragma unroll
            for (int k = 0; k < LANE_CHANNELS / 2; k += 2)
                *(float4*)(to + k * 2) = make_float4(state.o[k][e], state.o[k][2 + e], state.o[k + 1][e], state.o[k + 1][2 + e]);
        }
    }

    if (t == 0 && g < G)
        parts_ml[warp * G + g] = make_float2(state.m, l);
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
    int d = lane * 4;
    for (int head = warp; head < G && d < DH; head += 4) {
        float2 ml[4];
        float top = NOTHING, total = 0.f;
        float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll
        for (int w = 0; w < 4; w++) {
            ml[w] = parts_ml[w * G + head];
            top = fmaxf(top, ml[w].x);
        }

#pragma unroll
        for (int w = 0; w < 4; w++) {
            float weight = exp2_fast(ml[w].x - top);
            float4 v = *(const float4*)(parts + ((w * G + head) * 8 + d / LANE_CHANNELS) * PIECE + d % LANE_CHANNELS);
            total += ml[w].y * weight;
            sum.x += v.x * weight, sum.y += v.y * weight, sum.z += v.z * weight, sum.w += v.w * weight;
        }

        if (task.alone) {
            float inverse = 1.f / total;
            *(uint2*)(args.o + ((i64)task.row * HQ + kv_head * G + head) * DH + d) =
                make_uint2(narrow2(sum.x * inverse, sum.y * inverse), narrow2(sum.z * inverse, sum.w * inverse));
        } else {
            i64 part = (i64)task.entry * HQ + kv_head * G + head;
            __stcg((float4*)(args.partial + part * DH + d), sum);
            if (lane == 0)
                args.partial_ml[part] = make_float2(top, total);
        }
    }
}

// K rows of tokens g and g + 8 of a page, as the scores' right operand.
struct ExactKeys {
    u32 pair[2][DH / 8][2];
};

// Tokens of a page from `first` on, [PAGE_SIZE, HK, DH]; those behind the last repeat it, so that nothing else is read.
__device__ __forceinline__ void load_keys(ExactKeys& keys, const u16* page, int first, int count) {
    int g = threadIdx.x >> 2 & 7;
#pragma unroll
    for (int n = 0; n < 2; n++) {
        const u16* row = page + (i64)min(first + n * 8 + g, count - 1) * (HK * DH);
#pragma unroll
        for (int k = 0; k < DH / 16; k += 2) {
            uint4 v = load_stream(row + channel_of(2 * k));
            keys.pair[n][k][0] = v.x, keys.pair[n][k][1] = v.y, keys.pair[n][k + 1][0] = v.z, keys.pair[n][k + 1][1] = v.w;
        }
    }
}

__device__ __forceinline__ void load_values(WholeValues& values, const u16* page, int first, int count) {
#pragma unroll
    for (int i = 0; i < 4; i++)
        load_whole(values, i, page + (i64)min(first + lane_token(i), count - 1) * (HK * DH));
}

// A run: each warp one page of exact keys and values, 16 tokens at a time.
__device__ __forceinline__ void attend_run(const Args& args, const Task& task, int kv_head, float* parts) {
    int warp = threadIdx.x >> 5 & 3, sinks = sink_count(task.length), nth = task.item * ATTEND_RUN_PAGES + warp;
    int index = sinks > 0 ? (nth == 0 ? 0 : latent_pages(task.length) + nth - 1) : latent_pages(task.length) + nth;
    int count = sinks > 0 && nth == 0 ? sinks : min(max(task.length - index * PAGE_SIZE, 0), PAGE_SIZE);
    State state;
    clear(state);
    if (count > 0) {
        u32 id = args.hot_table[(i64)args.slot[task.row] * MAXP + index];
        const u16* key_page = key_plane((u8*)args.pages, id, args.hot_offset) + kv_head * DH;
        const u16* value_page = key_page + PAGE_SIZE * HK * DH;
        Query query;
        load_query(query, args, task.row, kv_head);
        ExactKeys keys;
        WholeValues values;
#pragma unroll 1
        for (int first = 0; first < count; first += 16) {
            // no further ahead: registers for three warpgroups a block are worth more
            load_keys(keys, key_page, first, count);
            load_values(values, value_page, first, count);
            float score[2][4], p[2][2];
#pragma unroll
            for (int n = 0; n < 2; n++) {
                score[n][0] = score[n][1] = score[n][2] = score[n][3] = 0.f;
#pragma unroll
                for (int k = 0; k < DH / 16; k++)
                    multiply_add(score[n], query.pair[k][0], 0, query.pair[k][1], 0, keys.pair[n][k][0], keys.pair[n][k][1]);
            }

            soften<false>(state, score, p, count - first, args.scale);
            weigh_whole<false>(state.o, values, narrow2(p[0][0], p[0][1]), narrow2(p[1][0], p[1][1]));
        }
    }

    finish(args, task, kv_head, parts, state);
}

// Where a selected token lies.
struct Token {
    u32 position;
    u32 page;
};

// Tokens behind the tile's last repeat it, so that nothing else is read; they weigh nothing.
__device__ __forceinline__ u32 find_position(const Args& args, const Task& task, int token) {
    int nth = task.first + min(token, task.tokens - 1);
    return needs_scores(task.length) ? args.selected[(i64)task.row * YMAX + nth] : sink_count(task.length) + nth;
}

// tokens: of the warp's sixteen
__device__ __forceinline__ void set_rows(LatentRows& rows, const Args& args, const Token* tokens) {
    int g = threadIdx.x >> 2 & 7;
#pragma unroll
    for (int h = 0; h < 2; h++)
        set_row(rows, h, args.pages + args.latent_offset, tokens[g + h * 8].page, tokens[g + h * 8].position % PAGE_SIZE);
}

// (cos, sin) of two rotary pairs at a position: the phase is exact to 2^-32 turns, sine and cosine to 2^-20; cheaper than reading them, which would be
// more bytes than the latents
__device__ __forceinline__ float4 turn_by(const u64* turns, u32 position) {
    ulonglong2 pair = *(const ulonglong2*)turns;
    float angle[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        u64 each = i ? pair.y : pair.x;
        u32 phase = position * (u32)(each >> 32) + __umulhi(position, (u32)each);
        angle[i] = (float)(int)phase * 1.46291807926715968e-9f;  // 2 pi / 2^32
    }

    return make_float4(cos_fast(angle[0]), sin_fast(angle[0]), cos_fast(angle[1]), sin_fast(angle[1]));
}

// A tile of 64 selected tokens; tokens: the warp's sixteen. ahead(c): see rebuild_keys.
template <typename Ahead>
__device__ __forceinline__ void attend_tile(const Args& args, const Task& task, int kv_head, const Token* tokens, const Common& common, u32 ring,
                                            u32 basis, float* parts, Ahead ahead) {
    int lane = threadIdx.x & 31, g = lane >> 2, warp = threadIdx.x >> 5 & 3;
    Keys keys;
    begin_keys(keys, common.first_keys);
    rebuild_keys<BASIS_FITS>(keys, ring, basis, args.basis + (i64)kv_head * BASIS_BYTES, ahead);
    // only now: registers are scarce while keys are rebuilt, and their rotation takes longer than these loads
    Query query;
    load_query(query, args, task.row, kv_head);
    const u8* layer = args.pages + args.latent_offset;
    [[maybe_unused]] CodedValues coded;
    [[maybe_unused]] WholeValues whole;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        Token token = tokens[lane_token(i)];
        u32 at = token.position % PAGE_SIZE;
        const u8* page = layer + (u64)token.page * PAGE_UNIT;
        const u8* values = page + VALUE_PLANE + at * VALUE_ROW + kv_head * HEAD_VALUE_BYTES;
        if constexpr (VALUE_BITS == 16)
            load_whole(whole, i, (const u16*)values);
        else
            load_coded(coded, i, values, page + SCALE_PLANE + at * SCALE_ROW + kv_head * (HEAD_GROUPS * 4));
    }

    u32 position[2] = {tokens[g].position, tokens[g + 8].position};
    float score[2][4], p[2][2];
#pragma unroll
    for (int n = 0; n < 2; n++)
        score[n][0] = score[n][1] = score[n][2] = score[n][3] = 0.f;
#pragma unroll
    for (int j = 0; j < DH / 16; j++) {
        rotate_pair(keys, j, [&](int h) { return turn_by(common.turns + channel_of(j), position[h]); });
        if (j % 2 == 1) {
#pragma unroll
            for (int k = j / 2; k < DH / 16; k += DH / 32)
#pragma unroll
                for (int n = 0; n < 2; n++)
                    multiply_add(score[n], query.pair[k][0], 0, query.pair[k][1], 0, narrow2(keys[2 * k][2 * n], keys[2 * k][2 * n + 1]),
                                 narrow2(keys[2 * k + 1][2 * n], keys[2 * k + 1][2 * n + 1]));
        }
    }

    State state;
    clear(state);
    soften<true>(state, score, p, task.tokens - warp * 16, args.scale * args.key_scale * args.rope_factor);
    u32 p0 = half2_of(p[0][0], p[0][1]), p1 = half2_of(p[1][0], p[1][1]);
    if constexpr (VALUE_BITS == 16)
        weigh_whole<true>(state.o, whole, p0, p1);
    else
        weigh_coded(state.o, coded, p0, p1);
    finish(args, task, kv_head, parts, state);
}

template <int GROUPS>
__device__ __forceinline__ void attend(const Args& args) {
    constexpr int THREADS = GROUPS * 128;
    extern __shared__ __align__(1024) u8 shared[];
    __shared__ Common common;
    int thread = threadIdx.x & 127, warp = thread >> 5, group = threadIdx.x >> 7;
    int kv_head = blockIdx.x % HK, slots = gridDim.x / HK * GROUPS, slot = group * (gridDim.x / HK) + blockIdx.x / HK;
    u8* own = shared + HELD_BYTES + group * GROUP_BYTES;
    u32 basis = shared_address(shared), ring = shared_address(own);
    Token* tokens = (Token*)(own + RING_BYTES);  // [TASKS, ATTEND_TILE]
    Task* tasks = (Task*)(own + RING_BYTES + TASKS * ATTEND_TILE * sizeof(Token));
    float* parts = (float*)(tasks + TASKS);
    release_successor();
    int entries = *args.work_count;
    prepare_keys<THREADS>(common.first_keys, args.bias, kv_head);
    for (int i = threadIdx.x; i < DH / 2; i += THREADS)
        common.turns[i] = args.turns[i];

    // Of the warpgroup's next tasks, bits in `tiles` and `runs`.
    u32 tiles, runs;
    auto look_up = [&](int first) {
        int lane = threadIdx.x & 31;
        int entry = first + lane * slots;
        bool some = lane < TASKS && entry < entries;
        Task task;
        if (some) {
            int2 work = args.work[entry];
            int length = args.position[work.x] + 1, before = (work.y - exact_runs(length)) * ATTEND_TILE;
            task = {entry, work.x, work.y, length, before, min(ATTEND_TILE, selected_count(length) - before), attend_items(length) == 1};
        }

        tiles = __ballot_sync(FULL_MASK, some && task.first >= 0), runs = __ballot_sync(FULL_MASK, some) & ~tiles;
        if (warp == 0 && some)
            tasks[lane] = task;
    };
    auto sync_group = [&] { asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory"); };
    look_up(slot);
    bool wants_basis = __syncthreads_or(tiles != 0 || slot + TASKS * slots < entries), ready = false;
    if (BASIS_FITS && wants_basis)
        fetch_basis<THREADS>(basis, args.basis, kv_head);
    commit_copies();
    wait_predecessor();
    for (int first = slot;;) {
        // all tasks' tokens at once: a chain of reads that is waited for once
        constexpr int EACH = 4;  // of a thread in flight
#pragma unroll 1
        for (int begin = thread; begin < TASKS * ATTEND_TILE; begin += EACH * 128) {
            Token token[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                int at = begin + i * 128;
                if (tiles >> (at / ATTEND_TILE) & 1)
                    token[i].position = find_position(args, tasks[at / ATTEND_TILE], at % ATTEND_TILE);
            }

#pragma unroll
            for (int i = 0; i < EACH; i++) {
                int at = begin + i * 128;
                if (tiles >> (at / ATTEND_TILE) & 1)
                    token[i].page = args.latent_table[(i64)args.slot[tasks[at / ATTEND_TILE].row] * MAXP + token[i].position / PAGE_SIZE];
            }

#pragma unroll
            for (int i = 0; i < EACH; i++) {
                if (tiles >> ((begin + i * 128) / ATTEND_TILE) & 1)
                    tokens[begin + i * 128] = token[i];
            }
        }

        sync_group();
        auto tokens_of = [&](u32 some) { return tokens + (__ffs(some) - 1) * ATTEND_TILE + warp * 16; };
        LatentRows rows;
        if (tiles) {
            set_rows(rows, args, tokens_of(tiles));
#pragma unroll
            for (int c = 0; c < RING_CHUNKS; c++) {
                fetch_chunk(ring, c, rows);
                commit_copies();
            }
        }

        if (!ready && wants_basis) {
            if (tiles)
                wait_copies<RING_CHUNKS>();
            else
                wait_copies<0>();
            publish_basis();
            __syncthreads();
            ready = true;
        }

        for (; runs; runs &= runs - 1)
            attend_run(args, tasks[__ffs(runs) - 1], kv_head, parts);
        while (tiles) {
            u32 next = tiles & (tiles - 1);
            if (RING_CHUNKS == CHUNKS && next)
                set_rows(rows, args, tokens_of(next));
            attend_tile(args, tasks[__ffs(tiles) - 1], kv_head, tokens_of(tiles), common, ring, basis, parts, [&](int c) {
                if (RING_CHUNKS < CHUNKS && c == CHUNKS - RING_CHUNKS && next)
                    set_rows(rows, args, tokens_of(next));
                if (c + RING_CHUNKS < CHUNKS || next)
                    fetch_chunk(ring, (c + RING_CHUNKS) % CHUNKS, rows);
                commit_copies();
            });
            tiles = next;
        }

        wait_copies<0>();
        first += TASKS * slots;
        if (first >= entries)
            break;
        sync_group();  // the tasks before have been read
        look_up(first);
        sync_group();
    }
}

extern "C" __global__ void __launch_bounds__(fitting_groups(FEW_GROUPS) * 128, 1) sparse_attend_few(const __grid_constant__ Args args) {
    attend<fitting_groups(FEW_GROUPS)>(args);
}

extern "C" __global__ void __launch_bounds__(fitting_groups(MOST_GROUPS) * 128, 1) sparse_attend_many(const __grid_constant__ Args args) {
    attend<fitting_groups(MOST_GROUPS)>(args);
}

#include "merge_items.cuh"
