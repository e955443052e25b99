#!/usr/bin/env bash
# Records search spaces on a GPU, to compare search strategies on (`fcsa replay`): many random configurations of one
# problem, forward and backward. Every trial is kept at once: run it again to go on, in parts of SECONDS each.
#   scripts/record_spaces.sh FCSA DIR [SECONDS] [FORWARD] [BACKWARD]
#   DIR receives forward.db and backward.db; SECONDS (600) of each; FORWARD (3000) and BACKWARD (1000) configurations
set -euo pipefail

fcsa=$1 dir=$2 seconds=${3:-600} forward=${4:-3000} backward=${5:-1000}
mkdir -p "$dir"
record() {
  "$fcsa" tune --device auto --dtype bf16 --head-dim 128 --seq 4096 --causal no --op "$1" --family "$4" \
    --strategy random --seed 1 --evals "$3" --budget "${seconds}s" --probes no --quiet --db "$dir/$2.db" || true
}
record fwd forward "$forward" wgmma
record bwd backward "$backward" mma
"$fcsa" replay "$dir/forward.db" "$dir/backward.db" --strategy auto,random --seeds 5 --evals 300
