// skinny_gemm — y = x W^T for few rows: the weights are streamed once, row-major as stored
//   y[b, n] = sum_k x[b, k] W[n, k] (+ bias[n]);  B <= 8 * NB
// in   weight [N, K]  bf16   rows 16-byte aligned; swiglu: gate [F, K] and up [F, K], N = F
//      x      [B, K]  bf16   buffer of 8 * NB rows; rows B.. are read and dropped, whatever they hold
//      bias   [N]     bf16   or null; swiglu: gate's, then up's
// out  y      store:  [B, STRIDE] bf16   columns N.. are left as they are; the others have stride N
//             add:    [B, N] bf16   y += (the residual stream), in place
//             swiglu: [B, F] bf16   silu(gate) * up
//             float:  [B, N] f32    logits
// grid up to 16 rows, skinny_ring.cuh: (SMS)  block 256  smem 8 * (STAGES * (16 + 8 * NB) * 128 + 2 * NB * 512) B; so always on compute
//      capability 9.0, above 16 rows with twice the weight rows a tile: smem 8 * (3 * (32 + 32) * 128 or 2 * (32 + 64) * 128, + 4096) B
//      above: (ceil(N / 32); swiglu: F / 16)  block 256  smem 16 * NB * 512 B
// math f32 accumulation in matrix instructions; the 8 warps split K in a way that depends on K alone and are added in order,
//      so a row's result is the same bits for every B and NB
// cost 2 * N * K bytes of weights; nothing else matters up to about 32 rows
// defs none beyond the layout checks · oracle Reference.MatMul · launcher SkinnyGemmKernel
#include "bf16.cuh"
#include "chain.cuh"
#include "matrix.cuh"

struct Args {
    const u16* weight;
    const u16* up_weight;
    const u16* x;
    const u16* bias;
    void* y;
    int n;
    int k;
    int rows;
    int stride;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, weight);
CHECK_FIELD(Args, up_weight);
CHECK_FIELD(Args, x);
CHECK_FIELD(Args, bias);
CHECK_FIELD(Args, y);
CHECK_FIELD(Args, n);
CHECK_FIELD(Args, k);
CHECK_FIELD(Args, rows);
CHECK_FIELD(Args, stride);

enum Epilogue { STORE, ADD, SWIGLU, FLOAT };

constexpr int WARPS = 8;
constexpr int STEPS = 4;  // k advances by 32 a step; a warp takes 128 at a time
constexpr int CHUNK = STEPS * 32;

// Adds the warps' parts of a block of TILES tiles in order and stores it. partial [WARPS, TILES * NB * 4, 32]; n0 = first output of the block.
template <int NB, int TILES, Epilogue EPILOGUE>
__device__ __forceinline__ void finish_tile(const Args& args, const float* partial, int n0) {
    constexpr int ROWS = EPILOGUE == SWIGLU ? 8 : 16;
    constexpr int VALUES = TILES * NB * 128;
    auto total = [&](int index) {
        float sum = 0.f;
#pragma unroll
        for (int w = 0; w < WARPS; w++)
            sum += partial[w * VALUES + index];
        return sum;
    };
    // element e of lane l in tile (i, b): weight row l / 4 (+ 8 when e >= 2), column 2 * (l % 4) + e % 2 of the eight rows of x
    constexpr int OUTPUTS = EPILOGUE == SWIGLU ? VALUES / 2 : VALUES;
    for (int index = threadIdx.x; index < OUTPUTS; index += WARPS * 32) {
        int l = index & 31, e, tile;
        if (EPILOGUE == SWIGLU) {
            e = (index >> 5) & 1, tile = index >> 6;
        } else {
            e = (index >> 5) & 3, tile = index >> 7;
        }

        int i = tile / NB, b = tile % NB;
        int n = n0 + i * ROWS + (l >> 2) + (e >= 2 ? 8 : 0);
        int row = b * 8 + (l & 3) * 2 + (e & 1);
        if (n >= args.n || row >= args.rows)
            continue;
        float value = total((tile * 4 + e) * 32 + l) + (args.bias ? widen(args.bias[n]) : 0.f);
        i64 at = (i64)row * args.stride + n;
        if (EPILOGUE == SWIGLU) {
            float up = total((tile * 4 + e + 2) * 32 + l) + (args.bias ? widen(args.bias[args.n + n]) : 0.f);
            ((u16*)args.y)[at] = narrow(value / (1.f + __expf(-value)) * up);
        } else if (EPILOGUE == STORE) {
            ((u16*)args.y)[at] = narrow(value);
        } else if (EPILOGUE == ADD) {
            u16* y = (u16*)args.y;
            y[at] = narrow(widen(__ldcg(y + at)) + value);
        } else {
            ((float*)args.y)[at] = value;
        }
    }
}

