// reconstruct_pages — brings the keys and values of a cached prefix, one compressed layer of one slot, into a prefill lane
//   page p in the hot table: keys, values[64 p + i] = the page's;  else keys[64 p + i] = rope(U latent[i] + mean), values from their codes
// in   hot_table, latent_table [MAXP]  u32    the slot's rows; page offsets in 4-KiB units; 0 = no page
//      pages                           bytes  PageLayout
//      basis        [HK, BASIS_BYTES]         image of U, bias [D] f32, key_scale: BasisImage
//      rope         [positions, DH/2]  f32x2  (cos, sin)
// out  keys, values [LANE, HK, DH]     bf16   after rope
// grid (blocks, HK)  block 128  smem basis where it fits, ring    a block takes every blocks-th page
// math products as sparse_attend has them, f32 accumulation, rounded to bf16 once: a token's key depends on its own latent only
// cost 2 D R / BASIS_GROUPS operations per token
// defs DH, HK, R, RS, BASIS_GROUPS, VALUE_BITS, VALUE_GROUP, LATENT_INT8 · oracle Reference.ReconstructPages · launcher ReconstructPagesKernel
#include "bf16.cuh"
#include "latent_keys.cuh"

struct Args {
    const u32* hot_table;
    const u32* latent_table;
    const u8* pages;
    const u8* basis;
    const float* bias;
    const float2* rope;
    u16* keys;
    u16* values;
    u32 hot_offset;
    u32 latent_offset;
    int page_count;
    float key_scale;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, hot_table);
CHECK_FIELD(Args, latent_table);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, basis);
CHECK_FIELD(Args, bias);
CHECK_FIELD(Args, rope);
CHECK_FIELD(Args, keys);
CHECK_FIELD(Args, values);
CHECK_FIELD(Args, hot_offset);
CHECK_FIELD(Args, latent_offset);
CHECK_FIELD(Args, page_count);
CHECK_FIELD(Args, key_scale);

constexpr bool BASIS_FITS = BASIS_BYTES + RING_BYTES <= MOST_SHARED;

// code of one channel of the head, of a token's packed codes
__device__ __forceinline__ u32 code_of(const u8* token, int channel) {
    const u32* words = (const u32*)token;
    if constexpr (VALUE_BITS == 3) {
        int in = channel % 32, field = in % 16 / 2 * 2 + in % 2 * 16;
        u32 low = words[channel / 32 * 3 + in / 16] >> field & 3;
        return low | (words[channel / 32 * 3 + 2] >> (in / 2 + in % 2 * 16) & 1) << 2;
    } else {
        constexpr int FIELDS = 32 / VALUE_BITS;
        int in = channel % FIELDS;
        return words[channel / FIELDS] >> (in / 2 * VALUE_BITS + in % 2 * 16) & ((1 << VALUE_BITS) - 1);
    }
}

// row, scales: of a token's KV head
__device__ __forceinline__ float value_of(const u8* row, const u32* scales, int channel) {
    if constexpr (VALUE_BITS == 16) {
        return half_low(*(const u16*)(row + channel * 2));
    } else {
        u32 scale = scales[channel / VALUE_GROUP];
        return fmaf((float)code_of(row, channel), half_low(scale), half_high(scale));
    }
}

// keys, values: of the page's first token, the KV head's first channel
__device__ __forceinline__ void copy_page(const Args& args, u32 page, int kv_head, u16* keys, u16* values) {
    const u16* from = key_plane((u8*)args.pages, page, args.hot_offset) + kv_head * DH;
    for (int i = threadIdx.x; i < PAGE_SIZE * DH / 8; i += 128) {
        int offset = i / (DH / 8) * (HK * DH) + i % (DH / 8) * 8;
        *(uint4*)(keys + offset) = *(const uint4*)(from + offset);
        *(uint4*)(values + offset) = *(const uint4*)(from + PAGE_SIZE * HK * DH + offset);
    }
}

__device__ __forceinline__ void unpack_values(const Args& args, u32 page, int kv_head, u16* values) {
    const u8* layer = args.pages + args.latent_offset + (u64)page * PAGE_UNIT;
    for (int i = threadIdx.x; i < PAGE_SIZE * DH / 2; i += 128) {
        int token = i / (DH / 2), channel = i % (DH / 2) * 2;
        const u8* row = values_of(layer, token, kv_head);
        const u32* scales = (const u32*)scales_of(layer, token, kv_head);
        *(u32*)(values + token * (HK * DH) + channel) = narrow2(value_of(row, scales, channel), value_of(row, scales, channel + 1));
    }
}

extern "C" __global__ void __launch_bounds__(128, 1) reconstruct_pages(const __grid_constant__ Args args) {
    extern __shared__ __align__(1024) u8 shared[];
    __shared__ __align__(16) FirstKeys first_keys;
    int warp = threadIdx.x >> 5, g = threadIdx.x >> 2 & 7, kv_head = blockIdx.y;
    u32 basis = shared_address(shared), ring = basis + (BASIS_FITS ? BASIS_BYTES : 0);
    prepare_keys<128>(first_keys, args.bias, kv_head);
    if constexpr (BASIS_FITS)
        fetch_basis<128>(basis, args.basis, kv_head);
    commit_copies();
    wait_copies<0>();
    publish_basis();
    __syncthreads();
    for (int p = blockIdx.x; p < args.page_count; p += gridDim.x) {
        i64 first = (i64)p * PAGE_SIZE;
        u16* keys = args.keys + first * (HK * DH) + kv_head * DH;
        u16* values = args.values + first * (HK * DH) + kv_head * DH;
        if (args.hot_table[p] != 0) {
            copy_page(args, args.hot_table[p], kv_head, keys, values);
            continue;
        }

        u32 page = args.latent_table[p];
        LatentRows rows;
#pragma unroll
        for (int h = 0; h < 2; h++)
            set_row(rows, h, args.pages + args.latent_offset, page, warp * 16 + g + h * 8, kv_head);
#pragma unroll
        for (int c = 0; c < RING_CHUNKS; c++) {
            fetch_chunk(ring, c, rows);
            commit_copies();
        }

        Keys key;
        begin_keys(key, first_keys);
        rebuild_keys<BASIS_FITS>(key, ring, basis, args.basis + (i64)kv_head * BASIS_BYTES, [&](int c) {
            if (c + RING_CHUNKS < CHUNKS)
                fetch_chunk(ring, c + RING_CHUNKS, rows);
            commit_copies();
        });
        const float2* rope[2] = {args.rope + (first + warp * 16 + g) * (DH / 2), args.rope + (first + warp * 16 + g + 8) * (DH / 2)};
#pragma unroll
        for (int j = 0; j < DH / 16; j++)
            rotate_pair(key, j, [&](int h) { return *(const float4*)(rope[h] + channel_of(j)); });
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int j = 0; j < DH / 8; j += 4) {
                u32 pair[4];
#pragma unroll
                for (int i = 0; i < 4; i++)
                    pair[i] = narrow2(key[j + i][h * 2] * args.key_scale, key[j + i][h * 2 + 1] * args.key_scale);
                *(uint4*)(keys + (warp * 16 + g + h * 8) * (HK * DH) + channel_of(j)) = make_uint4(pair[0], pair[1], pair[2], pair[3]);
            }

        unpack_values(args, page, kv_head, values);
    }
}
