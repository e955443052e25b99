#!/usr/bin/env bash
# Installs what is missing, builds under the address and undefined-behaviour sanitizers, and runs every test once:
# formatting, every CUDA baseline for every architecture, unit and end-to-end tests, the package for PyTorch. What the
# sanitizers would take minutes or end has a second build, of no more than that needs. Not here: what takes longer
# (ctest --test-dir build/asan -L long). Tests on a GPU, where there is one, and of the package run without sanitizers,
# whose shadow memory is in the driver's and in Python's way.
#   scripts/test.sh            everything
#   scripts/test.sh NAME...    only what is meant, in build/dev: a folder of tests/, a source (space: space_test.cpp), a test
#                              program, docs, python, or a label (cpu, program, nvrtc, gpu)
set -euo pipefail

cd "$(dirname "$0")/.."
if [ $# -gt 0 ]; then
  exec scripts/test_some.sh "$@"
fi
scripts/install_dependencies.sh --tests
jobs=$(nproc)

stage() { printf '\n== %s\n' "$1"; }

stage "Formatting"
# One version of clang-format, from PyPI: another one would format differently.
if [ ! -x build/format/bin/clang-format ]; then
  python3 -m venv build/format
  build/format/bin/pip install --quiet clang-format==14.0.6
fi
git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs build/format/bin/clang-format --dry-run -Werror

stage "Build"
cmake --preset asan
cmake --build --preset asan

stage "Every CUDA baseline through NVRTC"
# A message goes to standard error for every kernel that fails or spills; the table is for people who look for it. The
# backward pass for half of the head dims, which takes half of the time. NVRTC's own memory is not looked into, which
# would double its time.
every_arch=sm_75,sm_80,sm_86,sm_89,sm_90a,sm_100a,sm_120a
compile_all() {
  ASAN_OPTIONS=quarantine_size_mb=0:thread_local_quarantine_size_kb=0:malloc_context_size=0 \
    build/asan/cli/fcsa compile --arch "$every_arch" "$@" > build/asan/compile.txt || {
    tail -n 1 build/asan/compile.txt
    exit 1
  }
  tail -n 1 build/asan/compile.txt
}
compile_all --op fwd
compile_all --op bwd --head-dim 32,64,128,256

if nvidia-smi -L >/dev/null 2>&1; then
  stage "Tests on the GPU"
  cmake --preset dev
  cmake --build --preset dev --target tests_gpu
  ctest --test-dir build/dev -L gpu --output-on-failure
fi

stage "Unit and end-to-end tests, and those that need NVRTC"
ctest --preset asan --no-tests=error -j "$jobs"

stage "Tests without sanitizers: wrong kernels, every pair of features, strategies"
cmake --preset unsanitised
cmake --build --preset unsanitised --target tests_unsanitised
ctest --preset unsanitised --no-tests=error -j "$jobs"

# 15 minutes of processor time: 7 of them build the wheel.
stage "The package for PyTorch, from a wheel"
scripts/test_python.sh
