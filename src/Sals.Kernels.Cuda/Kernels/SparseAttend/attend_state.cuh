// A warp's attention to 16 tokens at a time, and how the four warps of an item leave their result. Included by sparse_attend.cu.
#pragma once

// A barrier of the four warps of warpgroup `group`; barrier 0 is the block's.
__device__ __forceinline__ void sync_group(int group) { asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory"); }

// What a warp knows of query heads 2 t and 2 t + 1 after some tokens: maximum m (base 2), sum l, and the weighed values.
struct State {
    Weighed o;
    float m[2], l[2];
};

__device__ __forceinline__ void clear(State& state) {
#pragma unroll
    for (int k = 0; k < LANE_CHANNELS / 2; k++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            state.o[k][e] = 0.f;
    state.m[0] = state.m[1] = NOTHING, state.l[0] = state.l[1] = 0.f;
}

// Where a lane's words of its query head begin: those of register j of keys are at channel_of(j) - channel_of(0). There is no head g >= G: what comes of the
// first head's words there is not used.
__device__ __forceinline__ const u16* query_of(const Args& args, int row, int kv_head) {
    int g = threadIdx.x >> 2 & 7;
    return args.qkv + (i64)row * args.qkv_stride + (kv_head * G + (g < G ? g : 0)) * DH + channel_of(0);
}

// Of a block of keys, the right operands of its scores.
__device__ __forceinline__ void load_words(u32 (&words)[2 * BLOCK_PAIRS], const u16* query, int block) {
#pragma unroll
    for (int m = 0; m < 2 * BLOCK_PAIRS; m++)
        words[m] = *(const u32*)(query + m / BLOCK_PAIRS * (DH / 2) + (block + m % BLOCK_PAIRS * KEY_BLOCKS) * 2);
}

// the transpose of 8 x 8 16-bit numbers, of which lane (g, t) has columns 2 t and 2 t + 1 of row g
__device__ __forceinline__ u32 transpose8(u32 x) {
    u32 y;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
    return y;
}

// Scores of 16 tokens: score[2 n + e] is token 8 n + g by head 2 t + e. Tokens at or past `count` weigh nothing. Leaves the weights times 2^RAISED.
template <bool FIRST, int RAISED>
__device__ __forceinline__ void soften(State& state, float (&score)[4], int count, float scale) {
    int g = threadIdx.x >> 2 & 7;
#pragma unroll
    for (int e = 0; e < 4; e++)
        score[e] = e / 2 * 8 + g < count ? score[e] * scale : NOTHING;
#pragma unroll
    for (int e = 0; e < 2; e++) {
        float top = fmaxf(score[e], score[2 + e]);
        top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 4));
        top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 8));
        top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 16));
        if constexpr (!FIRST) {
            top = fmaxf(top, state.m[e]);
            float kept = exp2_fast(state.m[e] - top);
            state.l[e] *= kept;
#pragma unroll
            for (int k = 0; k < LANE_CHANNELS / 2; k++)
                state.o[k][e] *= kept, state.o[k][2 + e] *= kept;
        }

        state.m[e] = top;
        top -= RAISED;
        score[e] = exp2_fast(score[e] - top), score[2 + e] = exp2_fast(score[2 + e] - top);
    }
}

// Joins the four warps' states in order and leaves the item's part, or the row's result where the item is all of it.
__device__ __forceinline__ void finish(const Args& args, const Task& task, int kv_head, float* parts, const State& state) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, warp = threadIdx.x >> 5 & 3, group = threadIdx.x >> 7;
    float2* parts_ml = (float2*)(parts + 4 * G * PART_ROW);
    sync_group(group);  // the item before has been read
#pragma unroll
    for (int e = 0; e < 2; e++) {
        if (t * 2 + e < G) {
            float* to = parts + (warp * G + t * 2 + e) * PART_ROW + g * LANE_CHANNELS;
#pragma unroll
            for (int k = 0; k < LANE_CHANNELS / 2; k += 2)
                *(float4*)(to + k * 2) = make_float4(state.o[k][e], state.o[k][2 + e], state.o[k + 1][e], state.o[k + 1][2 + e]);
        }
    }

    if (g < 2 && t * 2 + g < G)
        parts_ml[warp * G + t * 2 + g] = make_float2(g ? state.m[1] : state.m[0], g ? state.l[1] : state.l[0]);
    sync_group(group);
    int d = lane * 4;
    for (int head = warp; head < G && d < DH; head += 4) {
        float2 ml[4];
        float top = NOTHING, total = 0.f;
        float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll
        for (int w = 0; w < 4; w++) {
            ml[w] = parts_ml[w * G + head];
            top = fmaxf(top, ml[w].x);
        }

#pragma unroll
        for (int w = 0; w < 4; w++) {
            float weight = exp2_fast(ml[w].x - top);
            float4 v = *(const float4*)(parts + (w * G + head) * PART_ROW + d);
            total += ml[w].y * weight;
            sum.x += v.x * weight, sum.y += v.y * weight, sum.z += v.z * weight, sum.w += v.w * weight;
        }

        if (task.alone) {
            float inverse = 1.f / total;
            *(uint2*)(args.o + ((i64)task.row * HQ + kv_head * G + head) * DH + d) =
                make_uint2(narrow2(sum.x * inverse, sum.y * inverse), narrow2(sum.z * inverse, sum.w * inverse));
        } else {
            i64 part = (i64)task.entry * HQ + kv_head * G + head;
            __stcg((float4*)(args.partial + part * DH + d), sum);
            if (lane == 0)
                args.partial_ml[part] = make_float2(top, total);
        }
    }
}
