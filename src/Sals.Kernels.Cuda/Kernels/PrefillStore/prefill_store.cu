// prefill_store — keys and values of one layer between a lane and the pages of a slot
//   prefill_store: pages[t] = lane[t];  prefill_load: lane[t] = pages[t];  first <= t < first + T
//   prefill_store_int8, prefill_load_int8: the same with int8 codes in the pages, as head_codes.cuh says
// in   page_table [MAXP]          u32    the slot's row; page offsets in 4-KiB units
//      pages, keys, values [LANE, HK, DH] bf16
// out  pages (store) or keys, values (load)
// grid (T)  block 128  smem 0
// math none: a copy; int8: f32, codes and peaks bit-equal to the oracle's, lanes rounded to bf16 once
// cost reads and writes 4 * D bytes per token
// defs DH, HK · oracle: a plain copy in the test, Reference.HeadCodes · launcher PrefillStoreKernel
#include "bf16.cuh"
#include "head_codes.cuh"
#include "paging.cuh"

struct Args {
    const u32* page_table;
    u8* pages;
    u16* keys;
    u16* values;
    u32 layer_offset;
    u32 peak_offset;
    int first;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, page_table);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, keys);
CHECK_FIELD(Args, values);
CHECK_FIELD(Args, layer_offset);
CHECK_FIELD(Args, peak_offset);
CHECK_FIELD(Args, first);
static_assert(DH % 64 == 0, "a lane codes whole pairs of a head");

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

// a warp a head
__device__ __forceinline__ void store_codes(const Args& args) {
    constexpr int PAIRS = DH / 64;
    int token = args.first + blockIdx.x, lane = threadIdx.x & 31;
    CodePlanes planes(args.pages, args.page_table[token / PAGE_SIZE], args.layer_offset, args.peak_offset);
    for (int i = threadIdx.x >> 5; i < 2 * HK; i += 4) {
        int is_value = i >= HK, head = i - is_value * HK;
        const u32* from = (const u32*)((is_value ? args.values : args.keys) + ((i64)token * HK + head) * DH) + lane * PAIRS;
        u32 pair[PAIRS], largest = 0;
#pragma unroll
        for (int p = 0; p < PAIRS; p++) {
            pair[p] = from[p];
            largest = max(largest, max(pair[p] & 0x7fff, pair[p] >> 16 & 0x7fff));
        }

        u32 peak = warp_peak(largest);
        float factor = code_factor(peak);
        u16* to = (u16*)planes.row(is_value, token % PAGE_SIZE, head) + lane * PAIRS;
#pragma unroll
        for (int p = 0; p < PAIRS; p++)
            to[p] = (u16)(code_of(widen_low(pair[p]), factor) | code_of(widen_high(pair[p]), factor) << 8);
        if (lane == 0)
            *planes.peak(is_value, token % PAGE_SIZE, head) = (u16)peak;
    }
}

__device__ __forceinline__ void load_codes(const Args& args) {
    constexpr int WORDS = DH / 4;  // four codes each
    int token = args.first + blockIdx.x;
    CodePlanes planes(args.pages, args.page_table[token / PAGE_SIZE], args.layer_offset, args.peak_offset);
    for (int i = threadIdx.x; i < 2 * HK * WORDS; i += 128) {
        int is_value = i >= HK * WORDS, head = i / WORDS - is_value * HK, word = i % WORDS;
        u32 codes = ((const u32*)planes.row(is_value, token % PAGE_SIZE, head))[word];
        float scale = code_scale(*planes.peak(is_value, token % PAGE_SIZE, head));
        uint2* to = (uint2*)((is_value ? args.values : args.keys) + ((i64)token * HK + head) * DH) + word;
        *to = make_uint2(narrow2(code_value(codes, 0) * scale, code_value(codes, 1) * scale),
                         narrow2(code_value(codes, 2) * scale, code_value(codes, 3) * scale));
    }
}

extern "C" __global__ void __launch_bounds__(128) prefill_store(const __grid_constant__ Args args) { copy_token<true>(args); }
extern "C" __global__ void __launch_bounds__(128) prefill_load(const __grid_constant__ Args args) { copy_token<false>(args); }
extern "C" __global__ void __launch_bounds__(128) prefill_store_int8(const __grid_constant__ Args args) { store_codes(args); }
extern "C" __global__ void __launch_bounds__(128) prefill_load_int8(const __grid_constant__ Args args) { load_codes(args); }
