#!/usr/bin/env bash
# The tests of the package for PyTorch, with every version of torch that CI has.
#   scripts/test_python.sh [WHEEL|LIBRARY] [VERSION...]
# WHEEL: of the package. LIBRARY: a libfcsa.so, for the package as it is in the source tree. Without either a wheel is built
# as `pip install .` does, but for its optimisation. VERSION: 2.4.1 2.15.0 by default. All is kept in build/: environments
# (torch-VERSION), the wheel (test-wheel), compiled kernels (python-cache).
set -euo pipefail

cd "$(dirname "$0")/.."
tested=
case ${1:-} in
  *.whl | *.so*)
    [ -f "$1" ] || { echo "test_python: there is no $1" >&2; exit 2; }
    tested=$(realpath "$1")
    shift
    ;;
esac
[ $# -gt 0 ] || set -- 2.4.1 2.15.0

# Else every process would compile torch's modules anew.
unset PYTHONDONTWRITEBYTECODE FCSA_LIBRARY
# Kernels are compiled in a tenth of the time: what the compiler makes of them is tested elsewhere.
quick=$PWD/build/quick-c++
mkdir -p build
printf '#!/bin/sh\nexec c++ "$@" -O0\n' > "$quick"
chmod +x "$quick"
export FCSA_CXX=${FCSA_CXX:-$quick} XDG_CACHE_HOME=$PWD/build/python-cache FCSA_DB= FCSA_TEST_MODELS=1
export FCSA_ORIGINAL=$PWD/build/original

stage() { printf '\n-- %s\n' "$1"; }

environment_of() {
  [ ! -f "$1/complete" ] || return 0
  stage "An environment with torch $2"
  rm -rf "$1"
  python3 scripts/torch_for_tests.py "$1" "$2"
}

# The original's README has the examples that have to run here, word for word.
get_original() {
  [ ! -d "$FCSA_ORIGINAL/flash_cosine_sim_attention" ] || return 0
  rm -rf "$FCSA_ORIGINAL" build/original-wheel
  "$1/bin/pip" download --quiet --no-deps --only-binary=:all: --implementation cp --python-version 3.11 \
    --platform manylinux_2_28_x86_64 --dest build/original-wheel flash-cosine-sim-attention==0.2.2
  python3 -m zipfile -e build/original-wheel/*.whl "$FCSA_ORIGINAL"
}

build_wheel() {
  stage "A wheel"
  rm -rf build/test-wheel
  # Vectors of Eigen don't compile without optimisation (GCC 12).
  "$1/bin/pip" wheel --quiet --no-deps --wheel-dir build/test-wheel --config-settings=build-dir=build/test-wheel-build \
    --config-settings=cmake.define.CMAKE_CXX_FLAGS_RELEASE="-O0 -DEIGEN_DONT_VECTORIZE" \
    --config-settings=cmake.define.CMAKE_UNITY_BUILD=ON .
  tested=$(realpath build/test-wheel/fcsa-*.whl)
}

failed=()
for version in "$@"; do
  environment=$PWD/build/torch-$version
  environment_of "$environment" "$version"
  get_original "$environment"
  [ -n "$tested" ] || build_wheel "$environment"
  stage "torch $version"
  case $tested in
    *.whl) "$environment/bin/pip" install --quiet --no-deps --force-reinstall "$tested" ;;
    *) export FCSA_LIBRARY=$tested ;;
  esac
  "$environment/bin/python" -m pytest -q -p no:cacheprovider -n "$(nproc)" tests/python || failed+=("$version")
  python3 tests/docs/run_blocks.py --only python --python "$environment/bin/python" README.md docs/pytorch.md docs/models.md ||
    failed+=("$version, the blocks of README and docs")
done
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed with torch %s\n' "${failed[@]}" >&2
  exit 1
fi
