// Into which runs of tokens dense attention over a row's cache is cut: a function of the row's own length, so that its result does not depend on
// the batch. About 8 times the root of the length, a power of two: runs get longer and more as the row does, but never more than 32, so that partial
// results stay few. In C#: DenseRuns.
#pragma once
#include "types.cuh"

#define SHORTEST_RUN 512
#define MOST_RUNS 32

// tokens of a run: 512 up to 4,096 tokens, 1,024 up to 16,384, .., 4,096 up to 131,072, 8,192 up to 262,144; the last one may be shorter
__device__ __forceinline__ int run_tokens(int length) {
    int root = (31 - __clz((length - 1) / 1024)) / 2, least = 32 - __clz((length - 1) / (SHORTEST_RUN * MOST_RUNS));
    return SHORTEST_RUN << max(root, least);
}

__device__ __forceinline__ int run_count(int length) {
    int run = run_tokens(length);
    return (length + run - 1) / run;
}
