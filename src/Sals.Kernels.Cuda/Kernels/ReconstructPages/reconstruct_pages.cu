// reconstruct_pages — brings the keys and values of a cached prefix, one compressed layer of one slot, into a prefill lane
//   page p in the hot table: keys, values[64 p + i] = the page's;  else keys[64 p + i] = rope(U latent[i] + mean), values from their codes
// in   hot_table, latent_table [MAXP]  u32    the slot's rows; page offsets in 4-KiB units; 0 = no page
//      pages                           bytes  PageLayout
//      reconstruct  [D, R]             bf16   U, for int8 latents times their scales;  mean [D] f32
//         or        [D, R]             i8     its codes, with reconstruct_scale [ceil(R / 128), D] f32  (RECONSTRUCT_INT8)
//      rope         [positions, DH/2]  f32x2  (cos, sin)
// out  keys, values [LANE, HK, DH]     bf16   after rope
// grid (pages, HK)  block 128  smem 64 * (LATENT_STRIDE + VALUE_STRIDE + SCALE_STRIDE)
// math products as sparse_attend has them, f32 accumulation, rounded to bf16 once: a token's key depends on its own latent only
// cost 2 D R operations per token
// defs DH, HK, R, RS, VALUE_BITS, VALUE_GROUP, LATENT_INT8, RECONSTRUCT_INT8 · oracle Reference.ReconstructPages · launcher ReconstructPagesKernel
#include "latent_tile.cuh"
#include "packed_values.cuh"

struct Args {
    const u32* hot_table;
    const u32* latent_table;
    const u8* pages;
    const u8* reconstruct;
    const float* reconstruct_scale;
    const float* mean;
    const float2* rope;
    u16* keys;
    u16* values;
    u32 hot_offset;
    u32 latent_offset;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, hot_table);
CHECK_FIELD(Args, latent_table);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, reconstruct);
CHECK_FIELD(Args, reconstruct_scale);
CHECK_FIELD(Args, mean);
CHECK_FIELD(Args, rope);
CHECK_FIELD(Args, keys);
CHECK_FIELD(Args, values);
CHECK_FIELD(Args, hot_offset);
CHECK_FIELD(Args, latent_offset);

static_assert(TILE == PAGE_SIZE, "a block takes one head of a page");
static_assert(WIDE_TILE_BYTES + TILE * (LATENT_STRIDE + VALUE_STRIDE + SCALE_STRIDE) == SHARED_BYTES, "the launcher's arithmetic");

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

__device__ __forceinline__ float value_of(const u8* codes, const u32* scales, int token, int channel) {
    const u8* row = codes + token * VALUE_STRIDE;
    if constexpr (VALUE_BITS == 16) {
        return half_low(*(const u16*)(row + channel * 2));
    } else {
        u32 scale = scales[token * HEAD_GROUPS + channel / VALUE_GROUP];
        return fmaf((float)code_of(row, channel), half_low(scale), half_high(scale));
    }
}

extern "C" __global__ void __launch_bounds__(128, 2) reconstruct_pages(const __grid_constant__ Args args) {
    extern __shared__ __align__(128) u8 shared[];
    __shared__ u32 page[TILE];
    __shared__ int position[TILE];
    __shared__ BasisShared of_head;
    int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5, g = lane >> 2, t = lane & 3, kv_head = blockIdx.y;
    i64 first = (i64)blockIdx.x * PAGE_SIZE;
    u16* keys = args.keys + first * (HK * DH) + kv_head * DH;
    u16* values = args.values + first * (HK * DH) + kv_head * DH;
    u32 hot = args.hot_table[blockIdx.x];
    if (hot != 0) {
        const u16* from = key_plane((u8*)args.pages, hot, args.hot_offset) + kv_head * DH;
        for (int i = tid; i < PAGE_SIZE * DH / 8; i += 128) {
            int offset = i / (DH / 8) * (HK * DH) + i % (DH / 8) * 8;
            *(uint4*)(keys + offset) = *(const uint4*)(from + offset);
            *(uint4*)(values + offset) = *(const uint4*)(from + PAGE_SIZE * HK * DH + offset);
        }

        return;
    }

    u8 *latents = shared, *codes = latents + TILE * LATENT_STRIDE;
    u32* scales = (u32*)(codes + TILE * VALUE_STRIDE);
    if (tid < TILE) {
        position[tid] = (int)first + tid;
        page[tid] = args.latent_table[blockIdx.x];
    }

    __syncthreads();
    fetch_latents(shared_address(latents), args.pages + args.latent_offset, page, position, TILE);
    fetch_values<TILE, 128>(shared_address(codes), shared_address(scales), args.pages + args.latent_offset, page, position, TILE, kv_head);
    commit_copies();
    BasisPart basis;
    load_basis(basis, args.reconstruct, kv_head);
    load_shared(of_head, args.mean, args.reconstruct_scale, kv_head);
    wait_copies<0>();
    __syncthreads();
    const u8* tile = latents;
    if constexpr (WIDE_TILE) {
        u8* wide = codes + TILE * (VALUE_STRIDE + SCALE_STRIDE);
        widen_tile(wide, latents);
        __syncthreads();
        tile = wide;
    }

    int first_token = warp / N_WARPS * WARP_TOKENS;
#pragma unroll
    for (int step = 0; step < M_TILES / M_STEP; step++) {
        float key[M_STEP][4][4];
        rebuild_keys(key, tile, first_token / 16 + step * M_STEP, basis, of_head);
#pragma unroll
        for (int m = 0; m < M_STEP; m++) {
            int token = first_token + (step * M_STEP + m) * 16 + g;
            rotate_keys(key[m], [&](int h, int channel) {
                return *(const float4*)(args.rope + (i64)position[token + h * 8] * (DH / 2) + channel);
            });
#pragma unroll
            for (int j = 0; j < 4; j++) {
                u16* to = keys + token * (HK * DH) + group_channel(j) + t * 2;
                *(u32*)to = narrow2(key[m][j][0], key[m][j][1]);
                *(u32*)(to + 8 * HK * DH) = narrow2(key[m][j][2], key[m][j][3]);
            }
        }
    }

    for (int i = tid; i < TILE * DH / 2; i += 128) {
        int token = i / (DH / 2), channel = i % (DH / 2) * 2;
        *(u32*)(values + token * (HK * DH) + channel) =
            narrow2(value_of(codes, scales, token, channel), value_of(codes, scales, token, channel + 1));
    }
}
