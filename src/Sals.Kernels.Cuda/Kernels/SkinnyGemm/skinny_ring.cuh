// skinny_gemm up to 16 rows, on compute capability 9.0 always: weights and x stream through shared memory, many bytes in flight at few registers.
// Up to 16 rows a block of the next launch fits beside one of this and fills its ring while this one ends. Included by skinny_gemm.cu.
#pragma once

__device__ __forceinline__ uint4 load_shared(u32 address) {
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(address));
    return v;
}

// Blocks take tiles of TILES times 16 weight rows in turn. A warp has the same chunks of K as in `skinny`; W columns of its tile's weights and of x
// pass through a ring of STAGES of its own in shared memory, from tile to tile without a pause.
template <int NB, int TILES, int W, int STAGES, Epilogue EPILOGUE>
__device__ __forceinline__ void skinny_ring(const Args& args) {
    extern __shared__ __align__(128) u8 shared[];
    constexpr int R = 16 * TILES, XR = 8 * NB;
    constexpr int LINE = W * 2, PIECES16 = W / 8;  // bytes and 16-byte pieces of a stage's row
    constexpr int STAGE_BYTES = (R + XR) * LINE;
    constexpr int PASS = NB <= 4 ? TILES : 1;         // of 16 weight rows, whose partial results are added at once
    constexpr int BUFFERS = TILES * NB <= 2 ? 2 : 1;  // of partial results
    constexpr int PASS_VALUES = PASS * NB * 128;
    constexpr int ROWS = EPILOGUE == SWIGLU ? R / 2 : R;  // outputs of a tile
    // eight lanes read pieces of one row of 128 bytes or of two of 64: in different banks
    auto place = [](int r, int c) -> u32 { return r * LINE + ((W == 64 ? c ^ ((r & 1) << 2) : c) << 4); };
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    u32 ring = shared_address(shared) + warp * STAGES * STAGE_BYTES;
    float* partial = (float*)(shared + WARPS * STAGES * STAGE_BYTES);  // [BUFFERS, WARPS, PASS_VALUES]
    int k_size = args.k;
    int tiles = (args.n + ROWS - 1) / ROWS;
    int mine = tiles > (int)blockIdx.x ? (tiles - blockIdx.x + gridDim.x - 1) / gridDim.x : 0;
    constexpr int PARTS = CHUNK / W;
    int pieces = (k_size + WARPS * CHUNK - 1) / (WARPS * CHUNK) * PARTS;
    int total = mine * pieces;

    // where the fetch stands
    int f_tile = blockIdx.x, f_piece = 0, f_slot = 0;
    auto k_of = [&](int piece) { return (warp + piece / PARTS * WARPS) * CHUNK + piece % PARTS * W; };
    auto fetch_weights = [&]() {
        int k0 = k_of(f_piece);
        u32 stage = ring + f_slot * STAGE_BYTES;
#pragma unroll
        for (int i = 0; i < R * PIECES16 / 32; i++) {
            int index = i * 32 + lane, r = index / PIECES16, c = index % PIECES16;
            const u16* from;
            if (EPILOGUE == SWIGLU) {
                int n = min(f_tile * ROWS + r / 16 * 8 + (r & 7), args.n - 1);
                from = (r & 8 ? args.up_weight : args.weight) + (i64)n * k_size;
            } else {
                from = args.weight + (i64)min(f_tile * ROWS + r, args.n - 1) * k_size;
            }
            int k = k0 + c * 8;
            bool inside = k < k_size;
            copy16_async(stage + place(r, c), from + (inside ? k : 0), inside ? 16 : 0);
        }
    };
    auto fetch_x = [&](int piece, int slot) {
        int k0 = k_of(piece);
        u32 stage = ring + slot * STAGE_BYTES + R * LINE;
#pragma unroll
        for (int i = 0; i < XR * PIECES16 / 32; i++) {
            int index = i * 32 + lane, r = index / PIECES16, c = index % PIECES16;
            int k = k0 + c * 8;
            bool inside = k < k_size && r < args.rows;
            copy16_async(stage + place(r, c), args.x + (inside ? (i64)r * k_size + k : 0), inside ? 16 : 0);
        }
    };
    auto advance = [&]() {
        f_slot = f_slot + 1 == STAGES ? 0 : f_slot + 1;
        if (++f_piece == pieces)
            f_piece = 0, f_tile += gridDim.x;
    };

    // weights do not wait for the launch before this one
    release_successor();
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < total) {
            fetch_weights();
            advance();
        }
    }
    wait_predecessor();
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < total)
            fetch_x(s % pieces, s);
        commit_copies();
    }

    float c[TILES][NB][4];
