// scatter_words — 32-bit words to addresses of their own: what the host decides between steps (page-table edits, lengths)
//   *address[i] = value[i]
// in   words [N]  (u64 address, u32 value, u32 unused); an address that comes twice comes with one value
// out  the addresses
// grid (ceil(N / 256))  block 256  smem 0
// math none
// cost latency only
// defs none · oracle: a loop in the test · launcher ScatterWordsKernel
#include "types.cuh"

struct Word {
    u32* address;
    u32 value;
    u32 unused;
};

struct Args {
    const Word* words;
    int count;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, words);
CHECK_FIELD(Args, count);
static_assert(sizeof(Word) == 16, "Word is 16 bytes on both sides");

extern "C" __global__ void __launch_bounds__(256) scatter_words(const __grid_constant__ Args args) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < args.count)
        *args.words[i].address = args.words[i].value;
}
