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
// grid (B)  block 512  smem < 4 KB
// math probabilities are integers in units of 2^-40 of the most probable token's, so that sums and cuts do not depend on the order of
//      addition; the cut of top_k and top_p is found by a radix search of 3 bits a pass over order-preserving keys
// cost reads 4 * V bytes (from L2) once for greedy rows, up to 30 times with every filter on
// defs SLOTS, V, SAMPLEABLE (ids that may be drawn), MAX_BIAS, MAX_HELD · oracle Reference.SampleToken · launcher SampleTokenKernel
#include "philox.cuh"
#include "reduce.cuh"
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

constexpr int THREADS = 512, WARPS = 16, MAX_TOP = 20;
constexpr int MASK_WORDS = (V + 31) / 32;
constexpr int SEGMENT = (SAMPLEABLE + WARPS * 32 - 1) / (WARPS * 32) * 32;  // ids of a warp, in ascending order
constexpr float ONE = 1099511627776.f;                                      // 2^40
#define INFINITE __int_as_float(0x7f800000)

struct Shared {
    float value[WARPS];
    int id[WARPS];
    u64 mass[WARPS];
    double sum[WARPS];
    u64 bins[WARPS][8];
    int result;
};

// integers in the order of the floats; adding zero makes -0 and 0 the same
__device__ __forceinline__ u32 order_key(float value) {
    u32 bits = __float_as_uint(value + 0.f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// (value descending, id ascending): is a before b?
__device__ __forceinline__ bool before(float a, int a_id, float b, int b_id) { return a > b || (a == b && a_id < b_id); }

// The first in that order among the threads' candidates, in every thread.
__device__ __forceinline__ void block_best(float& value, int& id, Shared& shared) {
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1) {
        float other = __shfl_xor_sync(FULL_MASK, value, offset);
        int other_id = __shfl_xor_sync(FULL_MASK, id, offset);
        if (before(other, other_id, value, id))
            value = other, id = other_id;
    }

    __syncthreads();
    if ((threadIdx.x & 31) == 0)
        shared.value[threadIdx.x >> 5] = value, shared.id[threadIdx.x >> 5] = id;
    __syncthreads();
    value = shared.value[0], id = shared.id[0];
    for (int w = 1; w < WARPS; w++)
        if (before(shared.value[w], shared.id[w], value, id))
            value = shared.value[w], id = shared.id[w];
}

__device__ __forceinline__ u64 warp_sum_u64(u64 value) {
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1)
        value += __shfl_xor_sync(FULL_MASK, value, offset);
    return value;
}

__device__ __forceinline__ u64 block_sum_u64(u64 value, Shared& shared) {
    value = warp_sum_u64(value);
    __syncthreads();
    if ((threadIdx.x & 31) == 0)
        shared.mass[threadIdx.x >> 5] = value;
    __syncthreads();
    u64 total = 0;
    for (int w = 0; w < WARPS; w++)
        total += shared.mass[w];
    return total;
}

// What a filter has left: entries before (key, id) in the order, that one included. Everything at first.
struct Cut {
    u32 key;
    int last_id;  // of the entries equal to key, those up to this id
    __device__ __forceinline__ bool keeps(u32 other, int id) const { return other > key || (other == key && id <= last_id); }
};

struct Weights {
    const float* logits;
    float best;
    float temperature;
    u64 least;
    // integer mass of an id; 0 = takes no part
    __device__ __forceinline__ u64 of(float logit) const {
        u64 weight = (u64)(expf((logit - best) / temperature) * ONE);
        return weight >= least ? weight : 0;
    }
};

