// scoring_query — scoring query of models that norm their queries: s = U_s^T (sum of the normed query heads of each KV head), before rope
//   others have it from the query projection (Latent.ScoringQuery.Fold)
// in   qkv        [B, qkv_stride]  bf16   query heads [HQ, DH] as projected: neither normed nor rotated
//      gamma      [DH]             bf16   q_norm
//      projection [R, D]           fp16   high half of the packed projection of flush_pages
// out  qkv        scoring query [RS] bf16 at element (HQ + 2 * HK) * DH of each row
// grid (RS / 16, B)  block 256  smem 4 * D B     a warp two coordinates
// math f32, one rounding at the store
// cost reads 2 * RS * D B of the projection from L2
// defs DH, HQ, HK, RS · oracle Latent.ScoringQuery · launcher ScoringQueryKernel
#include "bf16.cuh"
#include "half.cuh"
#include "reduce.cuh"

struct Args {
    u16* qkv;
    const u16* gamma;
    const u16* projection;
    int qkv_stride;
    float epsilon;
    float unscale;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, qkv);
CHECK_FIELD(Args, gamma);
CHECK_FIELD(Args, projection);
CHECK_FIELD(Args, qkv_stride);
CHECK_FIELD(Args, epsilon);
CHECK_FIELD(Args, unscale);
static_assert(HQ % HK == 0 && RS % 16 == 0, "whole groups; score rank a multiple of 16");
static_assert(DH == 64 || DH == 128, "head sizes 64 and 128");

constexpr int G = HQ / HK;
constexpr int D = HK * DH;
constexpr int WARPS = 8;
constexpr int EACH = DH / 32;  // channels of a head that a lane holds

extern "C" __global__ void __launch_bounds__(256) scoring_query(const __grid_constant__ Args args) {
    __shared__ float summed[D];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    u16* row = args.qkv + (i64)blockIdx.y * args.qkv_stride;
    for (int head = warp; head < HK; head += WARPS) {
        float total[EACH] = {};
        for (int h = 0; h < G; h++) {
            const u16* query = row + (head * G + h) * DH + lane * EACH;
            float x[EACH], square = 0.f;
#pragma unroll
            for (int i = 0; i < EACH; i++)
                x[i] = widen(query[i]), square += x[i] * x[i];
            float scale = rsqrtf(warp_sum(square) / DH + args.epsilon);
#pragma unroll
            for (int i = 0; i < EACH; i++)
                total[i] += x[i] * scale * widen(args.gamma[lane * EACH + i]);
        }

#pragma unroll
        for (int i = 0; i < EACH; i++)
            summed[head * DH + lane * EACH + i] = total[i];
    }

    __syncthreads();
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int coordinate = blockIdx.x * 16 + warp * 2 + i;
        const uint2* vector = (const uint2*)(args.projection + (i64)coordinate * D);
        float sum = 0.f;
#pragma unroll 8
        for (int at = lane; at < D / 4; at += 32) {
            uint2 four = vector[at];
            float4 s = ((const float4*)summed)[at];
            sum += half_low(four.x) * s.x + half_high(four.x) * s.y + (half_low(four.y) * s.z + half_high(four.y) * s.w);
        }

        sum = warp_sum(sum);
        if (lane == 0)
            row[(HQ + 2 * HK) * DH + coordinate] = narrow(sum * args.unscale);
    }
}
