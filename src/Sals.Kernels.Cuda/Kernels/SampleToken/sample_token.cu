// sample_token — one token per row from its logits, without a sort
//   order: logit_bias, min_tokens, allowed tokens, penalties, temperature, min_p, top_k, top_p, draw; ties: smaller id first
// in   rows       [B]        i32x4  (slot, .., target token or -1, row of logits); slot SLOTS = padding, skipped
//      masks      [B]        i32    index of the row's allowed-token bitmap or -1;  bitmaps [.., ceil(V / 32)] u32
//      sampling   [SLOTS]           settings;  length [SLOTS + 1] i32, the row's input counted in: the position that is sampled
//      bias       [SLOTS, MAX_BIAS] (i32 id, f32);  held [SLOTS, MAX_HELD] i32;  counts [SLOTS, V] u16;  prompt [SLOTS, ceil(V / 32)] u32
//      logits     [.., V]    f32    raw
// tmp  work       [B, V]     f32    logits after bias, masks and penalties; untouched by greedy rows without any
// out  last_token [SLOTS + 1] i32;  token [B] i32;  log_probability, target_log_probability [B] f32, of the raw logits
//      top_id, top_log_probability [B, 20]
// grid (B * SPLIT)  block 512, a cluster of SPLIT blocks a row  smem 33 KB + V / 32 B
// math probabilities are integers in units of 2^-40 of the most probable token's, so that sums and cuts do not depend on the order of
//      addition; where top_k and top_p cut is found in a histogram, then exactly among the ids of one bin
// cost reads 4 * V bytes (from L2) once for greedy rows, once more to draw, twice more for each filter
// defs SLOTS, V, SAMPLEABLE (ids that may be drawn), MAX_BIAS, MAX_HELD · oracle Reference.SampleToken · launcher SampleTokenKernel
#include "chain.cuh"
#include "philox.cuh"
#include "sample_cut.cuh"
#include "sampling.cuh"

struct Args {
    const int4* rows;
    const int* masks;
    const u32* bitmaps;
    const SlotSampling* sampling;
    const int* length;
    const int2* bias;
    const int* held;
    const u16* counts;
    const u32* prompt;
    const float* logits;
    float* work;
    int* last_token;
    int* token;
    float* log_probability;
    float* target_log_probability;
    int* top_id;
    float* top_log_probability;
};
CHECK_SIZE(Args);
CHECK_FIELD(Args, rows);
CHECK_FIELD(Args, masks);
CHECK_FIELD(Args, bitmaps);
CHECK_FIELD(Args, sampling);
CHECK_FIELD(Args, length);
CHECK_FIELD(Args, bias);
CHECK_FIELD(Args, held);
CHECK_FIELD(Args, counts);
CHECK_FIELD(Args, prompt);
CHECK_FIELD(Args, logits);
CHECK_FIELD(Args, work);
CHECK_FIELD(Args, last_token);
CHECK_FIELD(Args, token);
CHECK_FIELD(Args, log_probability);
CHECK_FIELD(Args, target_log_probability);
CHECK_FIELD(Args, top_id);
CHECK_FIELD(Args, top_log_probability);

constexpr int MAX_TOP = 20;
constexpr int MASK_WORDS = (V + 31) / 32;

