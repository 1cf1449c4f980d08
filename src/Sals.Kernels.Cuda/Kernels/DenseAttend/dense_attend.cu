// dense_attend — one query per row against every cached token of its slot, in fixed runs of 256 tokens
//   o[b,h] = softmax(q[b,h] . K[t,h/G] / sqrt(DH)) V[t,h/G]   over t <= position[b],  G = HQ / HK <= 8
// in   qkv        [B, (HQ + 2 * HK) * DH]  bf16   queries after rope; the rest is not read
//      work       [WORK]          i32x2  (row, run), written by plan_step; work_count, row_first likewise
//      position, slot [B]         i32
//      page_table [SLOTS, MAXP]   u32    page offsets in 4-KiB units; 0 = no page
//      pages                      bytes  K then V per layer, [64, HK, DH] bf16 each, rows 16-byte aligned
// out  o          [B, HQ, DH]     bf16
// tmp  partial    [WORK, HQ, DH]  f32    and partial_ml [WORK, HQ] (m, l), m in base 2
//      run_ticket [WORK, HK], row_ticket [B, HK]  i32  0 before and after
// grid (SMS * OCCUPANCY)  block 128  smem 4 warps * STAGES * 16 * DH * 4 B     one (row, kv head, run) at a time, strided by the grid
// math f32 accumulation, base-2 softmax, probabilities rounded to bf16 for the product with V. A warp takes one page of the run; the
//      four are merged in order, then 16 runs to a group, then the groups: a row's result depends on its own tokens alone
// cost reads 4 * DH * HK bytes per cached token; nothing else matters
// defs DH, HQ, HK, MAXP, RUN=256 · oracle Reference.DenseAttend · launcher DenseAttendKernel
#include "bf16.cuh"
#include "matrix.cuh"
#include "paging.cuh"

struct Args {
    const u16* qkv;
    const int2* work;
    const int* work_count;
    const int* row_first;
    const int* position;
    const int* slot;
    const u32* page_table;
    const u8* pages;
    float* partial;
    float2* partial_ml;
    int* run_ticket;
    int* row_ticket;
    u16* o;
    u32 layer_offset;
    float scale;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, qkv);
CHECK_FIELD(Args, work);
CHECK_FIELD(Args, work_count);
CHECK_FIELD(Args, row_first);
CHECK_FIELD(Args, position);
CHECK_FIELD(Args, slot);
CHECK_FIELD(Args, page_table);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, partial);
CHECK_FIELD(Args, partial_ml);
CHECK_FIELD(Args, run_ticket);
CHECK_FIELD(Args, row_ticket);
CHECK_FIELD(Args, o);
CHECK_FIELD(Args, layer_offset);
CHECK_FIELD(Args, scale);

constexpr int G = HQ / HK;
static_assert(HQ % HK == 0 && G <= 8, "at most 8 query heads share a KV head");
static_assert(DH == 64 || DH == 128, "head sizes 64 and 128");
static_assert(RUN == 4 * PAGE_SIZE, "a warp takes one page");

constexpr int STAGES = 3;
constexpr int TOKENS = 16;  // tokens of a stage
constexpr int ROW_BYTES = DH * 2;
constexpr int ROW_VECTORS = DH / 8;  // 16-byte pieces of a row
constexpr int PLANE_BYTES = TOKENS * ROW_BYTES;
constexpr int STAGE_BYTES = 2 * PLANE_BYTES;  // K, then V
constexpr int GROUP = 16;                     // runs merged at once
constexpr int MAX_GROUPS = 128;
constexpr float NOTHING = -1e30f;  // m of no tokens; finite, so that differences are
static_assert((i64)MAXP * PAGE_SIZE <= (i64)MAX_GROUPS * GROUP * RUN, "a row has at most 128 groups of runs");

// 16-byte pieces are permuted within a row so that eight rows of one column lie in different banks
__device__ __forceinline__ u32 piece(int row, int column) { return row * ROW_BYTES + ((column ^ (row & 7)) << 4); }

// Copies tokens [first, first + 16) of a page's K and V head; those at or past `count` become zeros and are not read.
__device__ __forceinline__ void fetch(u32 stage, const u16* keys, int first, int count) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < TOKENS * ROW_VECTORS / 32; i++) {
        int index = i * 32 + lane, row = index / ROW_VECTORS, column = index % ROW_VECTORS;
        int bytes = first + row < count ? 16 : 0;
        const u16* key = keys + (i64)(bytes ? first + row : 0) * (HK * DH) + column * 8;
        copy16_async(stage + piece(row, column), key, bytes);
        copy16_async(stage + PLANE_BYTES + piece(row, column), key + PAGE_SIZE * HK * DH, bytes);
    }
}

