// prefill_attend — causal attention of a slice of one prompt over its lane
//   o[i,h] = softmax(q[i,h] . K[t,h/G] / sqrt(DH)) V[t,h/G]   over t <= first + i,  i < T
// in   qkv    [T, (HQ + 2 * HK) * DH]  bf16   queries after rope; the rest is not read
//      keys, values [first + T, HK, DH] bf16  the lane, history included; rows 16-byte aligned
// out  o      [T, HQ, DH]              bf16
// grid (HQ, ceil(T / 128))  block 256  smem 256 * DH * 2 B, prefill_attend_warpgroup 640 * DH * 2 B    late blocks, which have most to do, start first
// math f32 accumulation, base-2 softmax, 64 (warpgroup: 128) keys at a time in order, probabilities rounded to bf16 for the product with V:
//      a query's result does not depend on the slice it comes in
// cost 4 * DH operations per (query, key, head); matrix bound
// defs DH, HQ, HK · oracle Reference.PrefillAttend · launcher PrefillAttendKernel
// after FlashAttention-2 (Dao, arXiv 2307.08691)
#include "bf16.cuh"
#include "matrix.cuh"

struct Args {
    const u16* qkv;
    const u16* keys;
    const u16* values;
    u16* o;
    int tokens;
    int first;
    float scale;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, qkv);
CHECK_FIELD(Args, keys);
CHECK_FIELD(Args, values);
CHECK_FIELD(Args, o);
CHECK_FIELD(Args, tokens);
CHECK_FIELD(Args, first);
CHECK_FIELD(Args, scale);
static_assert(DH == 64 || DH == 128, "head sizes 64 and 128");
static_assert(HQ % HK == 0, "whole groups of query heads");

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#include "prefill_warpgroup.cuh"
#else
#include "prefill_warp.cuh"
#endif
