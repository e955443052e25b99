#!/usr/bin/env bash
# Pictures of reports in a browser, to be looked at after a change to reports/: light and dark, on a desk and on a phone.
#   scripts/screenshots.sh [DIR] [REPORT_FOLDER...]     default: reports of made-up databases, into build/screenshots
# Needs Chromium (apt-get install chromium); playwright, which drives it, is installed beside the pictures.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=$(realpath -m "${1:-$root/build/screenshots}")
shift || true
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
  echo "fcsa: no Chromium: apt-get install chromium" >&2
  exit 1
}

mkdir -p "$out"
if [ ! -x "$out/playwright/bin/python" ]; then
  python3 -m venv "$out/playwright"
  "$out/playwright/bin/pip" install --quiet playwright
fi
if [ $# -eq 0 ]; then
  cmake --preset dev -S "$root"
  cmake --build "$root/build/dev" --target sample_reports
  "$root/build/dev/tests/reports/sample_reports" "$out/samples"
  set -- "$out"/samples/{empty,partial,failed,two_devices,peers}
fi
exec "$out/playwright/bin/python" "$root/scripts/screenshots.py" "$browser" "$out" "$@"
