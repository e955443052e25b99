#!/usr/bin/env bash
# Builds Google Benchmark as an archive, from Debian's source package: Debian and Ubuntu ship it as a shared library alone,
# which needs a newer C library than the wheel is for.
#   scripts/static_benchmark.sh DIR      DIR/lib/cmake/benchmark is then its benchmark_DIR
set -euo pipefail

out=$(realpath -m "$1")
[ -f "$out/lib/cmake/benchmark/benchmarkConfig.cmake" ] && exit 0
source /etc/os-release
work=$out/source
rm -rf "$work"
mkdir -p "$work/lists/partial" "$work/parts"
case $ID in
  debian) address=http://deb.debian.org/debian keys=/usr/share/keyrings/debian-archive-keyring.gpg components=main ;;
  ubuntu) address=http://archive.ubuntu.com/ubuntu keys=/usr/share/keyrings/ubuntu-archive-keyring.gpg components="main universe" ;;
  *) echo "static_benchmark: for Debian and Ubuntu; elsewhere build Google Benchmark with -DBUILD_SHARED_LIBS=OFF" >&2; exit 1 ;;
esac
echo "deb-src [signed-by=$keys] $address $VERSION_CODENAME $components" > "$work/parts/source.list"
options=(-q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/parts" -o Dir::State::lists="$work/lists")
apt-get "${options[@]}" update
(cd "$work" && apt-get "${options[@]}" -o APT::Sandbox::User=root source --download-only benchmark && tar -xf benchmark_*.orig.tar.*)
cmake -G Ninja -S "$work"/benchmark-*/ -B "$out/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$out" -DCMAKE_INSTALL_LIBDIR=lib \
  -DBUILD_SHARED_LIBS=OFF -DBENCHMARK_ENABLE_TESTING=OFF -DBENCHMARK_ENABLE_WERROR=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
  "-DCMAKE_CXX_FLAGS=-ffile-prefix-map=$out/="
cmake --build "$out/build" --target install
