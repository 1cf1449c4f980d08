// plan_step — first kernel of a decode step: turns (slot, forced token) rows into inputs, positions, the work lists of attention and the parts of scoring
//   token[b] = forced[b] >= 0 ? forced[b] : last_token[slot[b]];  position[b] = length[slot[b]]++
//   runs = (b, run) for every run of every row, row by row, as dense_runs.cuh counts them; of a compressed cache also
//   exact_runs, the same of the rows alone that have no latent page, and items of the other rows, as attend_items.cuh counts them: what takes a row
//   in a compressed layer depends on its own length
// in   rows       [B]      i32x4  (slot, forced token or -1, .., ..) as sample_token has them; padding rows name the slot SLOTS
//      last_token [SLOTS + 1] i32;  sampling [SLOTS]
// io   length     [SLOTS + 1] i32  entry SLOTS stays 0
//      counts     [SLOTS, V] u16  times each id was an input after the prompt, of slots whose penalties ask for it; saturates
// out  token, position, slot [B]  i32
//      runs, exact_runs, items  entries [WORK] i32x4, row by row: (b, piece, length, slot); count [1], first [B] i32: index of the row's first entry, -1
//                               without one
//      parts [BLOCKS] i32x8  of a compressed cache and few rows: what each block of score_select has (score_parts.cuh); all 0 of one without work
// grid (1)  block 256  smem 5 KB
// math integers
// cost latency only
// defs SLOTS, V; those of LatentShape for a compressed cache · at most 256 rows · oracle: table-driven loop in the test · launcher PlanStepKernel
#include "block_scan.cuh"
#include "dense_runs.cuh"
#include "sampling.cuh"
#include "types.cuh"
#ifdef SINK
#include "attend_items.cuh"
#include "score_parts.cuh"
#endif

struct WorkList {
    int4* entries;
    int* count;
    int* first;
    int room;  // entries at most
};

struct ScorePart;

struct ScoreParts {
    ScorePart* entries;
    int blocks;  // of a launch of score_select
};

struct Args {
    const int4* rows;
    const int* last_token;
    int* length;
    u16* counts;
    const SlotSampling* sampling;
    int* token;
    int* position;
    int* slot;
    WorkList runs;
    WorkList exact_runs;
    WorkList items;
    ScoreParts parts;
    int row_count;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, rows);
CHECK_FIELD(Args, last_token);
CHECK_FIELD(Args, length);
CHECK_FIELD(Args, counts);
CHECK_FIELD(Args, sampling);
CHECK_FIELD(Args, token);
CHECK_FIELD(Args, position);
CHECK_FIELD(Args, slot);
CHECK_FIELD(Args, runs);
CHECK_FIELD(Args, exact_runs);
CHECK_FIELD(Args, items);
CHECK_FIELD(Args, parts);
CHECK_FIELD(Args, row_count);

constexpr int WARPS = 8;

struct Shared {
    int scan[WARPS];
    int first[256];
    int4 row[256];  // count, length, slot
};

// An entry for each piece of every row, row by row. Called by the whole block; thread b brings the count of row b, 0 past the last row, its length and slot.
__device__ __forceinline__ void write_list(Shared& shared, int count, int length, int slot, int rows, const WorkList& list) {
    int b = threadIdx.x, first = exclusive_scan<WARPS>(count, shared.scan);
    shared.first[b] = first;
    shared.row[b] = make_int4(count, length, slot, 0);
    if (b < rows)
        list.first[b] = count > 0 ? first : -1;
    if (b == 255)
        *list.count = first + count;
    __syncthreads();
    for (int row = b / 32; row < rows; row += WARPS) {
        int4 of = shared.row[row];
        for (int i = b % 32; i < of.x; i += 32)
            list.entries[shared.first[row] + i] = make_int4(row, i, of.y, of.z);
    }
}

#ifdef SINK
// What every block of score_select has. Called as write_list; thread b brings the length of row b, 0 past the last row, and its slot.
__device__ __forceinline__ void write_parts(Shared& shared, int length, int slot, int rows, const ScoreParts& parts) {
    __shared__ int total;
    int b = threadIdx.x, units = score_units(length), first = exclusive_scan<WARPS>(units, shared.scan);
    if (b == 255)
        total = first + units;
    int scored = __syncthreads_count(units > 0);
    int share = score_share(total, scored, parts.blocks), blocks = (units + share - 1) / share;
    first = exclusive_scan<WARPS>(blocks, shared.scan);
    shared.first[b] = first;
    shared.row[b] = make_int4(blocks, length, slot, units);
    if (b == 255)
        total = first + blocks;
    __syncthreads();
    for (int row = b / 32; row < rows; row += WARPS) {
        int4 of = shared.row[row];
        for (int i = b % 32; i < of.x; i += 32)
            parts.entries[shared.first[row] + i] = score_part_of(row, of.z, of.y, of.w, shared.first[row], of.x, i);
    }

    if (total <= b && b < parts.blocks)
        parts.entries[b] = {};
}
#endif

extern "C" __global__ void __launch_bounds__(256) plan_step(const __grid_constant__ Args args) {
    int b = threadIdx.x;
    int length = 0, slot = SLOTS;
    if (b < args.row_count) {
        int4 row = args.rows[b];
        slot = row.x;
        int position = args.length[slot];
        int token = row.y >= 0 ? row.y : args.last_token[slot];
        args.token[b] = token;
        args.position[b] = position;
        args.slot[b] = slot;
        length = position + 1;
        if (slot < SLOTS) {
            args.length[slot] = length;
            if (args.sampling[slot].counts && (u32)token < V) {
                u16* count = args.counts + (i64)slot * V + token;
                if (*count != 0xffff)
                    *count += 1;
            }
        }
    }

    __shared__ Shared shared;
    int runs = length > 0 ? run_count(length) : 0;
    write_list(shared, runs, length, slot, args.row_count, args.runs);
#ifdef SINK
    write_list(shared, latent_pages(length) == 0 ? runs : 0, length, slot, args.row_count, args.exact_runs);
    write_list(shared, attend_items(length), length, slot, args.row_count, args.items);
    if (has_few_rows(args.row_count, args.parts.blocks))
        write_parts(shared, length, slot, args.row_count, args.parts);
#endif
}
