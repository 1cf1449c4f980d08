// A warp's attention to 16 tokens at a time, and how the four warps of an item leave their result. Included by sparse_attend.cu.
#pragma once

// A barrier of the four warps of warpgroup `group`; barrier 0 is the block's.
__device__ __forceinline__ void sync_group(int group) { asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory"); }

// What a warp knows of the query heads after some tokens: maximum m (base 2), this lane's share of the sum l, and the weighed values.
struct State {
    Weighed o;
    float m, l;
};

__device__ __forceinline__ void clear(State& state) {
#pragma unroll
    for (int k = 0; k < LANE_CHANNELS / 2; k++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            state.o[k][e] = 0.f;
    state.m = NOTHING, state.l = 0.f;
}

// Left operand of the scores, row g = query head g: query[k] is channels channel_of(2 k).. + 3, two a word.
struct Query {
    u32 pair[DH / 16][2];
};

__device__ __forceinline__ void load_query(Query& query, const Args& args, int row, int kv_head) {
    int g = threadIdx.x >> 2 & 7;
    const u16* from = args.qkv + (i64)row * args.qkv_stride + (kv_head * G + (g < G ? g : 0)) * DH;
#pragma unroll
    for (int k = 0; k < DH / 16; k += 2) {
        uint4 v = g < G ? *(const uint4*)(from + channel_of(2 * k)) : make_uint4(0, 0, 0, 0);
        query.pair[k][0] = v.x, query.pair[k][1] = v.y, query.pair[k + 1][0] = v.z, query.pair[k + 1][1] = v.w;
    }
}

// Scores of 16 tokens: score[n][e] is token 8 n + 2 t + e by head g. Tokens at or past `count` weigh nothing. Leaves the weights p, unrounded.
template <bool FIRST>
__device__ __forceinline__ void soften(State& state, const float (&score)[2][4], float (&p)[2][2], int count, float scale) {
    int t = threadIdx.x & 3;
    float top = state.m;
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            p[n][e] = n * 8 + t * 2 + e < count ? score[n][e] * scale : NOTHING;
            top = fmaxf(top, p[n][e]);
        }

    top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 1));
    top = fmaxf(top, __shfl_xor_sync(FULL_MASK, top, 2));
    float sum = 0.f;
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
        for (int e = 0; e < 2; e++)
            sum += p[n][e] = exp2_fast(p[n][e] - top);
    if constexpr (FIRST) {
        state.l = sum;
    } else {
        float kept = exp2_fast(state.m - top);
        float of_heads[2] = {__shfl_sync(FULL_MASK, kept, t * 8), __shfl_sync(FULL_MASK, kept, t * 8 + 4)};
        state.l = state.l * kept + sum;
#pragma unroll
        for (int k = 0; k < LANE_CHANNELS / 2; k++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                state.o[k][e] *= of_heads[e % 2];
    }

    state.m = top;
}

// Joins the four warps' states in order and leaves the item's part, or the row's result where the item is all of it.
__device__ __forceinline__ void finish(const Args& args, const Task& task, int kv_head, float* parts, const State& state) {
    int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, warp = threadIdx.x >> 5 & 3, group = threadIdx.x >> 7;
    float2* parts_ml = (float2*)(parts + 4 * G * 8 * PIECE);
    float l = state.l + __shfl_xor_sync(FULL_MASK, state.l, 1);
    l += __shfl_xor_sync(FULL_MASK, l, 2);
    sync_group(group);  // the item before has been read
#pragma unroll
    for (int e = 0; e < 2; e++) {
        if (t * 2 + e < G) {
            float* to = parts + ((warp * G + t * 2 + e) * 8 + g) * PIECE;
#pragma unroll
            for (int k = 0; k < LANE_CHANNELS / 2; k += 2)
                *(float4*)(to + k * 2) = make_float4(state.o[k][e], state.o[k][2 + e], state.o[k + 1][e], state.o[k + 1][2 + e]);
        }
    }

    if (t == 0 && g < G)
        parts_ml[warp * G + g] = make_float2(state.m, l);
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
            float4 v = *(const float4*)(parts + ((w * G + head) * 8 + d / LANE_CHANNELS) * PIECE + d % LANE_CHANNELS);
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
