#!/usr/bin/env python3
"""scripts/results.py --check notices a number that changed, a page that was edited and a file that came or went."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def check(clone):
    return subprocess.run([sys.executable, clone / "scripts" / "results.py", "--check"], capture_output=True, text=True)


def change_number(clone):
    path = clone / "benchmarks" / "results" / "h200_bf16_d64_vs_peers.json"
    content = json.loads(path.read_text())
    content["rows"][0]["attention"] *= 1.5
    path.write_text(json.dumps(content))


def edit_page(clone):
    path = clone / "docs" / "results" / "h200_forward.md"
    path.write_text(path.read_text().replace("1.24", "1.42"))


def edit_readme(clone):
    path = clone / "README.md"
    path.write_text(path.read_text().replace("**1.", "**2.", 1))


def add_file(clone):
    shutil.copy(clone / "benchmarks" / "results" / "xeon2_f32_d64_backward.json", clone / "benchmarks" / "results" / "new.json")


def remove_file(clone):
    (clone / "benchmarks" / "results" / "h200_copy.txt").unlink()


def leave_page(clone):
    (clone / "docs" / "results" / "gone.md").write_text("of a file that is gone\n")


def main():
    for change in (None, change_number, edit_page, edit_readme, add_file, remove_file, leave_page):
        with tempfile.TemporaryDirectory() as folder:
            clone = pathlib.Path(folder)
            for part in ("scripts", "benchmarks/results", "docs"):
                shutil.copytree(ROOT / part, clone / part)
            shutil.copy(ROOT / "README.md", clone)
            if change:
                change(clone)
            run = check(clone)
            if (run.returncode == 0) == bool(change):
                sys.exit(f"{change.__name__ if change else 'as it is'}: exit status {run.returncode}\n{run.stdout}{run.stderr}")


if __name__ == "__main__":
    main()
