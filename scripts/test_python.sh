#!/usr/bin/env bash
# The tests of the package for PyTorch, with every version of torch that CI has.
#   scripts/test_python.sh LIBRARY [VERSION...]     LIBRARY: libfcsa.so; VERSION: 2.4.1 2.15.0 by default
# Environments are kept in build/torch-VERSION, and compiled kernels in build/python-cache.
set -euo pipefail

cd "$(dirname "$0")/.."
library=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- 2.4.1 2.15.0

original=build/original
if [ ! -d $original/flash_cosine_sim_attention ]; then
  # Its README has the examples that have to run here, word for word.
  rm -rf $original build/original-wheel
  python3 -m venv build/original-tools
  build/original-tools/bin/pip download --quiet --no-deps --only-binary=:all: --implementation cp --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --dest build/original-wheel flash-cosine-sim-attention==0.2.2
  python3 -m zipfile -e build/original-wheel/*.whl $original
fi

failed=()
for version in "$@"; do
  environment=build/torch-$version
  if [ ! -f "$environment/complete" ]; then
    rm -rf "$environment"
    python3 scripts/torch_for_tests.py "$environment" "$version"
  fi
  printf '\n-- torch %s\n' "$version"
  FCSA_LIBRARY=$library FCSA_ORIGINAL=$PWD/$original XDG_CACHE_HOME=$PWD/build/python-cache FCSA_DB= \
    FCSA_TEST_MODELS=1 "$environment/bin/python" -m pytest -q -p no:cacheprovider -n "$(nproc)" tests/python || failed+=("$version")
  FCSA_LIBRARY=$library python3 tests/docs/run_blocks.py --only python --python "$environment/bin/python" README.md docs/pytorch.md docs/models.md ||
    failed+=("$version, the blocks of README and docs")
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed with torch ${failed[*]}" >&2
  exit 1
fi
