#!/usr/bin/env bash
# Builds and runs the tests that the names mean: see test.sh, which calls this.
set -euo pipefail

cd "$(dirname "$0")/.."
if [ "$*" = python ]; then
  exec scripts/test_python.sh
fi
build=build/dev
programs=$build/tests/programs.txt

if [ ! -f $build/build.ninja ]; then
  options=(-DFCSA_LIGHT_OPTIONS=-O0)
  if command -v ccache >/dev/null; then
    # A precompiled header would keep ccache from most of its hits.
    options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON)
  fi
  cmake --preset dev "${options[@]}"
else
  # Configures again where a CMakeLists.txt changed, so that new tests are known.
  ninja -C $build build.ninja > /dev/null
fi

# Lines of programs.txt that a name means: a source, with or without _test.cpp, a program, a folder or a label.
lines_of() {
  awk -v name="$1" '{
    source = $1; sub(/.*\//, "", source); sub(/\.cpp$/, "", source)
    program = $2; sub(/.*\//, "", program)
    if (source == name || source == name "_test") print $1, $2, "source"
    else if (program == name || $3 == name || ($3 != "gpu" && index("/" $1, "/" name "/") > 0)) print $1, $2, "all"
  }' $programs
}

# A filter of the suites in a source.
suites_of() {
  sed -nE 's/^TEST(_[FP])?\((\w+),.*/\2.*:*\/\2.*/p' "tests/$1" | sort -u | paste -sd:
}

targets=()
declare -A filters
for name in "$@"; do
  if [ "$name" = docs ]; then
    targets+=(tests_docs)
    continue
  fi
  [ "$name" != python ] || continue
  lines=$(lines_of "$name")
  if [ -z "$lines" ]; then
    echo "test.sh: nothing is called '$name'. Folders: $(cut -d/ -f1 $programs | grep . | sort -u | paste -sd' ') docs python" >&2
    exit 2
  fi
  while read -r source program kind; do
    targets+=("$(basename "$program")")
    if [ "$kind" = source ]; then
      [ "${filters[$program]-}" = '*' ] || filters[$program]+="$(suites_of "$source"):"
    else
      filters[$program]='*'
    fi
  done <<< "$lines"
done
cmake --build --preset dev --target $(printf '%s\n' "${targets[@]}" | sort -u)

failed=()
for program in "${!filters[@]}"; do
  "$build/tests/$program" --gtest_brief=1 --gtest_filter="${filters[$program]}" || failed+=("$program")
done
if [[ " $* " = *" docs "* ]]; then
  ctest --test-dir $build -R '^Docs\.' --output-on-failure || failed+=(docs)
fi
if [[ " $* " = *" python "* ]]; then
  scripts/test_python.sh || failed+=(python)
fi
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}" >&2
  exit 1
fi
