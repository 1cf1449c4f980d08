// band_queries — scoring queries of a row's bands of distance (Latent.ScoreBands): the summed query heads, turned by the mean rotation of a band, in the latent
// coordinates; and what the mean key scores in the band. After rope, for the rows that need scores
// in   qkv        [B, qkv_stride]  bf16   query heads [HQ, DH] after rope
//      position   [B]              i32
//      rope       [positions, DH / 2, 2] f32  cos, sin
//      means      [LEVELS, DH / 2, 2] f32  mean of exp(-i f t) over the 64 << level tokens of a band
//      projection [R, D]           fp16   high half of the packed U^T
//      mean       [D]              f32    mean key
//      scale      [RS]             f32    value of code 1
// out  queries    [B, BANDS, RS]   f32    times scale
//      biases     [B, BANDS]       f32
// grid (RS / 16, B)  block 256  smem (1 + TOGETHER) * 4 * D B     a warp two coordinates of all bands; block 0 the biases
// math f32 of bf16 queries
// cost reads 2 * RS * D B of the projection from L2 for every TOGETHER bands
// defs DH, HQ, HK, RS, BANDS, timeline's · oracle Latent.ScoreBands · launcher BandQueriesKernel
#include "bf16.cuh"
#include "half.cuh"
#include "reduce.cuh"
#include "score_bands.cuh"
#include "timeline.cuh"

struct Args {
    const u16* qkv;
    const int* position;
    const float* rope;
    const float* means;
    const u16* projection;
    const float* mean;
    const float* scale;
    float* queries;
    float* biases;
    int qkv_stride;
    float unscale;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, qkv);
CHECK_FIELD(Args, position);
CHECK_FIELD(Args, rope);
CHECK_FIELD(Args, means);
CHECK_FIELD(Args, projection);
CHECK_FIELD(Args, mean);
CHECK_FIELD(Args, scale);
CHECK_FIELD(Args, queries);
CHECK_FIELD(Args, biases);
CHECK_FIELD(Args, qkv_stride);
CHECK_FIELD(Args, unscale);
static_assert(HQ % HK == 0 && RS % 16 == 0, "whole groups; score rank a multiple of 16");

constexpr int G = HQ / HK;
constexpr int D = HK * DH;
constexpr int HALF = DH / 2;
constexpr int TOGETHER = D <= 768 ? 8 : D <= 1024 ? 6 : D <= 2048 ? 3 : 1;  // bands at a time

extern "C" __global__ void __launch_bounds__(256, 1) band_queries(const __grid_constant__ Args args) {
    __shared__ float summed[D];
    __shared__ __align__(16) float turned[TOGETHER][D];
    int row = blockIdx.y, position = args.position[row], lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    if (!needs_scores(position + 1))
        return;
    const u16* query = args.qkv + (i64)row * args.qkv_stride;
    for (int d = threadIdx.x; d < D; d += 256) {
        float sum = 0.f;
#pragma unroll
        for (int g = 0; g < G; g++)
            sum += widen(query[(d / DH * G + g) * DH + d % DH]);
        summed[d] = sum;
    }

    int pages = latent_pages(position + 1), count = band_of(pages - 1) + 1;
    for (int begin = 0; begin < count; begin += TOGETHER) {
        int some = min(TOGETHER, count - begin);
        __syncthreads();
        for (int i = threadIdx.x; i < some * (D / 2); i += 256) {
            int b = i / (D / 2), pair = i % (D / 2), head = pair / HALF * DH, f = pair % HALF;
            const float* place = args.rope + ((i64)first_token_of(begin + b, pages) * HALF + f) * 2;
            const float* mean = args.means + (level_of(begin + b) * HALF + f) * 2;
            float cosine = place[0] * mean[0] + place[1] * mean[1], sine = place[0] * mean[1] - place[1] * mean[0];
            float x = summed[head + f], y = summed[head + HALF + f];
            turned[b][head + f] = x * cosine - y * sine;
            turned[b][head + HALF + f] = y * cosine + x * sine;
        }

        __syncthreads();
#pragma unroll 1
        for (int j = 0; j < 2; j++) {
            int coordinate = blockIdx.x * 16 + warp * 2 + j;
            const uint2* vector = (const uint2*)(args.projection + (i64)coordinate * D);
            float sum[TOGETHER] = {};
#pragma unroll 2
            for (int at = lane; at < D / 4; at += 32) {
                uint2 four = vector[at];
                float a = half_low(four.x), b = half_high(four.x), c = half_low(four.y), d = half_high(four.y);
#pragma unroll
                for (int i = 0; i < TOGETHER; i++) {
                    float4 t = ((const float4*)turned[i])[at];
                    sum[i] += a * t.x + b * t.y + (c * t.z + d * t.w);
                }
            }

            float scale = args.scale[coordinate] * args.unscale;
#pragma unroll
            for (int i = 0; i < TOGETHER; i++) {
                float total = warp_sum(sum[i]);
                if (lane == 0 && i < some)
                    args.queries[((i64)row * BANDS + begin + i) * RS + coordinate] = total * scale;
            }
        }

        if (blockIdx.x == 0 && warp < some) {
            float sum = 0.f;
            for (int d = lane; d < D; d += 32)
                sum += turned[warp][d] * args.mean[d];
            sum = warp_sum(sum);
            if (lane == 0)
                args.biases[row * BANDS + begin + warp] = sum;
        }
    }
}
