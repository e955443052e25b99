#!/usr/bin/env bash
# From a fresh machine to a tuned header and a report: installs what is missing, builds, and runs tune, emit and report
# on the best device there is (the CPU when there is no GPU).
#   scripts/quickstart.sh [DIR]      DIR (default fcsa-quickstart) receives tuning.db, include/ and report/
set -euo pipefail

out=$(realpath -m "${1:-fcsa-quickstart}")
cd "$(dirname "$0")/.."
scripts/install_dependencies.sh

cmake --preset release -DFCSA_TESTS=OFF
cmake --build --preset release
fcsa=build/release/cli/fcsa

mkdir -p "$out"
"$fcsa" devices
# Two shapes, so that each search has tens of trials also where a core or two compile them.
"$fcsa" tune --device auto --head-dim 64 --seq 512,1024 --causal no --budget 60s --probes no --db "$out/tuning.db" ||
  echo "Not every length was reached (see above): the header has the others. Run this again to go on."
"$fcsa" emit --db "$out/tuning.db" --out "$out/include"
"$fcsa" report --db "$out/tuning.db" --out "$out/report"
echo "Done: open $out/report/index.html; the header is in $out/include."