#pragma unroll
    for (int i = 0; i < TILES; i++)
#pragma unroll
        for (int b = 0; b < NB; b++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                c[i][b][e] = 0.f;

    int slot = 0, piece = 0, tile = blockIdx.x, buffer = 0;
    for (int n = 0; n < total; n++) {
        wait_copies<STAGES - 2>();
        __syncwarp();
        if (n + STAGES - 1 < total) {
            fetch_weights();
            fetch_x(f_piece, f_slot);
            advance();
        }
        commit_copies();
        u32 stage = ring + slot * STAGE_BYTES;
#pragma unroll
        for (int u = 0; u < W / 32; u++) {
            u32 at = stage + place(g, u * 4 + t);
            uint4 low[TILES], high[TILES];
#pragma unroll
            for (int i = 0; i < TILES; i++)
                low[i] = load_shared(at + i * 16 * LINE), high[i] = load_shared(at + (i * 16 + 8) * LINE);
#pragma unroll
            for (int b = 0; b < NB; b++) {
                uint4 v = load_shared(at + (R + b * 8) * LINE);
#pragma unroll
                for (int i = 0; i < TILES; i++) {
                    multiply_add(c[i][b], low[i].x, high[i].x, low[i].y, high[i].y, v.x, v.y);
                    multiply_add(c[i][b], low[i].z, high[i].z, low[i].w, high[i].w, v.z, v.w);
                }
            }
        }

        __syncwarp();
        slot = slot + 1 == STAGES ? 0 : slot + 1;
        if (++piece < pieces)
            continue;

        // end of a tile
        piece = 0;
        float* part = partial + buffer * WARPS * PASS_VALUES;
#pragma unroll
        for (int pass = 0; pass < TILES; pass += PASS) {
#pragma unroll
            for (int i = 0; i < PASS; i++)
#pragma unroll
                for (int b = 0; b < NB; b++)
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        part[warp * PASS_VALUES + ((i * NB + b) * 4 + e) * 32 + lane] = c[pass + i][b][e];
                        c[pass + i][b][e] = 0.f;
                    }

            // of two buffers, the barrier of the next tile keeps this one until everybody has read it
            __syncthreads();
            finish_tile<NB, PASS, EPILOGUE>(args, part, tile * ROWS + pass * (ROWS / TILES));
            if (BUFFERS == 1)
                __syncthreads();
        }

        buffer ^= BUFFERS - 1;
        tile += gridDim.x;
    }
}

#define SKINNY_RING(NB, TILES, W, STAGES, BLOCKS, NAME, EPILOGUE)                                                            \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS) skinny_gemm_##NAME##_##NB(const __grid_constant__ Args args) { \
        skinny_ring<NB, TILES, W, STAGES, EPILOGUE>(args);                                                                   \
    }
#define SKINNY_RING_ALL(NB, TILES, W, STAGES, BLOCKS)         \
    SKINNY_RING(NB, TILES, W, STAGES, BLOCKS, store, STORE)   \
    SKINNY_RING(NB, TILES, W, STAGES, BLOCKS, add, ADD)       \
    SKINNY_RING(NB, TILES, W, STAGES, BLOCKS, swiglu, SWIGLU) \
    SKINNY_RING(NB, TILES, W, STAGES, BLOCKS, float, FLOAT)

// stages of a warp: two blocks on a multiprocessor of 228 KB, one on one of 100 KB; for more rows one on one of 228 KB
#if __CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 890
SKINNY_RING_ALL(1, 1, 64, 3, 2)
SKINNY_RING_ALL(2, 1, 64, 2, 2)
#else
SKINNY_RING_ALL(1, 1, 64, 4, 2)
SKINNY_RING_ALL(2, 1, 64, 3, 2)
#endif
#if __CUDA_ARCH__ >= 900
SKINNY_RING_ALL(4, 2, 64, 3, 1)
SKINNY_RING_ALL(8, 2, 64, 2, 1)
#endif
