#!/usr/bin/env python3
"""Runs every sh, C, C++ and Python block of README.md and docs/ on the CPU, as a reader would, page by page.

    run_blocks.py --build DIR [--flags FLAGS] [--only LANGUAGE] [--python PYTHON] [--gpu] [PAGE...]

Each page has a folder of its own that looks like a fresh clone: its `cmake` takes what is built in DIR instead of building
it, and its `fcsa` tries one candidate for each problem. A comment above a block says what is special about it:
  <!-- test: gpu -->            needs a GPU: without --gpu only the options of its fcsa commands are checked; C++ is compiled
  <!-- test: file=NAME -->      is written to NAME, for a later block to compile
  <!-- test: part -->           is a part of a program: C is compiled, not run; Python has q, k, v and mask already
  <!-- test: needs PATH -->     is run where PATH exists, else named
Python blocks run with --python, which has torch, and the package, unless FCSA_LIBRARY names a libfcsa.so for that of the
source tree; without --python their syntax is checked, and they are named.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from blocks import blocks_of

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

# Declarations that a part of a program relies on.
C_PARTS = """#include <fcsa.h>
#include <stddef.h>
extern fcsa_library* library;
extern fcsa_plan *plan, *backward;
extern fcsa_problem problem;
extern fcsa_tensors tensors;
extern void *q, *k, *v, *o, *workspace, *dout, *dq, *dk, *dv, *stream;
extern float* lse;
void check(fcsa_status status);
void part(void) {
"""

PYTHON_PARTS = """import torch
q, k, v = (torch.randn(2, 4, 64, 32, requires_grad=True) for _ in range(3))
mask = torch.ones(2, 64, dtype=torch.bool)
"""

CUDA_PARTS = """#include <cstdio>
#include "fcsa_tuned_sm_90.cuh"
extern void *q, *k, *v, *o, *dout, *dq, *dk, *dv;
extern float* lse;
extern cudaStream_t stream;
void part() {
"""

FCSA = """#!/bin/bash
# One candidate, few heads and short lengths, however long that takes: a budget of seconds would end before it on a busy
# machine.
arguments=()
command=${1:-}
while [ $# -gt 0 ]; do
  arguments+=("$1")
  case "$command $1" in
    *" --budget") arguments+=(300s); shift ;;
    "tune --seq") arguments+=(128,256); shift ;;
  esac
  shift
done
if [ "$command" = tune ]; then
  options=("--evals 1" "--probes no")
  [[ " ${arguments[*]} " = *" --problems "* ]] || options+=("--batch 1" "--heads 2")
  for option in "${options[@]}"; do
    [[ " ${arguments[*]} " = *" ${option% *} "* ]] || arguments+=($option)
  done
fi
exec @program@ "${arguments[@]}"
"""

CMAKE = """#!/usr/bin/env python3
import json, os, subprocess, sys
arguments = sys.argv[1:]
def value(name): return arguments[arguments.index(name) + 1] if name in arguments else None
if "--install" in arguments:
    sys.exit(subprocess.run(["@cmake@", "--install", "@build@", "--prefix", value("--prefix"), "--component", "library"],
                            stdout=subprocess.DEVNULL).returncode)
known = json.load(open("CMakePresets.json"))
kind = "buildPresets" if "--build" in arguments else "configurePresets"
if value("--preset") not in [preset["name"] for preset in known[kind]]:
    sys.exit(f"no preset for: cmake {' '.join(arguments)}")
if value("--target") == "install":
    os.makedirs("dist/fcsa/bin", exist_ok=True)
    os.path.exists("dist/fcsa/bin/fcsa") or os.symlink(os.path.abspath("build/release/cli/fcsa"), "dist/fcsa/bin/fcsa")
"""

PIP = """#!/bin/sh
# What is installed is tested by tests/python.
[ "$*" = "install ." ] && [ -f pyproject.toml ]
"""

COMPILER = """#!/bin/bash
# What links libfcsa is built as libfcsa is.
if [[ " $* " = *" -lfcsa "* ]]; then set -- "$@" @flags@; fi
exec @real@ "$@"
"""


def write_program(path, text, **values):
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def make_clone(folder, cache, args):
    """A folder like a clone in which the build has happened, and the environment to be in it."""
    clone = folder / "fcsa"
    clone.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in ("build", "dist", "scripts", ".git") and not entry.name.startswith("fcsa-"):
            (clone / entry.name).symlink_to(entry)
    (clone / "scripts").mkdir()
    for entry in (ROOT / "scripts").iterdir():
        (clone / "scripts" / entry.name).symlink_to(entry)
    (clone / "scripts" / "test.sh").unlink()
    write_program(clone / "scripts" / "test.sh", "#!/bin/sh\n# This is a test already.\n")
    write_program(clone / "build" / "release" / "cli" / "fcsa", FCSA, program=args.build / "cli" / "fcsa")
    tools = folder / "tools"
    write_program(tools / "fcsa", FCSA, program=args.build / "cli" / "fcsa")
    write_program(tools / "cmake", CMAKE, cmake=shutil.which("cmake"), build=args.build)
    write_program(tools / "pip", PIP)
    for name in ("cc", "g++"):
        write_program(tools / name, COMPILER, real=shutil.which(name), flags=args.flags)
    environment = {**os.environ, "HOME": str(folder), "PATH": f"{tools}:{os.environ['PATH']}"}
    environment["XDG_CACHE_HOME"] = str(cache)
    if os.environ.get("FCSA_LIBRARY"):  # the package as it is in the source tree
        environment["PYTHONPATH"] = str(ROOT / "python")
    for name in ("XDG_DATA_HOME", "FCSA_DB", "FCSA_TUNED_DATA"):
        environment.pop(name, None)
    return clone, environment


class Page:
    def __init__(self, path, clone, environment, args):
        self.path, self.clone, self.environment, self.args = path, clone, environment, args
        self.session = ""  # the sh blocks so far: what they export lives on
        self.named = []    # blocks that were not run here, and why

    def fail(self, block, text):
        sys.exit(f"{block}: {text}")

    def command(self, block, command, stdin=None):
        run = subprocess.run(command, cwd=self.clone, env=self.environment, input=stdin, text=True, capture_output=True)
        if run.returncode != 0:
            self.fail(block, f"exit status {run.returncode}\n{block.text}\n{run.stdout[-3000:]}{run.stderr[-3000:]}")

    def shell(self, block):
        # Everything before this block ran already: only its exports count.
        exports = "\n".join(line for line in self.session.splitlines() if line.startswith("export "))
        self.command(block, ["bash", "-eu", "-o", "pipefail", "-c", f"{exports}\n{block.text}"])
        self.session += block.text

    def options(self, block):
        """Every option of an fcsa command is one that it has."""
        for name, rest in re.findall(r"^(?:\S+/)?fcsa (\w+)(.*)$", block.text.replace("\\\n", " "), re.MULTILINE):
            known = subprocess.run([self.args.build / "cli" / "fcsa", name, "--help"], text=True, capture_output=True)
            if known.returncode != 0:
                self.fail(block, f"there is no fcsa {name}")
            for option in re.findall(r"(?<!\S)--[\w-]+", rest.split(" #")[0]):
                if not re.search(rf"{option}\b", known.stdout) and not option.startswith("--benchmark"):
                    self.fail(block, f"fcsa {name} has no {option}")
        for script in re.findall(r"\b((?:scripts|benchmarks)/[\w.]+)", block.text):
            if not (ROOT / script).exists():
                self.fail(block, f"there is no {script}")

    def part(self, block):
        body = re.sub(r"^#include.*$", "", block.text, flags=re.MULTILINE)
        self.command(block, ["cc", "-std=c11", "-Wall", "-Werror=implicit-function-declaration", "-fsyntax-only", "-I",
                             str(ROOT / "library"), "-xc", "-"], stdin=C_PARTS + body + "}\n")

    def cuda(self, block):
        """Compiled against a header of the data that ships, for a GPU for which its kernels are empty."""
        nvcc = shutil.which("nvcc", path=f"{os.environ['PATH']}:/usr/local/cuda/bin")
        if nvcc is None:
            self.named.append(f"{block}: needs nvcc")
            return
        self.command(block, ["fcsa", "emit", "--device", "NVIDIA H100 80GB HBM3", "--out", "include"])
        body = re.sub(r"^#include.*$", "", block.text, flags=re.MULTILINE)
        (self.clone / "part.cu").write_text(CUDA_PARTS + body + "}\n")
        self.command(block, [nvcc, "-std=c++20", "-arch=sm_80", "-I", "include", "-c", "part.cu", "-o", "part.o"])

    def python(self, block):
        try:
            compile(block.text, str(block), "exec")
        except SyntaxError as error:
            self.fail(block, str(error))
        if self.args.python:
            prelude = PYTHON_PARTS if block.mark == "part" else ""
            self.command(block, [self.args.python, "-"], stdin=prelude + block.text)
        else:
            self.named.append(f"{block}: syntax only, without --python")

    def run(self):
        for block in blocks_of(self.path):
            if self.args.only not in (None, block.language):
                self.named.append(f"{block}: not {self.args.only}")
            elif block.mark == "gpu" and block.language == "cpp":
                self.cuda(block)
            elif block.mark == "gpu" and not self.args.gpu:
                self.command(block, ["bash", "-n", "-c", block.text])
                self.options(block)
                self.named.append(f"{block}: needs a GPU, only its options were checked")
            elif block.mark == "needs" and not os.path.exists(block.value):
                self.named.append(f"{block}: needs {block.value}")
            elif block.mark == "file":
                (self.clone / block.value).write_text(block.text)
            elif block.language == "python":
                self.python(block)
            elif block.mark == "part":
                self.part(block)
            elif block.language == "sh":
                self.options(block)
                self.shell(block)
            else:
                self.fail(block, f"nothing says how to test this {block.language}: see run_blocks.py")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "dev", help="where fcsa is built")
    parser.add_argument("--only", metavar="LANGUAGE", help="blocks of this language")
    parser.add_argument("--flags", default="", help="of the compiler, for what links libfcsa")
    parser.add_argument("--python", help="a Python with torch and the package")
    parser.add_argument("--gpu", action="store_true", help="run sh blocks that need a GPU too")
    parser.add_argument("pages", nargs="*", type=pathlib.Path)
    args = parser.parse_args()
    args.build = args.build.resolve()
    pages = args.pages or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    with tempfile.TemporaryDirectory(prefix="fcsa_docs_") as scratch:
        for path in pages:
            folder = pathlib.Path(scratch) / path.stem
            folder.mkdir()
            page = Page(path.resolve(), *make_clone(folder, pathlib.Path(scratch) / "cache", args), args)
            page.run()
            print(f"{path.name}: {len(blocks_of(path.resolve())) - len(page.named)} blocks tested", flush=True)
            if args.only is None:
                print("".join(f"  {line}\n" for line in page.named), end="")


if __name__ == "__main__":
    main()
