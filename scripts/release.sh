#!/usr/bin/env bash
# Makes what a release publishes, and checks each as somebody would who has nothing else of fcsa:
#   fcsa-VERSION-linux-x86_64.tar.gz     the portable folder: command, library, tuned data
#   fcsa-VERSION-*.whl                   the wheel for PyTorch (scripts/build_wheel.sh)
#   NAME/fcsa_tuned_sm_90.cuh and .h     the tuned headers of each device whose data ships, for nvcc and with binaries
#   SHA256SUMS
#   scripts/release.sh [DIR]             DIR: dist/release
set -euo pipefail

cd "$(dirname "$0")/.."
root=$PWD
out=$(realpath -m "${1:-dist/release}")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

stage() { printf '\n== %s\n' "$1"; }
fail() { echo "release: $1" >&2; exit 1; }

stage "One version everywhere"
version=$(sed -nE 's/^project\(fcsa VERSION ([0-9.]+).*/\1/p' CMakeLists.txt)
grep -q "#define FCSA_VERSION \"$version\"" library/fcsa.h || fail "library/fcsa.h doesn't say $version, as CMakeLists.txt does"
[[ $(grep -m1 '^## ' CHANGELOG.md) = "## $version "* ]] || fail "the top section of CHANGELOG.md is not of $version"
[ -z "$(git status --porcelain --untracked-files=no)" ] || fail "there are changes that are not committed"
echo "$version"

rm -rf "$out"
mkdir -p "$out"

stage "The portable folder"
rm -rf dist/fcsa
cmake --preset portable
cmake --build --preset portable --target install
name=fcsa-$version-linux-x86_64
tar -C dist -czf "$out/$name.tar.gz" --transform "s/^fcsa/$name/" fcsa
tar -C "$scratch" -xzf "$out/$name.tar.gz"
folder=$scratch/$name
for file in "$folder"/bin/* "$folder"/lib/*.so*; do
  [ -L "$file" ] && continue
  ! ldd "$file" | grep 'not found' || fail "$file doesn't find what it needs"
  ! grep -qF "$root" "$file" || fail "$file has a path of this machine in it"
done
[ "$("$folder/bin/fcsa" --version)" = "$version" ] || fail "the program says another version"

stage "A header and the library of that folder, on this CPU"
export XDG_DATA_HOME=$scratch/data XDG_CACHE_HOME=$scratch/cache
"$folder/bin/fcsa" tune --device cpu --head-dim 64 --seq 256,512 --causal no --budget 20s --quiet
"$folder/bin/fcsa" verify --db "$scratch/data/fcsa/tuning.db" > "$scratch/verify.txt" || { cat "$scratch/verify.txt"; fail "verify"; }
"$folder/bin/fcsa" emit --out "$scratch/include"
g++ -std=c++20 -O2 -pthread -I "$scratch/include" examples/cpu_attention.cpp -o "$scratch/cpu_attention"
"$scratch/cpu_attention" 333
cc -std=c99 examples/library_attention.c -I "$folder/include" -L "$folder/lib" "-Wl,-rpath,$folder/lib" -lfcsa -lm -o "$scratch/library_attention"
"$scratch/library_attention"

stage "The tuned headers of the data that ships"
cuda=$(sed -nE 's/^FCSA_CUDA_INCLUDE_DIR:[A-Z]+=//p' build/portable/CMakeCache.txt)
nvcc=$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc || true)
for data in data/*/*.json; do
  read -r arch device < <(python3 -c 'import json, sys; d = json.load(open(sys.argv[1]))["sessions"][0]["device"]; print(d["arch"], d["name"])' "$data")
  headers=$out/$(basename "$data" .json)
  for kind in "" --cubin; do
    XDG_DATA_HOME=$scratch/none "$folder/bin/fcsa" emit --device "$device" $kind --out "$headers"
  done
  printf '#include "%s"\nint main() {}\n' "$(basename "$headers"/*.h)" > "$scratch/check.cpp"
  g++ -std=c++20 -fsyntax-only -I "$headers" -I "$cuda" "$scratch/check.cpp"
  if [ -n "$nvcc" ]; then
    source=$(basename "$headers"/*.cuh)
    "$nvcc" -std=c++20 -gencode "arch=compute_${arch#sm_},code=$arch" -DFCSA_HEADER="\"$source\"" \
      -DFCSA_NAMESPACE="fcsa_tuned::$(basename "${source#fcsa_tuned_}" .cuh)" -I "$headers" -c examples/cuda_attention.cu -o "$scratch/check.o"
  else
    echo "$headers/*.cuh was not compiled: there is no nvcc here"
  fi
done

stage "The wheel"
if [ -x scripts/build_wheel.sh ]; then
  scripts/build_wheel.sh
  cp dist/*"$version"*.whl "$out" || fail "scripts/build_wheel.sh left no wheel of $version in dist/"
  python3 -m venv "$scratch/venv"
  "$scratch/venv/bin/pip" install --quiet --no-deps "$out"/*.whl
  [ "$("$scratch/venv/bin/fcsa" --version)" = "$version" ] || fail "the wheel's fcsa says another version"
else
  fail "there is no scripts/build_wheel.sh"
fi

(cd "$out" && find . -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs sha256sum > SHA256SUMS)
stage "In $out"
cat "$out/SHA256SUMS"
