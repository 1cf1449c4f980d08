// Selected tokens: keys rebuilt from latents, rotated, scored and weighed without leaving registers. Included by sparse_attend.cu.
#pragma once
#include "attend_state.cuh"

// Where a selected token lies.
struct Token {
    u32 position;
    u32 page;
};

// Tokens behind the tile's last repeat it, so that nothing else is read; they weigh nothing.
__device__ __forceinline__ Token find_token(const Args& args, const Task& task, int token) {
    int nth = task.first + min(token, task.tokens - 1);
    if (needs_scores(task.length)) {
        uint2 found = args.selected[(i64)task.row * YMAX + nth];
        return {found.x, found.y};
    }

    u32 position = sink_count(task.length) + nth;
    return {position, args.latent_table[(i64)task.slot * MAXP + position / PAGE_SIZE]};
}

// tokens: of the warp's sixteen
__device__ __forceinline__ void set_rows(LatentRows& rows, const Args& args, const Token* tokens, int kv_head) {
    int g = threadIdx.x >> 2 & 7;
#pragma unroll
    for (int h = 0; h < 2; h++)
        set_row(rows, h, args.pages + args.latent_offset, tokens[g + h * 8].page, tokens[g + h * 8].position % PAGE_SIZE, kv_head);
}

// (cos, sin) of two rotary pairs at a position: the phase is exact to 2^-32 turns, sine and cosine to 2^-20; cheaper than reading them, which would be
// more bytes than the latents
__device__ __forceinline__ float4 turn_by(const u64* turns, u32 position) {
    ulonglong2 pair = *(const ulonglong2*)turns;
    float angle[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        u64 each = i ? pair.y : pair.x;
        u32 phase = position * (u32)(each >> 32) + __umulhi(position, (u32)each);
        angle[i] = (float)(int)phase * 1.46291807926715968e-9f;  // 2 pi / 2^32
    }

    return make_float4(cos_fast(angle[0]), sin_fast(angle[0]), cos_fast(angle[1]), sin_fast(angle[1]));
}

// A tile of 64 selected tokens; tokens: the warp's sixteen. ahead(c): see rebuild_keys.
template <typename Ahead>
__device__ __forceinline__ void attend_tile(const Args& args, const Task& task, int kv_head, const Token* tokens, const Common& common,
                                            u32 ring, u32 basis, float* parts, Ahead ahead) {
    int lane = threadIdx.x & 31, g = lane >> 2, warp = threadIdx.x >> 5 & 3;
    Keys keys;
    begin_keys(keys, common.first_keys);
    rebuild_keys<BASIS_FITS>(keys, ring, basis, args.basis + (i64)kv_head * BASIS_BYTES, ahead);
    // only now: registers are scarce while keys are rebuilt, and their rotation takes longer than these loads
    Query query;
    load_query(query, args, task.row, kv_head);
    const u8* layer = args.pages + args.latent_offset;
    [[maybe_unused]] CodedValues coded;
    [[maybe_unused]] WholeValues whole;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        Token token = tokens[lane_token(i)];
        u32 at = token.position % PAGE_SIZE;
        const u8* page = layer + (u64)token.page * PAGE_UNIT;
        const u8* values = page + VALUE_PLANE + at * VALUE_ROW + kv_head * HEAD_VALUE_BYTES;
        if constexpr (VALUE_BITS == 16)
            load_whole(whole, i, (const u16*)values);
        else
            load_coded(coded, i, values, page + SCALE_PLANE + at * SCALE_ROW + kv_head * (HEAD_GROUPS * 4));
    }

    u32 position[2] = {tokens[g].position, tokens[g + 8].position};
    float score[2][4], p[2][2];
#pragma unroll
    for (int n = 0; n < 2; n++)
        score[n][0] = score[n][1] = score[n][2] = score[n][3] = 0.f;
#pragma unroll
    for (int j = 0; j < DH / 16; j++) {
        rotate_pair(keys, j, [&](int h) { return turn_by(common.turns + channel_of(j), position[h]); });
        if (j % 2 == 1) {
#pragma unroll
            for (int k = j / 2; k < DH / 16; k += DH / 32)
#pragma unroll
                for (int n = 0; n < 2; n++)
                    multiply_add(score[n], query.pair[k][0], 0, query.pair[k][1], 0, narrow2(keys[2 * k][2 * n], keys[2 * k][2 * n + 1]),
                                 narrow2(keys[2 * k + 1][2 * n], keys[2 * k + 1][2 * n + 1]));
        }
    }

    State state;
    clear(state);
    soften<true>(state, score, p, task.tokens - warp * 16, args.scale * args.key_scale * args.rope_factor);
    u32 p0 = half2_of(p[0][0], p[0][1]), p1 = half2_of(p[1][0], p[1][1]);
    if constexpr (VALUE_BITS == 16)
        weigh_whole<true>(state.o, whole, p0, p1);
    else
        weigh_coded(state.o, coded, p0, p1);
    finish(args, task, kv_head, parts, state);
}
