// dense_attend — one query per listed row against every cached token of its slot, in runs as dense_runs.cuh cuts them
//   o[b,h] = softmax(q[b,h] . K[t,h/G] / sqrt(DH)) V[t,h/G]   over t <= position[b],  G = HQ / HK <= 8
// in   qkv        [B, STRIDE]     bf16   queries [HQ, DH] after rope; the rest is not read
//      work       [WORK]          i32x4  (row, run, length, slot), written by plan_step: of every row or of some, whose row_first is not -1; results of the others
//                                        are left alone. work_count, row_first likewise
//      position   [B]             i32
//      page_table [SLOTS, MAXP]   u32    page offsets in 4-KiB units; 0 = no page
//      pages                      bytes  K then V per layer, [64, HK, DH] bf16 each, rows 16-byte aligned; KV_INT8: as head_codes.cuh says
// out  o          [B, HQ, DH]     bf16   rows of one run by dense_attend, the others by merge_runs, which follows it
// tmp  partial    [WORK, HQ, DH]  f32    and partial_ml [WORK, HQ] (m, l), m in base 2
//      claimed    [2]             u32    items claimed, blocks that have ended; 0 before and after
// grid (SMS * OCCUPANCY)  block 128  smem 4 * (STAGES * 64 * DH + G * (DH + 10) * 4 + 128) B, int8 less   (row, KV head, run) items, three given, then claimed
// math f32 accumulation, base-2 softmax, probabilities rounded to bf16 for the product with V. A warp takes every fourth page of the run; the
//      four are merged in order, then the runs: a row's result depends on its own tokens alone
// cost reads 4 * DH * HK bytes per cached token; nothing else matters
// defs DH, HQ, HK, MAXP, KV_INT8 · oracle Reference.DenseAttend · launcher DenseAttendKernel
#include "bf16.cuh"
#include "chain.cuh"
#include "dense_runs.cuh"
#include "head_codes.cuh"
#include "matrix.cuh"
#include "paging.cuh"
#include "reduce.cuh"

struct Args {
    const u16* qkv;
    const int4* work;
    const int* work_count;
    const int* row_first;
    const int* position;
    const u32* page_table;
    const u8* pages;
    float* partial;
    float2* partial_ml;
    u32* claimed;
    u16* o;
    u32 layer_offset;
    u32 peak_offset;
    int qkv_stride;
    float scale;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, qkv);
CHECK_FIELD(Args, work);
CHECK_FIELD(Args, work_count);
CHECK_FIELD(Args, row_first);
CHECK_FIELD(Args, position);
CHECK_FIELD(Args, page_table);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, partial);
CHECK_FIELD(Args, partial_ml);
CHECK_FIELD(Args, claimed);
CHECK_FIELD(Args, o);
CHECK_FIELD(Args, layer_offset);
CHECK_FIELD(Args, peak_offset);
CHECK_FIELD(Args, qkv_stride);
CHECK_FIELD(Args, scale);

constexpr int G = HQ / HK;
constexpr int WARPS = 4;
constexpr int HEAD_STRIDE = DH + 8;  // of a warp's result, in floats: keeps the heads in different banks
constexpr float NOTHING = -1e30f;    // m of no tokens; finite, so that differences are
static_assert(HQ % HK == 0 && G <= 8, "at most 8 query heads share a KV head");
static_assert(DH == 64 || DH == 128, "head sizes 64 and 128");
static_assert(SHORTEST_RUN % (WARPS * PAGE_SIZE) == 0, "a warp takes every fourth page");

#include "merge_runs.cuh"
#include "stages.cuh"
#include "tiles.cuh"

// an 8x8 tile of 16-bit elements: lane (g, t) gives row g, columns 2t and 2t + 1, and gets column g, rows 2t and 2t + 1
__device__ __forceinline__ u32 transpose_tile(u32 pair) {
    u32 result;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
    return result;
}

extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS) dense_attend(const __grid_constant__ Args args) {
    extern __shared__ __align__(128) u8 shared[];
    constexpr int RESULTS = WARPS * STAGES * STAGE_BYTES, SUMS = RESULTS + WARPS * G * HEAD_STRIDE * 4;
    constexpr int TASKS_AT = SUMS + WARPS * G * 8;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    float* warp_o = (float*)(shared + RESULTS);  // [WARPS, G, HEAD_STRIDE]
    float2* warp_ml = (float2*)(shared + SUMS);  // [WARPS, G]
    release_successor();
    Stages stages(args, shared_address(shared) + warp * STAGES * STAGE_BYTES, (Task*)(shared + TASKS_AT), *args.work_count * HK);

    Tiles tiles;
    stages.refill();
    stages.wait_newest();
    Query next;
    bool has_next = false;
    for (int& current = stages.current;; current++) {
        Task task = stages.task(current);
        if (task.item < 0)
            break;
        stages.refill();
        if (warp == (current + GIVEN) % WARPS)
            stages.claim(current + GIVEN);
        if (!has_next)
            next.load(args, task.item);
        has_next = false;
        Query query = next;
        float o[DH / 16][4];  // rows DH, columns heads
#pragma unroll
        for (int j = 0; j < DH / 16; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                o[j][e] = 0.f;
        float m[2] = {NOTHING, NOTHING}, l[2] = {0.f, 0.f};  // of heads 2t and 2t + 1

        for (int left = task.count(); left > 0; left -= TOKENS) {
            stages.refill();
            stages.wait();
            stages.fetch();
            if (left <= TOKENS && stages.ahead > current) {
                next.load(args, stages.task(current + 1).item);
                has_next = true;
            }

            u32 stage = stages.stage;
            float p[4] = {0.f, 0.f, 0.f, 0.f}, odd[4] = {0.f, 0.f, 0.f, 0.f};  // rows tokens, columns heads
#pragma unroll
            for (int k = 0; k < DH / 32; k++) {
                u32 a[2][4];
                tiles.load_keys(a, stage, k);
                multiply_add(p, a[0][0], a[0][1], a[0][2], a[0][3], query.q[k * 2][0], query.q[k * 2][1]);
                multiply_add(odd, a[1][0], a[1][1], a[1][2], a[1][3], query.q[k * 2 + 1][0], query.q[k * 2 + 1][1]);
            }

            // tokens past the end have weight 0: their keys are zeros, so they are masked here, and their values are zeros too
            float shrink[2], low = args.scale * stage_peak(stage, 0, g), high = args.scale * stage_peak(stage, 0, g + 8);
#pragma unroll
            for (int h = 0; h < 2; h++) {
                p[h] = g < left ? (p[h] + odd[h]) * low : NOTHING;
                p[h + 2] = g + 8 < left ? (p[h + 2] + odd[h + 2]) * high : NOTHING;
                float top = fmaxf(m[h], fmaxf(p[h], p[h + 2]));
                top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 4));
                top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 8));
                top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 16));
                shrink[h] = exp2_fast(m[h] - top);
                m[h] = top;
                p[h] = exp2_fast(p[h] - top);
                p[h + 2] = exp2_fast(p[h + 2] - top);
                l[h] = l[h] * shrink[h] + p[h] + p[h + 2];
            }

#pragma unroll
            for (int j = 0; j < DH / 16; j++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    o[j][e] *= shrink[e & 1];
            low = stage_peak(stage, 1, g), high = stage_peak(stage, 1, g + 8);
            u32 p_low = transpose_tile(narrow2(p[0] * low, p[1] * low)), p_high = transpose_tile(narrow2(p[2] * high, p[3] * high));
#pragma unroll
            for (int j = 0; j < DH / 32; j++) {
                u32 a[2][4];
                tiles.load_values(a, stage, j);
                multiply_add(o[j * 2], a[0][0], a[0][1], a[0][2], a[0][3], p_low, p_high);
                multiply_add(o[j * 2 + 1], a[1][0], a[1][1], a[1][2], a[1][3], p_low, p_high);
            }

            stages.release();
        }

#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int offset = 4; offset < 32; offset <<= 1)
                l[h] += __shfl_xor_sync(FULL_MASK, l[h], offset);

        // the results of the item before have been read
        if (current > 0)
            __syncthreads();
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int head = t * 2 + h;
            if (head < G) {
                if (g == 0)
                    warp_ml[warp * G + head] = make_float2(m[h], l[h]);
                float* to = warp_o + (warp * G + head) * HEAD_STRIDE;
                constexpr float UNIT = KV_INT8 ? CODE_UNIT : 1.f;
#pragma unroll
                for (int j = 0; j < DH / 16; j++)
                    to[j * 16 + value_channel(g, 0)] = o[j][h] * UNIT, to[j * 16 + value_channel(g, 1)] = o[j][h + 2] * UNIT;
            }
        }

        // a warp merges every fourth head, not the same in every item
        __syncthreads();
        int entry = task.item / HK, head = task.kv_head() * G, column = lane * (DH / 32);
        for (int h = (warp + current) % WARPS; h < G; h += WARPS) {
            float top = fmaxf(fmaxf(warp_ml[h].x, warp_ml[G + h].x), fmaxf(warp_ml[2 * G + h].x, warp_ml[3 * G + h].x)), total = 0.f;
            Part sum;
#pragma unroll
            for (int i = 0; i < DH / 32; i++)
                sum.v[i] = 0.f;
#pragma unroll
            for (int w = 0; w < WARPS; w++) {
                float weight = exp2_fast(warp_ml[w * G + h].x - top);
                total += warp_ml[w * G + h].y * weight;
#pragma unroll
                for (int i = 0; i < DH / 32; i++)
                    sum.v[i] += warp_o[(w * G + h) * HEAD_STRIDE + column + i] * weight;
            }

            if (task.only_run()) {
                store_output(args.o + ((i64)args.work[entry].x * HQ + head + h) * DH + column, sum, 1.f / total);
            } else {
                store_part(args.partial + ((i64)entry * HQ + head + h) * DH + column, sum);
                if (lane == 0)
                    args.partial_ml[(i64)entry * HQ + head + h] = make_float2(top, total);
            }
        }
    }

    stages.end_claims();
}
