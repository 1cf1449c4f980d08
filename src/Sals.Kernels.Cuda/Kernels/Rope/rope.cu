// rope — rotary embedding of queries and keys (rotary pairs are (i, i + DH/2)), then keys and values go to the cache or to a lane
//   q[h], k[j] = rotate(norm(q[h])), rotate(norm(k[j])) at the row's position; norm over DH only with gammas (Qwen3)
// in   qkv      [B, stride]              bf16   query heads, key heads, value heads; the rest of a row is not touched
//      query_gamma, key_gamma [DH]       bf16   null = no norm
//      table    [MAX_POSITION, DH / 2]   f32x2  (cos, sin)
//      position [B]                      i32    rope_append; rope_lane: first_position + b
//      slot     [B]                      i32    rope_append
//      page_table [SLOTS, MAXP]          u32    rope_append: page offsets in 4-KiB units; 0 = no page, absorbs padding rows
// out  qkv      query part, in place
//      pages    K, V of the row's position  (rope_append; rope_append_int8: as codes of their bf16, see head_codes.cuh)
//      keys, values [LANE, HK, DH]       bf16   row first_position + b  (rope_lane)
// grid (ceil((HQ + 2 * HK) / 4), B)  block 128 (a warp a head)  smem 0
// math f32, one rounding at the store; codes and peaks of the rounded key and value, bit-equal to the oracle's
// cost reads and writes each row once; latency bound in decode
// defs DH, HQ, HK, MAXP · oracle Reference.Rope, Reference.HeadCodes · launcher RopeKernel
#include "bf16.cuh"
#include "chain.cuh"
#include "head_codes.cuh"
#include "paging.cuh"
#include "reduce.cuh"

struct Args {
    u16* qkv;
    const u16* query_gamma;
    const u16* key_gamma;
    const float2* table;
    const int* position;
    const int* slot;
    const u32* page_table;
    u8* pages;
    u16* keys;
    u16* values;
    u32 layer_offset;
    u32 peak_offset;
    int first_position;
    int stride;
    float epsilon;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, qkv);
CHECK_FIELD(Args, query_gamma);
CHECK_FIELD(Args, key_gamma);
CHECK_FIELD(Args, table);
CHECK_FIELD(Args, position);
CHECK_FIELD(Args, slot);
CHECK_FIELD(Args, page_table);
CHECK_FIELD(Args, pages);
CHECK_FIELD(Args, keys);
CHECK_FIELD(Args, values);
CHECK_FIELD(Args, layer_offset);
CHECK_FIELD(Args, peak_offset);
CHECK_FIELD(Args, first_position);
CHECK_FIELD(Args, stride);
CHECK_FIELD(Args, epsilon);
static_assert(DH == 64 || DH == 128, "head sizes 64 and 128");

constexpr int PAIRS = DH / 64;  // rotary pairs a lane holds

// x and y: the two halves of the lane's pairs
__device__ __forceinline__ void load_head(const u16* head, float (&x)[PAIRS], float (&y)[PAIRS]) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        x[i] = widen(head[lane * PAIRS + i]);
        y[i] = widen(head[DH / 2 + lane * PAIRS + i]);
    }
}

__device__ __forceinline__ void store_head(u16* head, const float (&x)[PAIRS], const float (&y)[PAIRS]) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        head[lane * PAIRS + i] = narrow(x[i]);
        head[DH / 2 + lane * PAIRS + i] = narrow(y[i]);
    }
}

__device__ __forceinline__ void norm_head(const u16* gamma, float epsilon, float (&x)[PAIRS], float (&y)[PAIRS]) {
    float gx[PAIRS], gy[PAIRS], sum = 0.f;
    load_head(gamma, gx, gy);
#pragma unroll
    for (int i = 0; i < PAIRS; i++)
        sum += x[i] * x[i] + y[i] * y[i];
    float scale = rsqrtf(warp_sum(sum) / DH + epsilon);
#pragma unroll
    for (int i = 0; i < PAIRS; i++)
        x[i] = x[i] * scale * gx[i], y[i] = y[i] * scale * gy[i];
}

// the bf16 that store_head would store, as codes
__device__ __forceinline__ void store_codes(u8* head, u16* peak_to, const float (&x)[PAIRS], const float (&y)[PAIRS]) {
    int lane = threadIdx.x & 31;
    u32 bits[2][PAIRS], largest = 0;
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        bits[0][i] = narrow(x[i]), bits[1][i] = narrow(y[i]);
        largest = max(largest, max(bits[0][i] & 0x7fff, bits[1][i] & 0x7fff));
    }

    u32 peak = warp_peak(largest);
    float factor = code_factor(peak);
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
        for (int i = 0; i < PAIRS; i++)
            head[half * (DH / 2) + lane * PAIRS + i] = (u8)code_of(widen((u16)bits[half][i]), factor);
    if (lane == 0)
        *peak_to = (u16)peak;
}

enum Target { LANE, EXACT_PAGES, CODED_PAGES };

template <Target TARGET>
__device__ __forceinline__ void rope_row(const Args& args) {
    release_successor();
    wait_predecessor();
    int head = blockIdx.x * 4 + (threadIdx.x >> 5);
    if (head >= HQ + 2 * HK)
        return;
    int row = blockIdx.y, lane = threadIdx.x & 31;
    int position = TARGET == LANE ? args.first_position + row : args.position[row];
    u16* source = args.qkv + (i64)row * args.stride + head * DH;
    float x[PAIRS], y[PAIRS];
    load_head(source, x, y);
    if (head < HQ + HK) {
        const u16* gamma = head < HQ ? args.query_gamma : args.key_gamma;
        if (gamma)
            norm_head(gamma, args.epsilon, x, y);
#pragma unroll
        for (int i = 0; i < PAIRS; i++) {
            float2 turn = args.table[(i64)position * (DH / 2) + lane * PAIRS + i];
            float a = x[i] * turn.x - y[i] * turn.y, b = y[i] * turn.x + x[i] * turn.y;
            x[i] = a, y[i] = b;
        }
    }

    if (head < HQ) {
        store_head(source, x, y);
        return;
    }

    bool is_value = head >= HQ + HK;
    int kv_head = is_value ? head - HQ - HK : head - HQ;
    if (TARGET == LANE) {
        store_head((is_value ? args.values : args.keys) + ((i64)position * HK + kv_head) * DH, x, y);
        return;
    }

    u32 page = args.page_table[(i64)args.slot[row] * MAXP + position / PAGE_SIZE];
    int token = position % PAGE_SIZE;
    if (TARGET == EXACT_PAGES) {
        u16* keys = key_plane(args.pages, page, args.layer_offset);
        store_head(keys + (is_value ? PAGE_SIZE * HK * DH : 0) + (token * HK + kv_head) * DH, x, y);
    } else {
        CodePlanes planes(args.pages, page, args.layer_offset, args.peak_offset);
        store_codes(planes.row(is_value, token, kv_head), planes.peak(is_value, token, kv_head), x, y);
    }
}

extern "C" __global__ void __launch_bounds__(128) rope_append(const __grid_constant__ Args args) { rope_row<EXACT_PAGES>(args); }
extern "C" __global__ void __launch_bounds__(128) rope_append_int8(const __grid_constant__ Args args) { rope_row<CODED_PAGES>(args); }
extern "C" __global__ void __launch_bounds__(128) rope_lane(const __grid_constant__ Args args) { rope_row<LANE>(args); }