// The dot product does not care about the order of k: lane (g, t) loads 16 bytes of row g at k + 8 t, and the four words serve as the
// fragments of two 16-wide matrix steps, for weights and x alike. TILES tiles of 16 weight rows a block; LOADS k-steps in flight.
template <int NB, int TILES, int LOADS, Epilogue EPILOGUE>
__device__ __forceinline__ void skinny(const Args& args) {
    extern __shared__ float partial[];  // [WARPS, TILES * NB * 4, 32]
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
    release_successor();
    wait_predecessor();
    int k_size = args.k;
    constexpr int ROWS = EPILOGUE == SWIGLU ? 8 : 16;
    int n0 = blockIdx.x * (ROWS * TILES);

    // the two weight rows of this lane in every tile; rows past the end read the last one and are dropped
    const u16* low[TILES];
    const u16* high[TILES];
#pragma unroll
    for (int i = 0; i < TILES; i++) {
        int row = min(n0 + i * ROWS + g, args.n - 1);
        low[i] = args.weight + (i64)row * k_size + t * 8;
        high[i] = EPILOGUE == SWIGLU ? args.up_weight + (i64)row * k_size + t * 8
                                     : args.weight + (i64)min(n0 + i * ROWS + g + 8, args.n - 1) * k_size + t * 8;
    }

    const u16* x = args.x + (i64)g * k_size + t * 8;
    float c[TILES][NB][4];
#pragma unroll
    for (int i = 0; i < TILES; i++)
#pragma unroll
        for (int b = 0; b < NB; b++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                c[i][b][e] = 0.f;

    for (int chunk = warp * CHUNK; chunk < k_size; chunk += WARPS * CHUNK) {
#pragma unroll
        for (int half = 0; half < STEPS; half += LOADS) {
            uint4 wl[TILES][LOADS], wh[TILES][LOADS];
#pragma unroll
            for (int u = 0; u < LOADS; u++) {
                int k = chunk + (half + u) * 32;
                bool inside = k < k_size;
#pragma unroll
                for (int i = 0; i < TILES; i++) {
                    wl[i][u] = inside ? load_stream(low[i] + k) : make_uint4(0, 0, 0, 0);
                    wh[i][u] = inside ? load_stream(high[i] + k) : make_uint4(0, 0, 0, 0);
                }
            }

#pragma unroll
            for (int u = 0; u < LOADS; u++) {
                int k = chunk + (half + u) * 32;
                if (k >= k_size)
                    break;
#pragma unroll
                for (int b = 0; b < NB; b++) {
                    uint4 v = *(const uint4*)(x + (i64)b * 8 * k_size + k);
#pragma unroll
                    for (int i = 0; i < TILES; i++) {
                        multiply_add(c[i][b], wl[i][u].x, wh[i][u].x, wl[i][u].y, wh[i][u].y, v.x, v.y);
                        multiply_add(c[i][b], wl[i][u].z, wh[i][u].z, wl[i][u].w, wh[i][u].w, v.z, v.w);
                    }
                }
            }
        }
    }

#pragma unroll
    for (int i = 0; i < TILES; i++)
#pragma unroll
        for (int b = 0; b < NB; b++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                partial[((warp * TILES * NB + i * NB + b) * 4 + e) * 32 + lane] = c[i][b][e];
    __syncthreads();

    finish_tile<NB, TILES, EPILOGUE>(args, partial, n0);
}

#define SKINNY(NB, TILES, LOADS, BLOCKS, NAME, EPILOGUE)                                                                     \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS) skinny_gemm_##NAME##_##NB(const __grid_constant__ Args args) { \
        skinny<NB, TILES, LOADS, EPILOGUE>(args);                                                                            \
    }
#define SKINNY_ALL(NB, TILES, LOADS, BLOCKS)         \
    SKINNY(NB, TILES, LOADS, BLOCKS, store, STORE)   \
    SKINNY(NB, TILES, LOADS, BLOCKS, add, ADD)       \
    SKINNY(NB, TILES, LOADS, BLOCKS, swiglu, SWIGLU) \
    SKINNY(NB, TILES, LOADS, BLOCKS, float, FLOAT)

#if __CUDA_ARCH__ < 900
SKINNY_ALL(4, 2, 2, 2)
SKINNY_ALL(8, 2, 2, 1)
#endif

#include "skinny_ring.cuh"
