// embed_tokens — one row of the embedding per token
//   x[b] = embedding[token[b]]
// in   embedding [V, H]   bf16   rows 16-byte aligned
//      token     [B]      i32    in [0, V); others read row 0
// out  x         [B, H]   bf16
// grid (B)  block 128  smem 0
// math none: a copy
// cost reads and writes 2 * H bytes per row
// defs H, V · oracle Reference.EmbedTokens · launcher EmbedTokensKernel
#include "chain.cuh"
#include "types.cuh"

struct Args {
    const uint4* embedding;
    const int* token;
    uint4* x;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, embedding);
CHECK_FIELD(Args, token);
CHECK_FIELD(Args, x);
static_assert(H % 8 == 0, "rows are copied 16 bytes at a time");

extern "C" __global__ void __launch_bounds__(128) embed_tokens(const __grid_constant__ Args args) {
    constexpr int VECTORS = H / 8;
    wait_predecessor();
    release_successor();
    int token = args.token[blockIdx.x];
    token = (u32)token < V ? token : 0;
    const uint4* from = args.embedding + (i64)token * VECTORS;
    uint4* to = args.x + (i64)blockIdx.x * VECTORS;
    for (int i = threadIdx.x; i < VECTORS; i += 128)
        to[i] = from[i];
}
