// Selected tokens: keys rebuilt from latents, rotated, scored and weighed without leaving registers. Included by sparse_attend.cu.
#pragma once
#include "attend_state.cuh"

// Where a selected token lies.
struct __align__(8) Token {
    u32 position;
    u32 page;
};

// Starts copying where a token of a tile lies. Tokens behind the tile's last repeat it, so that nothing else is read; they weigh nothing.
__device__ __forceinline__ void fetch_token(Token* to, const Args& args, const Task& task, int token) {
    int nth = task.first + min(token, task.tokens - 1);
    if (needs_scores(task.length)) {
        copy_async<8>(shared_address(to), args.selected + (i64)task.row * YMAX + nth);
    } else {
        u32 position = sink_count(task.length) + nth;
        to->position = position;
        copy_async<4>(shared_address(&to->page), args.latent_table + (i64)task.slot * MAXP + position / PAGE_SIZE);
    }
}

// tokens: of the warp's sixteen
__device__ __forceinline__ void set_rows(LatentRows& rows, const Args& args, const Token* tokens, int kv_head) {
    int g = threadIdx.x >> 2 & 7;
#pragma unroll
    for (int h = 0; h < 2; h++)
        set_row(rows, h, args.pages + args.latent_offset, tokens[g + h * 8].page, tokens[g + h * 8].position % PAGE_SIZE, kv_head);
}

// (cos, sin) of two rotary pairs at a position. turns: of a position, in units of 2^-32; half a unit off, the phase is 2^-16 turns off behind 128K positions, a
// twentieth of what rounding a key to bf16 is. Sine and cosine to 2^-20; cheaper than reading them, which would be more bytes than the latents.
__device__ __forceinline__ float4 turn_by(uint2 turns, u32 position) {
    constexpr float UNIT = 1.46291807926715968e-9f;  // 2 pi / 2^32
    float x = (float)(int)(position * turns.x) * UNIT, y = (float)(int)(position * turns.y) * UNIT;
    return make_float4(cos_fast(x), sin_fast(x), cos_fast(y), sin_fast(y));
}

// Rotates block i of the warp's keys and adds its share of the scores. position: of tokens g and g + 8; words: see load_words
__device__ __forceinline__ void score_block(float (&score)[4], KeyBlock& keys, int i, const u32 (&turns)[DH / 16][4][2],
                                            const u32 (&position)[2], const u32 (&words)[2 * BLOCK_PAIRS]) {
#pragma unroll
    for (int m = 0; m < BLOCK_PAIRS; m++) {
        uint2 by = *(const uint2*)turns[i + m * KEY_BLOCKS][threadIdx.x & 3];
#pragma unroll
        for (int h = 0; h < 2; h++)
            rotate(keys[m] + h * 2, keys[m + BLOCK_PAIRS] + h * 2, turn_by(by, position[h]));
    }

#pragma unroll
    for (int m = 0; m < 2 * BLOCK_PAIRS; m += 2)
        multiply_add(score, narrow2(keys[m][0], keys[m][1]), narrow2(keys[m][2], keys[m][3]), narrow2(keys[m + 1][0], keys[m + 1][1]),
                     narrow2(keys[m + 1][2], keys[m + 1][3]), words[m], words[m + 1]);
}

// A tile of 64 selected tokens; tokens: the warp's sixteen. In blocks fetch_next() is called when the ring is free, else ahead(c): see rebuild_keys.
template <typename Ahead, typename FetchNext>
__device__ __forceinline__ void attend_tile(const Args& args, const Task& task, int kv_head, const Token* tokens, const Common& common,
                                            u32 ring, u32 basis, State& state, Ahead ahead, FetchNext fetch_next) {
    int lane = threadIdx.x & 31, g = lane >> 2, warp = threadIdx.x >> 5 & 3;
    const u8* layer = args.pages + args.latent_offset;
    [[maybe_unused]] CodedValues coded;
    [[maybe_unused]] WholeValues whole;
    auto load_values = [&] {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            Token token = tokens[lane_token(i)];
            u32 at = token.position % PAGE_SIZE;
            const u8* page = layer + (u64)token.page * PAGE_UNIT;
            const u8* values = values_of(page, at, kv_head);
            if constexpr (VALUE_BITS == 16)
                load_whole(whole, i, (const u16*)values);
            else
                load_coded(coded, i, values, scales_of(page, at, kv_head));
        }
    };
    float score[4] = {0.f, 0.f, 0.f, 0.f};
    if constexpr (IN_BLOCKS) {
        if constexpr (VALUE_BITS != 16)
            load_values();
        u32 position[2] = {tokens[g].position, tokens[g + 8].position};
        const u16* query = query_of(args, task.row, kv_head);
        Operands a;
        load_operands(a, ring);
        fetch_next();
#pragma unroll 1
        for (int i = 0; i < KEY_BLOCKS; i++) {
            KeyBlock keys;
            u32 words[2 * BLOCK_PAIRS];
            load_words(words, query, i);
            begin_block(keys, common.first_keys, i);
            rebuild_block(keys, a, basis, i);
            score_block(score, keys, i, common.turns, position, words);
        }

        if constexpr (VALUE_BITS == 16)
            load_values();
    } else {
        if constexpr (VALUE_BITS == 2 || VALUE_BITS == 4) {
            // registers are too scarce for values now: they come to L2, a line a lane (with 3 bits even for that)
            Token token = tokens[lane % 16];
            u32 at = token.position % PAGE_SIZE;
            const u8* page = layer + (u64)token.page * PAGE_UNIT;
            prefetch(lane < 16 ? values_of(page, at, kv_head) : scales_of(page, at, kv_head));
        }

        Keys keys;
        begin_keys(keys, common.first_keys);
        rebuild_keys<BASIS_FITS>(keys, ring, basis, args.basis + (i64)kv_head * BASIS_BYTES, ahead);
        // only now: registers are scarce while keys are rebuilt, and their rotation takes longer than these loads
        load_values();
        u32 position[2] = {tokens[g].position, tokens[g + 8].position};
        const u16* query = query_of(args, task.row, kv_head);
#pragma unroll
        for (int i = 0; i < KEY_BLOCKS; i++) {
            KeyBlock block;
            u32 words[2 * BLOCK_PAIRS];
            load_words(words, query, i);
#pragma unroll
            for (int m = 0; m < 2 * BLOCK_PAIRS; m++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    block[m][e] = keys[i + m * KEY_BLOCKS][e];
            score_block(score, block, i, common.turns, position, words);
        }
    }

    soften<true, 4>(state, score, task.tokens - warp * 16, args.scale * args.key_scale * args.rope_factor);
    u32 p0 = transpose8(half2_of(score[0], score[1])), p1 = transpose8(half2_of(score[2], score[3]));
    if constexpr (VALUE_BITS == 16)
        weigh_first(state.o, state.l, whole, p0, p1);
    else
        weigh_coded(state.o, state.l, coded, p0, p1);
}
