#!/usr/bin/env bash
# Builds Google Benchmark as an archive, from the distribution's source package: Debian and Ubuntu ship it as a shared library
# alone, which needs a newer C library than the wheel is for.
#   scripts/static_benchmark.sh DIR      DIR/lib/cmake/benchmark is then its benchmark_DIR
set -euo pipefail

out=$(realpath -m "$1")
[ -f "$out/lib/cmake/benchmark/benchmarkConfig.cmake" ] && exit 0
command -v apt-get >/dev/null || {
  echo "static_benchmark: for Debian and Ubuntu; elsewhere build Google Benchmark with -DBUILD_SHARED_LIBS=OFF into $out" >&2
  exit 1
}
work=$out/source
rm -rf "$work"
mkdir -p "$work/lists/partial" "$work/parts"
# Where this machine gets its packages from, asked for their sources.
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
  [ -f "$list" ] || continue
  case $list in
    *.list) sed -nE 's/^deb(-src)?[[:space:]]/deb-src /p' "$list" | sort -u > "$work/parts/$(basename "$list")" ;;
    *.sources) sed -E 's/^Types:.*/Types: deb-src/' "$list" > "$work/parts/$(basename "$list")" ;;
  esac
done
options=(-q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/parts" -o Dir::State::lists="$work/lists")
apt-get "${options[@]}" update
(cd "$work" && apt-get "${options[@]}" -o APT::Sandbox::User=root source --download-only benchmark && tar -xf benchmark_*.orig.tar.*)
cmake -G Ninja -S "$work"/benchmark-*/ -B "$out/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$out" -DCMAKE_INSTALL_LIBDIR=lib \
  -DBUILD_SHARED_LIBS=OFF -DBENCHMARK_ENABLE_TESTING=OFF -DBENCHMARK_ENABLE_WERROR=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
  "-DCMAKE_CXX_FLAGS=-ffile-prefix-map=$out/="
cmake --build "$out/build" --target install
