// dense_attend — one query per row against every cached token of its slot, in fixed runs of 256 tokens
//   o[b,h] = softmax(q[b,h] . K[t,h/G] / sqrt(DH)) V[t,h/G]   over t <= position[b],  G = HQ / HK <= 8
// in   qkv        [B, (HQ + 2 * HK) * DH]  bf16   queries after rope; the rest is not read
//      work       [WORK]          i32x2  (row, run), written by plan_step; work_count, row_first likewise
//      position, slot [B]         i32
//      page_table [SLOTS, MAXP]   u32    page offsets in 4-KiB units; 0 = no page
//      pages                      bytes  K then V per layer, [64, HK, DH] bf16 each, rows 16-byte aligned
// out  o          [B, HQ, DH]     bf16   rows of one run by dense_attend, the others by merge_runs, which follows it
// tmp  partial    [WORK, HQ, DH]  f32    and partial_ml [WORK, HQ] (m, l), m in base 2
// grid (SMS * OCCUPANCY)  block 128  smem 4 * (STAGES * 64 * DH + G * (DH + 8) * 4 + 512) B   a (row, KV head, run) at a time, strided by the grid
// math f32 accumulation, base-2 softmax, probabilities rounded to bf16 for the product with V. A warp takes one page of the run; the
//      four are merged in order, then 16 runs to a group, then the groups: a row's result depends on its own tokens alone
// cost reads 4 * DH * HK bytes per cached token; nothing else matters
// defs DH, HQ, HK, MAXP, RUN=256 · oracle Reference.DenseAttend · launcher DenseAttendKernel
#include "bf16.cuh"
#include "chain.cuh"
#include "matrix.cuh"
#include "paging.cuh"
#include "reduce.cuh"

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
CHECK_FIELD(Args, o);
CHECK_FIELD(Args, layer_offset);
CHECK_FIELD(Args, scale);

constexpr int G = HQ / HK;
static_assert(HQ % HK == 0 && G <= 8, "at most 8 query heads share a KV head");
static_assert(DH == 64 || DH == 128, "head sizes 64 and 128");
static_assert(RUN == 4 * PAGE_SIZE, "a warp takes one page");

#if __CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890
constexpr int STAGES = 2, BLOCKS = 1;  // what 99 KB of shared memory hold
#else
constexpr int STAGES = 3, BLOCKS = 2;
#endif
constexpr int WARPS = 4;
constexpr int TOKENS = 16;  // tokens of a stage
constexpr int ROW_BYTES = DH * 2;
constexpr int ROW_VECTORS = DH / 8;             // 16-byte pieces of a row
constexpr int ROWS_AT_ONCE = 32 / ROW_VECTORS;  // that a warp copies with one instruction
constexpr int PLANE_BYTES = TOKENS * ROW_BYTES;
constexpr int STAGE_BYTES = 2 * PLANE_BYTES;  // K, then V
constexpr int HEAD_STRIDE = DH + 8;           // of a warp's result, in floats: keeps the heads in different banks
constexpr int TASKS = 16;                     // read from the work list at once, a lane each; two such batches are held

// 16-byte pieces are permuted within a row so that eight rows of one column lie in different banks
__device__ __forceinline__ u32 piece(int row, int column) { return row * ROW_BYTES + ((column ^ (row & 7)) << 4); }

#include "merge_runs.cuh"

// Barriers of the block's warps: results are there to be read; those of an even, an odd item have been read. Two of the latter, since the warp
// that has merged an item may wait for the next one's before the slowest warp has come to this one's.
enum Barrier { FULL = 1, FREE = 2 };

__device__ __forceinline__ void wait_at(int barrier) { asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(WARPS * 32) : "memory"); }

__device__ __forceinline__ void arrive_at(int barrier) { asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "n"(WARPS * 32) : "memory"); }

