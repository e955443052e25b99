#!/usr/bin/env bash
# Installs what building fcsa needs and is not there yet (Debian 12, Ubuntu 24.04 or later; sudo when not root).
#   scripts/install_dependencies.sh [--tests]     --tests: also what the tests need
set -euo pipefail

packages=(cmake ninja-build g++ libcli11-dev libfmt-dev libsqlitecpp-dev libsqlite3-dev nlohmann-json3-dev
          libxxhash-dev libbenchmark-dev libeigen3-dev zlib1g-dev gnuplot-nox python3 python3-venv ca-certificates)
if [ "${1:-}" = --tests ]; then
  packages+=(libgtest-dev clang binutils python3-dev)
fi

if ! command -v dpkg-query >/dev/null; then
  echo "fcsa: this is neither Debian nor Ubuntu. Install the equivalents of: ${packages[*]}" >&2
  exit 0
fi
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null)" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "fcsa: run as root or install sudo; missing: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "Installing ${missing[*]}"
"${as_root[@]}" apt-get update -q
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