// Writes the adjusted logits of a row to `work` and returns them; the raw ones when nothing adjusts them.
__device__ __forceinline__ const float* adjust(const Args& args, const SlotSampling& s, int row, int slot, const float* raw) {
    int tid = threadIdx.x, rank = cluster_rank(), mask = args.masks[row];
    bool held = s.held_count > 0 && args.length[slot] - s.prompt_length < s.min_tokens;
    if (!s.counts && s.bias_count == 0 && !held && mask < 0)
        return raw;
    float* work = args.work + (i64)row * V;
    for (int id = rank * THREADS + tid; id < SAMPLEABLE; id += SPLIT * THREADS)
        work[id] = raw[id];
    cluster_sync();
    for (int i = rank * THREADS + tid; i < s.bias_count; i += SPLIT * THREADS) {
        int2 entry = args.bias[(i64)slot * MAX_BIAS + i];
        if ((u32)entry.x < SAMPLEABLE)
            work[entry.x] += __int_as_float(entry.y);
    }

    cluster_sync();
    for (int i = rank * THREADS + tid; held && i < s.held_count; i += SPLIT * THREADS) {
        int id = args.held[slot * MAX_HELD + i];
        if ((u32)id < SAMPLEABLE)
            work[id] = -INFINITE;
    }

    cluster_sync();
    for (int id = rank * THREADS + tid; id < SAMPLEABLE; id += SPLIT * THREADS) {
        float logit = work[id];
        if (mask >= 0 && !(args.bitmaps[(i64)mask * MASK_WORDS + id / 32] >> (id % 32) & 1))
            logit = -INFINITE;
        if (s.counts) {
            int count = args.counts[(i64)slot * V + id];
            if (count > 0 || (args.prompt[(i64)slot * MASK_WORDS + id / 32] >> (id % 32) & 1))
                logit = logit > 0 ? logit / s.repetition : logit * s.repetition;
            if (count > 0)
                logit -= s.frequency * count + s.presence;
        }

        work[id] = logit;
    }

    cluster_sync();
    return work;
}

extern "C" __global__ void CLUSTER __launch_bounds__(THREADS, 1) sample_token(const __grid_constant__ Args args) {
    __shared__ Shared shared;
    int row = blockIdx.x / SPLIT, tid = cluster_rank() * THREADS + threadIdx.x;
    release_successor();
    wait_predecessor();
    int4 plan = args.rows[row];
    int slot = plan.x, target = plan.z;
    if (slot >= SLOTS)
        return;
    const SlotSampling s = args.sampling[slot];
    const float* raw = args.logits + (i64)plan.w * V;
    const float* logits = adjust(args, s, row, slot, raw);
    float best;
    int token = argmax(logits, best, shared);
    if (s.temperature > 0 && best < INFINITE && best > -INFINITE) {
        Weights weights{logits,
                        best,
                        s.temperature,
                        1.f / s.temperature,
                        -28.f * s.temperature,
                        s.min_p > 0 ? (u64)(s.min_p * ONE) : 0,
                        Cut{0, SAMPLEABLE}};
        if (s.top_k > 0 && s.top_k < SAMPLEABLE)
            shorten<false>(
                weights, [&](u64) { return (u64)s.top_k; }, shared);
        if (s.top_p < 1.f) {
            shorten<true>(
                weights,
                [&](u64 mass) {
                    u64 wanted = (u64)ceil((double)s.top_p * (double)mass);
                    return wanted > 0 ? wanted : 1;
                },
                shared);
        }

        uint4 bits = philox(make_uint2((u32)s.seed, (u32)(s.seed >> 32)), make_uint4((u32)args.length[slot], s.stream, 0, 0));
        token = pick(
            logits, [&](float logit, int id) { return weights.of(logit, id); },
            [&](u64 mass) { return __umul64hi((u64)bits.y << 32 | bits.x, mass); }, shared);
    }

    if (tid == 0) {
        args.last_token[slot] = token;
        args.token[row] = token;
    }

    if (s.log_probabilities < 0 && target < 0)
        return;
    float top = best;
    int top_id = token;
    if (logits != raw || s.temperature > 0)
        top_id = argmax(raw, top, shared);
    float normalizer = log_sum_exp(raw, top, shared);
    if (tid == 0) {
        args.log_probability[row] = raw[token] - normalizer;
        args.target_log_probability[row] = (u32)target < SAMPLEABLE ? raw[target] - normalizer : 0.f;
    }

    // one pass for each alternative: the first in the order behind the one before
    int wanted = min(s.log_probabilities, MAX_TOP);
    for (int i = 0; i < wanted; i++) {
        if (tid == 0) {
            args.top_id[row * MAX_TOP + i] = top_id < SAMPLEABLE ? top_id : -1;
            args.top_log_probability[row * MAX_TOP + i] = top - normalizer;
        }

        if (i + 1 == wanted)
            break;
        float next = -INFINITE;
        int next_id = SAMPLEABLE;
        each_id(raw, [&](float logit, int id) {
            if (before(top, top_id, logit, id) && before(logit, id, next, next_id))
                next = logit, next_id = id;
        });

        block_best(next, next_id, shared);
        top = next, top_id = next_id;
    }
}
