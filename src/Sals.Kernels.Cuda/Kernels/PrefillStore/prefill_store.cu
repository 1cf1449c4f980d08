// prefill_store — keys and values of one layer between a lane and the pages of a slot
//   prefill_store: pages[t] = lane[t];  prefill_load: lane[t] = pages[t];  first <= t < first + T
// in   page_table [MAXP]          u32    the slot's row; page offsets in 4-KiB units
//      pages, keys, values [LANE, HK, DH] bf16
// out  pages (store) or keys, values (load)
// grid (T)  block 128  smem 0
// math none: a copy
// cost reads and writes 4 * D bytes per token
// defs DH, HK · oracle: a plain copy in the test · launcher PrefillStoreKernel
#include "bf16.cuh"
#include "paging.cuh"

struct Args {
    const u32* page_table;
    u8* pages;
    u16* keys;
    u16* values;
    u32 layer_offset;
    int first;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, page_table);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, keys);
CHECK_FIELD(Args, values);
CHECK_FIELD(Args, layer_offset);
CHECK_FIELD(Args, first);
static_assert(DH % 8 == 0, "rows are copied 16 bytes at a time");

template <bool STORE>
__device__ __forceinline__ void copy_token(const Args& args) {
    constexpr int VECTORS = HK * DH / 8;
    int token = args.first + blockIdx.x;
    uint4* page = (uint4*)key_plane(args.pages, args.page_table[token / PAGE_SIZE], args.layer_offset);
    uint4* page_key = page + token % PAGE_SIZE * VECTORS;
    uint4* page_value = page_key + PAGE_SIZE * VECTORS;
    uint4* key = (uint4*)args.keys + (i64)token * VECTORS;
    uint4* value = (uint4*)args.values + (i64)token * VECTORS;
    for (int i = threadIdx.x; i < VECTORS; i += 128) {
        if (STORE) {
            page_key[i] = key[i], page_value[i] = value[i];
        } else {
            key[i] = page_key[i], value[i] = page_value[i];
        }
    }
}

extern "C" __global__ void __launch_bounds__(128) prefill_store(const __grid_constant__ Args args) { copy_token<true>(args); }
extern "C" __global__ void __launch_bounds__(128) prefill_load(const __grid_constant__ Args args) { copy_token<false>(args); }
