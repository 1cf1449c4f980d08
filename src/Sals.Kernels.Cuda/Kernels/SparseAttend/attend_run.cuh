// Exact tokens: a warp takes a page of keys and values from memory to registers. Included by sparse_attend.cu.
#pragma once
#include "attend_state.cuh"

// K rows of tokens g and g + 8 of a page, as the scores' left operand.
struct ExactKeys {
    u32 pair[2][DH / 8][2];
};

// Tokens of a page from `first` on, [PAGE_SIZE, HK, DH]; those behind the last repeat it, so that nothing else is read.
__device__ __forceinline__ void load_keys(ExactKeys& keys, const u16* page, int first, int count) {
    int g = threadIdx.x >> 2 & 7;
#pragma unroll
    for (int n = 0; n < 2; n++) {
        const u16* row = page + (i64)min(first + n * 8 + g, count - 1) * (HK * DH);
#pragma unroll
        for (int k = 0; k < DH / 16; k += 2) {
            uint4 v = load_stream(row + channel_of(2 * k));
            keys.pair[n][k][0] = v.x, keys.pair[n][k][1] = v.y, keys.pair[n][k + 1][0] = v.z, keys.pair[n][k + 1][1] = v.w;
        }
    }
}

__device__ __forceinline__ void load_values(WholeValues& values, const u16* page, int first, int count) {
#pragma unroll
    for (int i = 0; i < 4; i++)
        load_whole(values, i, page + (i64)min(first + lane_token(i), count - 1) * (HK * DH));
}

// A run: each warp half a page of exact keys and values, 16 tokens at a time.
__device__ __forceinline__ void attend_run(const Args& args, const Task& task, int kv_head, State& state) {
    int warp = threadIdx.x >> 5 & 3, begin = warp % 2 * (PAGE_SIZE / 2), sinks = sink_count(task.length),
        nth = task.item * ATTEND_RUN_PAGES + warp / 2;
    int index = sinks > 0 ? (nth == 0 ? 0 : latent_pages(task.length) + nth - 1) : latent_pages(task.length) + nth;
    int count = sinks > 0 && nth == 0 ? sinks : min(max(task.length - index * PAGE_SIZE, 0), PAGE_SIZE);
    clear(state);
    count = min(count, begin + PAGE_SIZE / 2);
    if (begin < count) {
        u32 id = args.hot_table[(i64)task.slot * MAXP + index];
        const u16* key_page = key_plane((u8*)args.pages, id, args.hot_offset) + kv_head * DH;
        const u16* value_page = key_page + PAGE_SIZE * HK * DH;
        const u16* query = query_of(args, task.row, kv_head);
        u32 q[DH / 8];  // of register j of keys
#pragma unroll
        for (int j = 0; j < DH / 8; j += 4) {
            uint4 v = *(const uint4*)(query + j / (DH / 16) * (DH / 2) + j % (DH / 16) * 2);
            q[j] = v.x, q[j + 1] = v.y, q[j + 2] = v.z, q[j + 3] = v.w;
        }

        // the second sixteen are on their way to L2 while the first are waited for
        int lane = threadIdx.x & 31;
        const u16* row = (lane < 16 ? key_page : value_page) + (i64)min(begin + 16 + lane % 16, count - 1) * (HK * DH);
#pragma unroll
        for (int i = 0; i < DH; i += 64)
            prefetch(row + i);
        ExactKeys keys;
        WholeValues values;
#pragma unroll 1
        for (int first = begin; first < count; first += 16) {
            // no further ahead: registers for more warpgroups a block are worth more
            load_keys(keys, key_page, first, count);
            load_values(values, value_page, first, count);
            float score[4] = {0.f, 0.f, 0.f, 0.f};
#pragma unroll
            for (int k = 0; k < DH / 16; k++)
                multiply_add(score, keys.pair[0][k][0], keys.pair[1][k][0], keys.pair[0][k][1], keys.pair[1][k][1], q[2 * k], q[2 * k + 1]);
            soften<false, 0>(state, score, count - first, args.scale);
            weigh_whole(state.o, state.l, values, transpose8(narrow2(score[0], score[1])), transpose8(narrow2(score[2], score[3])));
        }
    }
}
