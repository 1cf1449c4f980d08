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
#include "partials.cuh"

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

static_assert(RUN == 4 * PAGE_SIZE, "a warp takes one page");
static_assert((i64)MAXP * PAGE_SIZE <= (i64)MAX_GROUPS * MERGE_GROUP * RUN, "a row has at most 128 groups of runs");

extern "C" __global__ void __launch_bounds__(128, 2) dense_attend(const __grid_constant__ Args args) {
    extern __shared__ __align__(128) u8 shared[];
    __shared__ float2 warp_ml[4][G];
    __shared__ MergeScratch scratch;
    int warp = threadIdx.x >> 5;
    Partials partials = {args.partial, args.partial_ml, args.run_ticket, args.row_ticket};
    int items = *args.work_count * HK;
    for (int item = blockIdx.x; item < items; item += gridDim.x) {
        int entry = item / HK, kv_head = item % HK;
        int2 work = args.work[entry];
        int row = work.x, length = args.position[row] + 1, runs = (length + RUN - 1) / RUN;
        int start = work.y * RUN + warp * PAGE_SIZE;
        int count = min(max(length - start, 0), PAGE_SIZE);
        u32 page = count > 0 ? args.page_table[(i64)args.slot[row] * MAXP + start / PAGE_SIZE] : 0;
        const u16* keys = key_plane((u8*)args.pages, page, args.layer_offset) + kv_head * DH;
        const u16* query = args.qkv + (i64)row * (HQ + 2 * HK) * DH + kv_head * G * DH;
        float o[DH / 8][4], m, l;
        attend_exact(shared_address(shared) + warp * RING_BYTES, keys, count, query, args.scale, o, m, l);
        merge_warps((float*)shared, warp_ml, o, m, l, [&](int i, float sum, float top, float total) {
            if (runs == 1) {
                args.o[((i64)row * HQ + kv_head * G) * DH + i] = narrow(sum / total);
            } else {
                args.partial[((i64)entry * HQ + kv_head * G) * DH + i] = sum;
                if (i % DH == 0)
                    args.partial_ml[(i64)entry * HQ + kv_head * G + i / DH] = make_float2(top, total);
            }
        });
        if (runs > 1)
            arrive(partials, args.o, scratch, args.row_first[row], work.y, runs, row, kv_head);
        __syncthreads();
    }
}