// Merges `count` partial results of one (row, KV head), `stride` work entries apart, in order: into the first of them, or, when they are
// all there is, into the output. Called by the whole block. ml: shared scratch [MAX_GROUPS, G].
__device__ __forceinline__ void merge(const Args& args, float2* ml, int first, int stride, int count, int row, int kv_head, bool last) {
    int tid = threadIdx.x;
    for (int i = tid; i < count * G; i += 128)
        ml[i] = __ldcg(args.partial_ml + (i64)(first + i / G * stride) * HQ + kv_head * G + i % G);
    __syncthreads();
    for (int i = tid; i < G * DH / 4; i += 128) {
        int head = i / (DH / 4), column = i % (DH / 4);
        float top = NOTHING;
        for (int r = 0; r < count; r++)
            top = fmaxf(top, ml[r * G + head].x);
        float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
        float l = 0.f;
        const float4* from = (const float4*)(args.partial + ((i64)first * HQ + kv_head * G + head) * DH) + column;
        i64 step = (i64)stride * HQ * DH / 4;
#pragma unroll 8
        for (int r = 0; r < count; r++) {
            float4 v = __ldcg(from + r * step);
            float2 part = ml[r * G + head];
            float weight = exp2_fast(part.x - top);
            l += part.y * weight;
            sum.x += v.x * weight, sum.y += v.y * weight, sum.z += v.z * weight, sum.w += v.w * weight;
        }

        if (last) {
            float inverse = 1.f / l;
            uint2 packed = make_uint2(narrow2(sum.x * inverse, sum.y * inverse), narrow2(sum.z * inverse, sum.w * inverse));
            *(uint2*)(args.o + ((i64)row * HQ + kv_head * G + head) * DH + column * 4) = packed;
        } else {
            // only this thread reads these four numbers, and it has; (m, l) live in shared memory by now
            *(float4*)from = sum;
            if (column == 0)
                args.partial_ml[(i64)first * HQ + kv_head * G + head] = make_float2(top, l);
        }
    }
}

// True in every thread when this block is the last of `expected` to arrive; the ticket is then back at zero.
__device__ __forceinline__ bool arrive_last(int* ticket, int expected, int* flag) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        bool last = atomicAdd(ticket, 1) == expected - 1;
        if (last)
            *ticket = 0;
        *flag = last;
        __threadfence();
    }

    __syncthreads();
    return *flag;
}

extern "C" __global__ void __launch_bounds__(128, 2) dense_attend(const __grid_constant__ Args args) {
    extern __shared__ __align__(128) u8 shared[];
    __shared__ float2 warp_ml[4][G];
    __shared__ float2 merge_ml[MAX_GROUPS * G];
    __shared__ int flag;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    u32 ring = shared_address(shared) + warp * STAGES * STAGE_BYTES;
    float* warp_o = (float*)shared;  // [4, G, DH], once the ring has drained
    int items = *args.work_count * HK;
    for (int item = blockIdx.x; item < items; item += gridDim.x) {
        int entry = item / HK, kv_head = item % HK;
        int2 work = args.work[entry];
        int row = work.x, length = args.position[row] + 1;
        int start = work.y * RUN + warp * PAGE_SIZE;
        int count = min(max(length - start, 0), PAGE_SIZE);
        int stages = (count + TOKENS - 1) / TOKENS;
        u32 page = count > 0 ? args.page_table[(i64)args.slot[row] * MAXP + start / PAGE_SIZE] : 0;
        const u16* keys = key_plane((u8*)args.pages, page, args.layer_offset) + kv_head * DH;
#pragma unroll
        for (int s = 0; s < STAGES - 1; s++) {
            if (s < stages)
                fetch(ring + s * STAGE_BYTES, keys, s * TOKENS, count);
            commit_copies();
        }

        // row g of the left operand is query head g of the group; rows G.. are zero
        u32 q[DH / 16][2];
        const u16* query = args.qkv + (i64)row * (HQ + 2 * HK) * DH + (kv_head * G + (g < G ? g : 0)) * DH + t * 2;
#pragma unroll
        for (int k = 0; k < DH / 16; k++) {
            q[k][0] = g < G ? *(const u32*)(query + k * 16) : 0;
            q[k][1] = g < G ? *(const u32*)(query + k * 16 + 8) : 0;
        }

        float o[DH / 8][4];
#pragma unroll
        for (int j = 0; j < DH / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                o[j][e] = 0.f;
        float m = NOTHING, l = 0.f;

        for (int s = 0; s < stages; s++) {
            wait_copies<STAGES - 2>();
            __syncwarp();
            if (s + STAGES - 1 < stages)
                fetch(ring + (s + STAGES - 1) % STAGES * STAGE_BYTES, keys, (s + STAGES - 1) * TOKENS, count);
            commit_copies();
            u32 key_stage = ring + s % STAGES * STAGE_BYTES, value_stage = key_stage + PLANE_BYTES;
            float p[2][4] = {{0.f, 0.f, 0.f, 0.f}, {0.f, 0.f, 0.f, 0.f}};
#pragma unroll
            for (int k = 0; k < DH / 16; k++) {
                u32 b[4];
                load_tiles(b, key_stage + piece((lane & 7) + ((lane >> 4) << 3), k * 2 + ((lane >> 3) & 1)));
                multiply_add(p[0], q[k][0], 0, q[k][1], 0, b[0], b[1]);
                multiply_add(p[1], q[k][0], 0, q[k][1], 0, b[2], b[3]);
            }

            // tokens past the end have p = 0: their keys are zeros, so they are masked here, and their values are zeros too
            int left = count - s * TOKENS;
            float top = m;
#pragma unroll
            for (int j = 0; j < 2; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    p[j][e] = j * 8 + t * 2 + e < left ? p[j][e] * args.scale : NOTHING;
                    top = fmaxf(top, p[j][e]);
                }
            top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 1));
            top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 2));
            float shrink = exp2_fast(m - top);
            m = top;
            l *= shrink;
