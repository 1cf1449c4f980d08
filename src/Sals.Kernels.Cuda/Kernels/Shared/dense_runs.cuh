// Into which runs of tokens dense attention over a row's cache is cut: a function of the row's own length, so that its result does not depend on
// the batch. 256 tokens, doubled until the row has at most 32: partial results stay few however long it is. In C#: DenseRuns.
#pragma once
#include "types.cuh"

#define SHORTEST_RUN 256
#define MOST_RUNS 32

// tokens of a run; the last one may be shorter
__device__ __forceinline__ int run_tokens(int length) { return SHORTEST_RUN << (32 - __clz((length - 1) / (SHORTEST_RUN * MOST_RUNS))); }

__device__ __forceinline__ int run_count(int length) {
    int run = run_tokens(length);
    return (length + run - 1) / run;
}