// an 8x8 tile of 16-bit elements: lane (g, t) gives row g, columns 2t and 2t + 1, and gets column g, rows 2t and 2t + 1
__device__ __forceinline__ u32 transpose_tile(u32 pair) {
    u32 result;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
    return result;
}

extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS) dense_attend(const __grid_constant__ Args args) {
    extern __shared__ __align__(128) u8 shared[];  // ring, results of the warps, tasks
    __shared__ float2 warp_ml[WARPS][G];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    u32 ring = shared_address(shared) + warp * STAGES * STAGE_BYTES;
    float* warp_o = (float*)(shared + WARPS * STAGES * STAGE_BYTES);  // [WARPS, G, HEAD_STRIDE]
    int4* tasks = (int4*)(shared + WARPS * STAGES * STAGE_BYTES + WARPS * G * HEAD_STRIDE * 4) + warp * 2 * TASKS;  // [WARPS, 2, TASKS]
    release_successor();
    int items = *args.work_count * HK;
    int mine = items > (int)blockIdx.x ? (items - blockIdx.x + gridDim.x - 1) / gridDim.x : 0;

    // where a lane's pieces go: row lane / ROW_VECTORS and every ROWS_AT_ONCE-th after it; the permutation repeats every 8 rows
    constexpr int COPIES = TOKENS / ROWS_AT_ONCE;
    constexpr int PERIOD = 8 / ROWS_AT_ONCE;
    int copy_row = lane / ROW_VECTORS, copy_column = lane % ROW_VECTORS;
    u32 copy_to[PERIOD];
#pragma unroll
    for (int i = 0; i < PERIOD; i++)
        copy_to[i] = piece(copy_row + i * ROWS_AT_ONCE, copy_column);
    // and where its rows of matrix tiles lie, by column modulo 8
    u32 key_tile[4], value_tile[4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
        key_tile[k] = piece((lane & 7) + (((lane >> 3) & 1) << 3), k * 2 + (lane >> 4));
        value_tile[k] = PLANE_BYTES + piece((lane & 7) + ((lane >> 4) << 3), k * 2 + ((lane >> 3) & 1));
    }

    // The warp's stages form one stream over all its items; `ahead` is the item whose stages are being fetched.
    int ahead = -1, ahead_stage = 0, ahead_count = 0, newest = 0, fetched = 0, done = 0, current = 0, slot = 0;
    bool waited = false;
    const u16* ahead_keys = nullptr;
    // Fetches the next stage, unless there is none or its batch of tasks must not be overwritten yet.
    auto fetch_next = [&]() -> bool {
        while (ahead_stage * TOKENS >= ahead_count) {
            int next = ahead + 1;
            if (next >= mine || next - current >= TASKS)
                return false;
            if (next % TASKS == 0) {
                int index = next + lane;
                int4 task = make_int4(0, 0, 0, 1);  // page, row | kv_head << 16, run | tokens << 24, length of the row
                if (lane < TASKS && index < mine) {
                    int item = blockIdx.x + index * gridDim.x, entry = item / HK;
                    int2 work = args.work[entry];
                    int length = args.position[work.x] + 1, start = work.y * RUN + warp * PAGE_SIZE;
                    int count = min(max(length - start, 0), PAGE_SIZE);
                    u32 page = count > 0 ? args.page_table[(i64)args.slot[work.x] * MAXP + start / PAGE_SIZE] : 0;
                    task = make_int4((int)page, work.x | item % HK << 16, work.y | count << 24, length);
                }

                __syncwarp();
                if (lane < TASKS)
                    tasks[next % (2 * TASKS) + lane] = task;
                __syncwarp();
            }

            int4 task = tasks[next % (2 * TASKS)];
            ahead = next, ahead_stage = 0, ahead_count = task.z >> 24;
            newest = task.w - 1 - (task.z & 0xffffff) * RUN - warp * PAGE_SIZE;
            ahead_keys =
                key_plane((u8*)args.pages, (u32)task.x, args.layer_offset) + (task.y >> 16) * DH + copy_row * (HK * DH) + copy_column * 8;
        }

        // the newest token was written by the launch before this one
        if (!waited && (ahead_stage + 1) * TOKENS > newest) {
            wait_predecessor();
            waited = true;
        }

        u32 to = ring + slot * STAGE_BYTES;
        const u16* from = ahead_keys + ahead_stage * (TOKENS * HK * DH);
        int left = ahead_count - ahead_stage * TOKENS - copy_row;
        if (left + copy_row >= TOKENS) {
#pragma unroll
            for (int i = 0; i < COPIES; i++) {
                u32 at = to + copy_to[i % PERIOD] + i / PERIOD * (8 * ROW_BYTES);
                copy16_async(at, from + i * ROWS_AT_ONCE * HK * DH, 16);
                copy16_async(at + PLANE_BYTES, from + i * ROWS_AT_ONCE * HK * DH + PAGE_SIZE * HK * DH, 16);
            }
        } else {
            // tokens past the end become zeros and are not read
#pragma unroll
            for (int i = 0; i < COPIES; i++) {
                u32 at = to + copy_to[i % PERIOD] + i / PERIOD * (8 * ROW_BYTES);
                bool inside = i * ROWS_AT_ONCE < left;
                const u16* key = inside ? from + i * ROWS_AT_ONCE * HK * DH : from - copy_row * HK * DH;
                copy16_async(at, key, inside ? 16 : 0);
                copy16_async(at + PLANE_BYTES, key + PAGE_SIZE * HK * DH, inside ? 16 : 0);
            }
        }

        commit_copies();
        ahead_stage++, fetched++;
        slot = slot + 1 == STAGES ? 0 : slot + 1;
        return true;
    };

    while (fetched < STAGES - 1 && fetch_next())
        ;
    wait_predecessor();
    waited = true;
    u32 stage = ring;
    // of the item at hand or, during its last stage, of the next: column g of the right operand is query head g of the group; columns G.. are zero
    u32 query[DH / 16][2];
    bool has_query = false;
    auto load_query = [&](const int4& task) {
        const u16* from = args.qkv + (i64)(task.y & 0xffff) * ((HQ + 2 * HK) * DH) + ((task.y >> 16) * G + (g < G ? g : 0)) * DH + t * 2;
#pragma unroll
        for (int k = 0; k < DH / 16; k++) {
            query[k][0] = g < G ? __ldcg((const u32*)(from + k * 16)) : 0;
            query[k][1] = g < G ? __ldcg((const u32*)(from + k * 16 + 8)) : 0;
        }
    };

    for (; current < mine; current++) {
        while (fetched - done < STAGES - 1 && fetch_next())
            ;
        int4 task = tasks[current % (2 * TASKS)];
        int row = task.y & 0xffff, kv_head = task.y >> 16, count = task.z >> 24, length = task.w;

        if (!has_query)
            load_query(task);
        has_query = false;
        u32 q[DH / 16][2];
#pragma unroll
        for (int k = 0; k < DH / 16; k++)
            q[k][0] = query[k][0], q[k][1] = query[k][1];
        float o[DH / 16][4];  // rows DH, columns heads
#pragma unroll
        for (int j = 0; j < DH / 16; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                o[j][e] = 0.f;
        float m[2] = {NOTHING, NOTHING}, l[2] = {0.f, 0.f};  // of heads 2t and 2t + 1

        for (int left = count; left > 0; left -= TOKENS, done++) {
            while (fetched - done < STAGES - 1 && fetch_next())
                ;

            // groups of copies are stages, in order; at the end of the stream all of them are waited for
            if (fetched - done >= STAGES - 1)
                wait_copies<STAGES - 2>();
            else
                wait_copies<0>();
            __syncwarp();
            fetch_next();
            if (left <= TOKENS && ahead > current) {
                load_query(tasks[(current + 1) % (2 * TASKS)]);
                has_query = true;
            }

            float p[4] = {0.f, 0.f, 0.f, 0.f}, odd[4] = {0.f, 0.f, 0.f, 0.f};  // rows tokens, columns heads
#pragma unroll
            for (int k = 0; k < DH / 16; k++) {
                u32 a[4];
                load_tiles(a, stage + key_tile[k % 4] + k / 4 * 128);
                multiply_add(k & 1 ? odd : p, a[0], a[1], a[2], a[3], q[k][0], q[k][1]);
            }

            // tokens past the end have weight 0: their keys are zeros, so they are masked here, and their values are zeros too
            float shrink[2];
#pragma unroll
            for (int h = 0; h < 2; h++) {
                p[h] = g < left ? (p[h] + odd[h]) * args.scale : NOTHING;
                p[h + 2] = g + 8 < left ? (p[h + 2] + odd[h + 2]) * args.scale : NOTHING;
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
            u32 p_low = transpose_tile(narrow2(p[0], p[1])), p_high = transpose_tile(narrow2(p[2], p[3]));
#pragma unroll
            for (int j = 0; j < DH / 16; j++) {
                u32 a[4];
                load_tiles_transposed(a, stage + value_tile[j % 4] + j / 4 * 128);
                multiply_add(o[j], a[0], a[1], a[2], a[3], p_low, p_high);
            }

            __syncwarp();
            stage = stage + STAGE_BYTES == ring + STAGES * STAGE_BYTES ? ring : stage + STAGE_BYTES;
        }

#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int offset = 4; offset < 32; offset <<= 1)
                l[h] += __shfl_xor_sync(FULL_MASK, l[h], offset);

        // The warps merge in turn: one waits for the results of all four, the others go on. They wait only to replace a result that
        // is still being read.
        if (current > 0 && warp != (current - 1) % WARPS)
            wait_at(FREE + (current - 1) % 2);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int head = t * 2 + h;
            if (head < G) {
                if (g == 0)
                    warp_ml[warp][head] = make_float2(m[h], l[h]);
                float* to = warp_o + (warp * G + head) * HEAD_STRIDE + g;
#pragma unroll
                for (int j = 0; j < DH / 16; j++)
                    to[j * 16] = o[j][h], to[j * 16 + 8] = o[j][h + 2];
            }
        }

        if (warp != current % WARPS) {
            arrive_at(FULL);
            continue;
        }

        wait_at(FULL);
        int entry = (int)(blockIdx.x + current * gridDim.x) / HK, runs = (length + RUN - 1) / RUN, column = lane * (DH / 32);
#pragma unroll
        for (int h = 0; h < G; h++) {
            float top = fmaxf(fmaxf(warp_ml[0][h].x, warp_ml[1][h].x), fmaxf(warp_ml[2][h].x, warp_ml[3][h].x)), total = 0.f;
            Part sum;
#pragma unroll
            for (int i = 0; i < DH / 32; i++)
                sum.v[i] = 0.f;
#pragma unroll
            for (int w = 0; w < WARPS; w++) {
                float weight = exp2_fast(warp_ml[w][h].x - top);
                total += warp_ml[w][h].y * weight;
#pragma unroll
                for (int i = 0; i < DH / 32; i++)
                    sum.v[i] += warp_o[(w * G + h) * HEAD_STRIDE + column + i] * weight;
            }

            if (runs == 1) {
                store_output(args.o + ((i64)row * HQ + kv_head * G + h) * DH + column, sum, 1.f / total);
            } else {
                store_part(args.partial + ((i64)entry * HQ + kv_head * G + h) * DH + column, sum);
                if (lane == 0)
                    args.partial_ml[(i64)entry * HQ + kv_head * G + h] = make_float2(top, total);
            }
        }

        if (current + 1 < mine)
            arrive_at(FREE + current % 2);
    }
}