#pragma unroll
            for (int j = 0; j < 2; j++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    p[j][e] = exp2_fast(p[j][e] - top);
                    l += p[j][e];
                }
#pragma unroll
            for (int j = 0; j < DH / 8; j++)
                o[j][0] *= shrink, o[j][1] *= shrink;
            u32 p_low = narrow2(p[0][0], p[0][1]), p_high = narrow2(p[1][0], p[1][1]);
#pragma unroll
            for (int j = 0; j < DH / 16; j++) {
                u32 b[4];
                load_tiles_transposed(b, value_stage + piece((lane & 7) + (((lane >> 3) & 1) << 3), j * 2 + (lane >> 4)));
                multiply_add(o[j * 2], p_low, 0, p_high, 0, b[0], b[1]);
                multiply_add(o[j * 2 + 1], p_low, 0, p_high, 0, b[2], b[3]);
            }

            __syncwarp();
        }

        l += __shfl_xor_sync(FULL_MASK, l, 1);
        l += __shfl_xor_sync(FULL_MASK, l, 2);
        wait_copies<0>();
        __syncthreads();
        if (g < G) {
            if (t == 0)
                warp_ml[warp][g] = make_float2(m, l);
#pragma unroll
            for (int j = 0; j < DH / 8; j++)
                *(float2*)(warp_o + (warp * G + g) * DH + j * 8 + t * 2) = make_float2(o[j][0], o[j][1]);
        }

        __syncthreads();
        int runs = (length + RUN - 1) / RUN;
        for (int i = threadIdx.x; i < G * DH; i += 128) {
            int head = i / DH;
            float top = fmaxf(fmaxf(warp_ml[0][head].x, warp_ml[1][head].x), fmaxf(warp_ml[2][head].x, warp_ml[3][head].x));
            float sum = 0.f, total = 0.f;
#pragma unroll
            for (int w = 0; w < 4; w++) {
                float weight = exp2_fast(warp_ml[w][head].x - top);
                sum += warp_o[w * G * DH + i] * weight;
                total += warp_ml[w][head].y * weight;
            }

            if (runs == 1) {
                args.o[((i64)row * HQ + kv_head * G) * DH + i] = narrow(sum / total);
            } else {
                args.partial[((i64)entry * HQ + kv_head * G) * DH + i] = sum;
                if (i % DH == 0)
                    args.partial_ml[(i64)entry * HQ + kv_head * G + head] = make_float2(top, total);
            }
        }

        if (runs > 1) {
            int row_first = args.row_first[row], group = work.y / GROUP, groups = (runs + GROUP - 1) / GROUP;
            int group_first = row_first + group * GROUP;
            int group_runs = min(GROUP, runs - group * GROUP);
            if (arrive_last(args.run_ticket + (i64)group_first * HK + kv_head, group_runs, &flag)) {
                merge(args, merge_ml, group_first, 1, group_runs, row, kv_head, groups == 1);
                if (groups > 1 && arrive_last(args.row_ticket + (i64)row * HK + kv_head, groups, &flag))
                    merge(args, merge_ml, row_first, GROUP, groups, row, kv_head, true);
            }
        }

        __syncthreads();
    }
}