// The shortest prefix of the order (logit descending, id ascending) that reaches `target`, in entries or mass, within `cut`.
template <bool BY_MASS>
__device__ __forceinline__ Cut shorten(const Weights& weights, Cut cut, u64 target, Shared& shared) {
    int tid = threadIdx.x, warp = tid >> 5, lane = tid & 31;
    u64 above = 0;
    u32 prefix = 0;
    for (int shift = 30; shift >= 0; shift -= 3) {
        u64 bins[8];
#pragma unroll
        for (int j = 0; j < 8; j++)
            bins[j] = 0;
        for (int id = tid; id < SAMPLEABLE; id += THREADS) {
            float logit = weights.logits[id];
            u32 key = order_key(logit);
            // the first digit has two bits; shifting 32-bit words by 33 is undefined, hence the widening
            bool inside = (u32)((u64)key >> (shift + 3)) == prefix && cut.keeps(key, id);
            if (inside) {
                u64 weight = weights.of(logit);
                u64 amount = BY_MASS ? weight : (weight != 0);
                int digit = (key >> shift) & 7;
#pragma unroll
                for (int j = 0; j < 8; j++)
                    bins[j] += digit == j ? amount : 0;
            }
        }

        __syncthreads();
#pragma unroll
        for (int j = 0; j < 8; j++) {
            u64 sum = warp_sum_u64(bins[j]);
            if (lane == 0)
                shared.bins[warp][j] = sum;
        }

        __syncthreads();
        int digit = 7;
        for (; digit >= 0; digit--) {
            u64 sum = 0;
            for (int w = 0; w < WARPS; w++)
                sum += shared.bins[w][digit];
            if (above + sum >= target)
                break;
            above += sum;
        }

        if (digit < 0)
            return cut;  // the target is beyond reach: keep everything
        prefix = prefix << 3 | digit;
    }

    // Of the entries equal to the last logit kept only as many as the target still needs, by ascending id. Equal logits weigh the same.
    u32 bits = prefix & 0x80000000u ? prefix & 0x7fffffffu : ~prefix;
    u64 each = BY_MASS ? weights.of(__uint_as_float(bits)) : 1;
    u64 needed = (target - above + each - 1) / each;
    int last = SAMPLEABLE;
    for (int first = 0; first < SAMPLEABLE; first += THREADS) {
        int id = first + tid;
        float logit = id < SAMPLEABLE ? weights.logits[id] : -INFINITE;
        bool equal = id < SAMPLEABLE && order_key(logit) == prefix && cut.keeps(prefix, id) && weights.of(logit) != 0;
        u32 vote = __ballot_sync(FULL_MASK, equal);
        int found = __syncthreads_count(equal);
        if ((u64)found < needed) {
            needed -= found;
            continue;
        }

        // the last one kept is in this stretch: count those below within the block
        if (lane == 0)
            shared.id[warp] = __popc(vote);
        __syncthreads();
        int rank = __popc(vote & ((1u << lane) - 1));
        for (int w = 0; w < warp; w++)
            rank += shared.id[w];
        if (equal && (u64)rank == needed - 1)
            shared.result = id;
        __syncthreads();
        last = shared.result;
        break;
    }

    return Cut{prefix, last};
}

__device__ __forceinline__ float log_sum_exp(const float* logits, float best, Shared& shared) {
    double sum = 0;
    for (int id = threadIdx.x; id < SAMPLEABLE; id += THREADS)
        sum += (double)expf(logits[id] - best);
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1)
        sum += __shfl_xor_sync(FULL_MASK, sum, offset);
    __syncthreads();
    if ((threadIdx.x & 31) == 0)
        shared.sum[threadIdx.x >> 5] = sum;
    __syncthreads();
    sum = 0;
    for (int w = 0; w < WARPS; w++)
        sum += shared.sum[w];
    return best + (float)log(sum);
}

