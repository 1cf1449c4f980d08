// key_covariance — what calibration gathers of one layer's keys before rope: their sum and the sum of their outer products
//   keys[b,j]  = norm(k[b,j])                 key_gather; norm over DH only with a gamma (Qwen3)
//   moment[i,j] += sum_b keys[b,i] keys[b,j]  for i <= j by tiles of 64,   sum[i] += sum_b keys[b,i]        key_covariance
// in   qkv      [B, stride]  bf16   query heads, key heads, value heads as the projection left them, biases included
//      key_gamma [DH]        bf16   null = no norm
// out  keys     [B, D]       bf16   D = HK * DH
//      moment   [D, D]       f64    tiles on and above the diagonal; the others are not touched
//      sum      [D]          f64
// grid (B) / (tiles on and above the diagonal)   block 32 * HK / 128   smem 0 / 2 * 2 * 32 * 128 B static
// math products and sums of one launch in f32, added to f64 once a launch: B should be about a thousand
// cost 2 B D^2 flop (half of the tiles are left out), 16 D^2 bytes
// defs DH, HQ, HK · oracle CovarianceSet · launcher KeyCovarianceKernel
#include "bf16.cuh"
#include "matrix.cuh"
#include "reduce.cuh"

struct Args {
    const u16* qkv;
    const u16* key_gamma;
    u16* keys;
    double* moment;
    double* sum;
    int stride;
    int row_count;
    float epsilon;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, qkv);
CHECK_FIELD(Args, key_gamma);
CHECK_FIELD(Args, keys);
CHECK_FIELD(Args, moment);
CHECK_FIELD(Args, sum);
CHECK_FIELD(Args, stride);
CHECK_FIELD(Args, row_count);
CHECK_FIELD(Args, epsilon);

constexpr int D = HK * DH;
constexpr int TILE = 64;   // channels of a tile's side
constexpr int STAGE = 32;  // keys in shared memory at a time
static_assert(DH % TILE == 0, "head sizes are multiples of 64");

extern "C" __global__ void __launch_bounds__(32 * HK) key_gather(const __grid_constant__ Args args) {
    int row = blockIdx.x, head = threadIdx.x >> 5, lane = threadIdx.x & 31;
    const u32* source = (const u32*)(args.qkv + (i64)row * args.stride + (HQ + head) * DH);
    u32* target = (u32*)(args.keys + (i64)row * D + head * DH);
    float2 x[DH / 64];
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < DH / 64; i++) {
        u32 pair = source[i * 32 + lane];
        x[i] = make_float2(widen_low(pair), widen_high(pair));
        squares += x[i].x * x[i].x + x[i].y * x[i].y;
    }

    float scale = args.key_gamma ? rsqrtf(warp_sum(squares) / DH + args.epsilon) : 1.f;
#pragma unroll
    for (int i = 0; i < DH / 64; i++) {
        u32 gamma = args.key_gamma ? ((const u32*)args.key_gamma)[i * 32 + lane] : 0x3f803f80;
        target[i * 32 + lane] = narrow2(x[i].x * scale * widen_low(gamma), x[i].y * scale * widen_high(gamma));
    }
}

// 16-byte pieces of a 128-byte row are permuted so that eight rows of one column lie in different banks
__device__ __forceinline__ u32 piece(int row, int column) { return row * TILE * 2 + ((column ^ (row & 7)) << 4); }

// copies channels [first, first + 64) of keys [b, b + 32); rows past the end become zeros and are not read
__device__ __forceinline__ void fetch(u32 stage, const u16* keys, int first, int b, int row_count) {
#pragma unroll
    for (int i = 0; i < STAGE * 8 / 128; i++) {
        int index = i * 128 + threadIdx.x, row = index / 8, column = index % 8;
        bool inside = b + row < row_count;
        copy16_async(stage + piece(row, column), keys + (i64)(inside ? b + row : 0) * D + first + column * 8, inside ? 16 : 0);
    }
}

extern "C" __global__ void __launch_bounds__(128) key_covariance(const __grid_constant__ Args args) {
    __shared__ __align__(128) u8 shared[2][2][STAGE * TILE * 2];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;

    // tiles of row i begin behind those of the rows above
    int left = blockIdx.x, i = 0;
    while (left >= D / TILE - i)
        left -= D / TILE - i++;
    int rows = i * TILE, columns = (i + left) * TILE;
    bool diagonal = left == 0;

    float c[8][4];
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            c[n][e] = 0.f;
    double total = 0.;
    int stages = (args.row_count + STAGE - 1) / STAGE;
    fetch(shared_address(shared[0][0]), args.keys, rows, 0, args.row_count);
    fetch(shared_address(shared[0][1]), args.keys, columns, 0, args.row_count);
    commit_copies();
    for (int s = 0; s < stages; s++) {
        if (s + 1 < stages) {
            fetch(shared_address(shared[(s + 1) & 1][0]), args.keys, rows, (s + 1) * STAGE, args.row_count);
            fetch(shared_address(shared[(s + 1) & 1][1]), args.keys, columns, (s + 1) * STAGE, args.row_count);
        }

        commit_copies();
        wait_copies<1>();
        __syncthreads();
        u32 left_stage = shared_address(shared[s & 1][0]), right_stage = shared_address(shared[s & 1][1]);
#pragma unroll
        for (int k = 0; k < STAGE; k += 16) {
            u32 a[4];
            load_tiles_transposed(a, left_stage + piece(k + (lane & 7) + ((lane >> 4) << 3), warp * 2 + ((lane >> 3) & 1)));
#pragma unroll
            for (int n = 0; n < 4; n++) {
                u32 b[4];
                load_tiles_transposed(b, right_stage + piece(k + (lane & 7) + (((lane >> 3) & 1) << 3), n * 2 + (lane >> 4)));
                multiply_add(c[n * 2], a[0], a[1], a[2], a[3], b[0], b[1]);
                multiply_add(c[n * 2 + 1], a[0], a[1], a[2], a[3], b[2], b[3]);
            }
        }

        if (diagonal && threadIdx.x < TILE) {
            float part = 0.f;
            for (int t = 0; t < STAGE; t++)
                part += widen(*(const u16*)(shared[s & 1][0] + piece(t, threadIdx.x / 8) + threadIdx.x % 8 * 2));
            total += part;
        }

        __syncthreads();
    }

    int g = lane >> 2, t = lane & 3;
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            double2* at = (double2*)(args.moment + (i64)(rows + warp * 16 + g + half * 8) * D + columns + n * 8 + t * 2);
            double2 old = *at;
            *at = make_double2(old.x + c[n][half * 2], old.y + c[n][half * 2 + 1]);
        }
    if (diagonal && threadIdx.x < TILE)
        args.sum[rows + threadIdx.x] += total;
}
