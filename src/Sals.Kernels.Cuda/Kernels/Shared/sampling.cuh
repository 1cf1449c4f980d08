// Sampling settings of a slot, as the launcher's SlotSampling writes them.
#pragma once
#include "types.cuh"

struct SlotSampling {
    float temperature;  // 0 = greedy
    float top_p;        // 1 = off
    float min_p;        // 0 = off
    float presence;
    float frequency;
    float repetition;  // 1 = off
    int top_k;         // 0 = off
    int prompt_length;
    int min_tokens;
    int bias_count;
    int held_count;
    int log_probabilities;  // -1 none, 0 of the token, N of the N most probable too
    int counts;             // 1 when a penalty reads token counts
    u32 stream;
    u64 seed;
};
static_assert(sizeof(SlotSampling) == 64, "SlotSampling is 64 bytes on both sides");
