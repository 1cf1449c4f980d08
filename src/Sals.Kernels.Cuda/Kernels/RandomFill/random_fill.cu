// random_fill — random numbers where weights or cache pages are expected, the same as the host would make
//   bf16:  y[i] = narrow(scale * bell(i)),  bell = the sum of four 16-bit draws, centred: nearly normal, and exact in f32
//   pages: one plane of every listed page and layer, 16 bytes a thread
// in   stream          u32    which numbers (a tensor's name, hashed); key of the generator = seed
//      pages  [N]      u32    page offsets in 4-KiB units (fill_pages only)
// out  y      [COUNT]  bf16   (fill_bf16), COUNT even
//      base            bytes  plane of a page: PLANE bytes from OFFSET, once for each of LAYERS at a distance of STRIDE (fill_pages)
// grid (ceil(COUNT / 512)) or (ceil(PLANE / 4096), N, LAYERS)  block 256  smem 0
// math integer, one f32 product, one rounding: bit-equal to RandomTensor
// cost one Philox block per two values; some tens of milliseconds for 8B weights
// defs none · oracle RandomTensor · launcher RandomFillKernel
#include "bf16.cuh"
#include "philox.cuh"

enum Content { BELL_BF16 = 0, BELL_I8 = 1, BITS = 2, SCALES = 3, PEAKS = 4 };

struct Args {
    u8* base;
    const u32* pages;
    i64 count;
    i64 offset;
    i64 stride;
    int plane;
    int content;
    u32 seed;
    u32 stream;
    float scale;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, base);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, count);
CHECK_FIELD(Args, offset);
CHECK_FIELD(Args, stride);
CHECK_FIELD(Args, plane);
CHECK_FIELD(Args, content);
CHECK_FIELD(Args, seed);
CHECK_FIELD(Args, stream);
CHECK_FIELD(Args, scale);

// of 32 random bits: their 16-bit halves added
__device__ __forceinline__ int halves(u32 bits) { return (int)(bits & 0xffff) + (int)(bits >> 16); }

// two values of one block; standard deviation 65536 / sqrt(3), which the launcher divides its scale by
__device__ __forceinline__ int2 bell(uint4 r) { return make_int2(halves(r.x) + halves(r.y) - 131070, halves(r.z) + halves(r.w) - 131070); }

extern "C" __global__ void __launch_bounds__(256) fill_bf16(const __grid_constant__ Args args) {
    i64 pair = blockIdx.x * 256ll + threadIdx.x;
    if (pair * 2 >= args.count)
        return;
    int2 value = bell(philox(make_uint2(args.seed, 0), make_uint4((u32)pair, (u32)(pair >> 32), args.stream, 0)));
    ((u32*)args.base)[pair] = narrow2(__fmul_rn((float)value.x, args.scale), __fmul_rn((float)value.y, args.scale));
}

extern "C" __global__ void __launch_bounds__(256) fill_pages(const __grid_constant__ Args args) {
    int at = (blockIdx.x * 256 + threadIdx.x) * 16;
    if (at >= args.plane)
        return;
    u32 page = args.pages[blockIdx.y];
    uint2 key = make_uint2(args.seed, args.stream);
    u32 words[4];
    if (args.content == BITS || args.content == PEAKS) {
        // bf16 of 2 .. 4: sign and exponent are the same, the other seven bits any
        u32 any = args.content == BITS ? 0xffffffffu : 0x007f007fu, same = args.content == BITS ? 0 : 0x40004000u;
        uint4 r = philox(key, make_uint4(at, page, blockIdx.z, 0));
        words[0] = r.x & any | same, words[1] = r.y & any | same, words[2] = r.z & any | same, words[3] = r.w & any | same;
    } else if (args.content == SCALES) {
        // (fp16 scale, fp16 zero) pairs: scale 2^-3 .. 2^-2, so that 4-bit codes span some two units, zero -1
        uint4 r = philox(key, make_uint4(at, page, blockIdx.z, 0));
        words[0] = 0xbc003000u | (r.x & 0x3ff), words[1] = 0xbc003000u | (r.y & 0x3ff);
        words[2] = 0xbc003000u | (r.z & 0x3ff), words[3] = 0xbc003000u | (r.w & 0x3ff);
    } else if (args.content == BELL_BF16) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int2 value = bell(philox(key, make_uint4(at, page, blockIdx.z, i)));
            words[i] = narrow2(value.x * args.scale, value.y * args.scale);
        }
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int2 low = bell(philox(key, make_uint4(at, page, blockIdx.z, 2 * i)));
            int2 high = bell(philox(key, make_uint4(at, page, blockIdx.z, 2 * i + 1)));
            int codes[4] = {low.x, low.y, high.x, high.y};
            words[i] = 0;
#pragma unroll
            for (int j = 0; j < 4; j++)
                words[i] |= ((u32)max(-127, min(127, __float2int_rn(codes[j] * args.scale))) & 0xff) << (8 * j);
        }
    }
    *(uint4*)(args.base + page * 4096ll + args.offset + blockIdx.z * args.stride + at) = make_uint4(words[0], words[1], words[2], words[3]);
}
