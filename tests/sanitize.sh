#!/usr/bin/env bash
# compute-sanitizer over the GPU tests of single kernels. Needs a GPU, the CUDA toolkit and the built test executable.
#   tests/sanitize.sh [FOLDER] [TOOL...]    FOLDER: where Sals.Gpu.Tests.dll is; TOOL: memcheck, racecheck, initcheck (all); logs go to FOLDER/sanitizer
# Prints a line a tool and group of tests, then the places that it reports. Ends with 1 if there are any or a test fails under a tool.
# Left out are tests whose size is their point (rows of 64K tokens, a million positions, thousands of draws), and for racecheck, which makes kernels
# a hundred times slower, all but the small ones.
set -u
folder=$(realpath "${1:-$(dirname "$0")/Sals.Gpu.Tests/bin/Release/net10.0}")
tools=("${@:2}")
[ ${#tools[@]} -gt 0 ] || tools=(racecheck memcheck initcheck)
export LIMIT=${SANITIZER_LIMIT:-600}
cd "$folder" || exit 2
mkdir -p sanitizer

# kernel, then more filters of the test executable
racecheck=(
    'ScoreSelect -method *.One_candidate_too_many -method *.No_row_needs_scores -method *.A_query_of_zeros'
    'ScoreSelect -method *.Rows_that_end_within_blocks -method *.Fewer_units_than_blocks*'
    'DenseAttend -method *.Blocks_take_several_items*'
    'DenseAttend -method *.Int8_codes*'
    'DenseAttend -method *.One_token* -method *.Last_page* -method *.Exactly_one* -method *.Every_head* -method *.Gr* -method *.Row_is_the_same*'
    'SampleToken -method *.Tokens_of_two_rows* -method *.Log_prob*'
    'SparseAttend'
    'SkinnyGemm -method *.Store_matches_reference'
    'SkinnyGemm -method- *.Store_matches_reference -method- *.Row_is_the_same*'
    'FlushPages' 'PrefillAttend' 'ReconstructPages' 'HeadCodes' 'KeyCovariance' 'RandomFill' 'PlanStep' 'BandQueries' 'Row' 'Rope' 'ScoringQuery'
)
memcheck=(
    'ScoreSelect -method- *.A_million* -method- *.An_eighth* -method- *.Launches_that_overlap'
    'DenseAttend -method- *.Runs_are_longer* -method- *.More_than_sixteen_runs*'
    'SkinnyGemm -method- *.Row_is_the_same*'
    'SampleToken -method- *.Draws_follow*'
    'SparseAttend' 'FlushPages' 'PrefillAttend' 'ReconstructPages' 'HeadCodes' 'KeyCovariance' 'RandomFill' 'PlanStep' 'BandQueries' 'Row' 'Rope' 'ScoringQuery'
)

one() {
    read -r number tool kernel filters <<<"$1"
    log=sanitizer/$tool-$kernel-$number.log
    set -f
    # shellcheck disable=SC2086
    timeout "$LIMIT" compute-sanitizer --tool "$tool" --print-limit 300 dotnet Sals.Gpu.Tests.dll -noColor -class "*.${kernel}KernelTests" $filters >"$log" 2>&1
    code=$?
    tests=$(sed -n 's/.*Total: \([0-9]*\), Errors: \([0-9]*\), Failed: \([0-9]*\), .*/\1 tests, \2 errors, \3 failed/p' "$log")
    reports=$(sed -n 's/^=========.*SUMMARY: \([0-9]*\) .*/\1 reports/p' "$log" | tail -1)
    verdict=clean
    [[ "$code $reports $tests" == "0 0 reports "[1-9]*" tests, 0 errors, 0 failed" ]] || verdict=BAD
    echo "$tool $kernel: $verdict, ${tests:-no end of tests}, ${reports:-no summary}, exit $code, $SECONDS s"
    [ $verdict = clean ] || grep -hoE '(Race reported between .*|and (Read|Write) access .*|^========= (Invalid|Uninitialized|Program hit|Warning|Error).*)' "$log" |
        sed -E 's/\+0x[0-9a-f]+//; s/\[[0-9]+ hazards\]//' | sort | uniq -c | sort -rn | head -20
}
export -f one

for tool in "${tools[@]}"; do
    [ "$tool" = racecheck ] && groups=("${racecheck[@]}") || groups=("${memcheck[@]}")
    for i in "${!groups[@]}"; do
        echo "$i $tool ${groups[i]}"
    done
done | xargs -d '\n' -P "$(nproc)" -I{} bash -c "one \"\$1\"" _ {} | tee sanitizer/summary
! grep -q BAD sanitizer/summary