// Writes the adjusted logits of a row to `work` and returns them; the raw ones when nothing adjusts them.
__device__ __forceinline__ const float* adjust(const Args& args, const SlotSampling& s, int row, int slot, const float* raw) {
    int tid = threadIdx.x, mask = args.masks[row];
    bool held = s.held_count > 0 && args.length[slot] - s.prompt_length < s.min_tokens;
    if (!s.counts && s.bias_count == 0 && !held && mask < 0)
        return raw;
    float* work = args.work + (i64)row * V;
    for (int id = tid; id < SAMPLEABLE; id += THREADS)
        work[id] = raw[id];
    __syncthreads();
    for (int i = tid; i < s.bias_count; i += THREADS) {
        int2 entry = args.bias[(i64)slot * MAX_BIAS + i];
        if ((u32)entry.x < SAMPLEABLE)
            work[entry.x] += __int_as_float(entry.y);
    }

    __syncthreads();
    for (int i = tid; held && i < s.held_count; i += THREADS) {
        int id = args.held[slot * MAX_HELD + i];
        if ((u32)id < SAMPLEABLE)
            work[id] = -INFINITE;
    }

    __syncthreads();
    for (int id = tid; id < SAMPLEABLE; id += THREADS) {
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

    __syncthreads();
    return work;
}

// Most probable id of raw or adjusted logits.
__device__ __forceinline__ int argmax(const float* logits, float& value, Shared& shared) {
    value = -INFINITE;
    int id = SAMPLEABLE;
    for (int i = threadIdx.x; i < SAMPLEABLE; i += THREADS) {
        float logit = logits[i];
        if (before(logit, i, value, id))
            value = logit, id = i;
    }

    block_best(value, id, shared);
    return id < SAMPLEABLE ? id : 0;  // only NaN: the caller's row is lost anyway
}

// The first id, in ascending order, whose running sum exceeds the drawn share of the whole.
__device__ __forceinline__ int draw(const Weights& weights, const Cut& cut, u64 bits, Shared& shared) {
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, first = warp * SEGMENT, end = min(first + SEGMENT, SAMPLEABLE);
    u64 mine = 0;
    for (int id = first + lane; id < end; id += 32) {
        float logit = weights.logits[id];
        if (cut.keeps(order_key(logit), id))
            mine += weights.of(logit);
    }

    mine = warp_sum_u64(mine);
    u64 total = block_sum_u64(lane == 0 ? mine : 0, shared);
    u64 point = __umul64hi(bits, total), below = 0;
    for (int w = 0; w < warp; w++)
        below += shared.mass[w];
    if (point >= below && point < below + mine) {
        // this warp's segment holds the point: 32 ids at a time
        for (int start = first; start < end; start += 32) {
            int id = start + lane;
            u64 weight = 0;
            if (id < end) {
                float logit = weights.logits[id];
                if (cut.keeps(order_key(logit), id))
                    weight = weights.of(logit);
            }

            u64 running = weight;
#pragma unroll
            for (int offset = 1; offset < 32; offset <<= 1) {
                u64 before_it = __shfl_up_sync(FULL_MASK, running, offset);
                if (lane >= offset)
                    running += before_it;
            }

            u32 reached = __ballot_sync(FULL_MASK, below + running > point);
            if (reached) {
                if (lane == 0)
                    shared.result = start + __ffs(reached) - 1;
                break;
            }

            below += __shfl_sync(FULL_MASK, running, 31);
        }
    }

    __syncthreads();
    return shared.result;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) sample_token(const __grid_constant__ Args args) {
    __shared__ Shared shared;
    int row = blockIdx.x, tid = threadIdx.x;
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
        Weights weights{logits, best, s.temperature, s.min_p > 0 ? (u64)(s.min_p * ONE) : 0};
        Cut cut{0, SAMPLEABLE};
        if (s.top_k > 0 && s.top_k < SAMPLEABLE)
            cut = shorten<false>(weights, cut, s.top_k, shared);
        if (s.top_p < 1.f) {
            u64 mine = 0;
            for (int id = tid; id < SAMPLEABLE; id += THREADS) {
                float logit = logits[id];
                if (cut.keeps(order_key(logit), id))
                    mine += weights.of(logit);
            }

            u64 mass = block_sum_u64(mine, shared);
            u64 wanted = (u64)ceil((double)s.top_p * (double)mass);
            cut = shorten<true>(weights, cut, wanted > 0 ? wanted : 1, shared);
        }

        uint4 bits = philox(make_uint2((u32)s.seed, (u32)(s.seed >> 32)), make_uint4((u32)args.length[slot], s.stream, 0, 0));
        token = draw(weights, cut, (u64)bits.y << 32 | bits.x, shared);
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
        for (int id = tid; id < SAMPLEABLE; id += THREADS) {
            float logit = raw[id];
            if (before(top, top_id, logit, id) && before(logit, id, next, next_id))
                next = logit, next_id = id;
        }

        block_best(next, next_id, shared);
        top = next, top_id = next_id;
    }
}
