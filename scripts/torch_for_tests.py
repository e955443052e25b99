#!/usr/bin/env python3
"""Makes a virtual environment with a version of torch from PyPI, without its CUDA libraries of several GB, for tests on the CPU.

    scripts/torch_for_tests.py FOLDER VERSION [PYTHON]

`import torch` loads libtorch_cuda, which needs libcudart, libcublas, libcudnn and so on. In their place this puts libraries
of the same names, symbols and symbol versions, whose functions return an error: nothing on the CPU calls them. Needs gcc and
binutils."""
import collections
import pathlib
import re
import subprocess
import sys
import tempfile

LIBRARIES = re.compile(r"lib(cu|nv|nccl)")
SYMBOLS = re.compile(r"(cuda|cu[A-Z]|cublas|cufft|cusparse|cusolver|cudnn|nccl|nvrtc|nvshmem|cupti|cuFile|nvJit|nvtx|__cuda)")
NEEDS = ["filelock", "typing-extensions", "sympy", "networkx", "jinja2", "fsspec", "setuptools", "pytest", "pytest-xdist"]

# Models that tests run; their own requirement of torch would bring CUDA's libraries. torch 2.4 is too old for them.
MODELS = ["transformers>=5.24", "timm>=1.0.31", "torchvision>=0.29", "kernels>=0.17"]
MODELS_NEED = ["huggingface-hub>=1.31", "pyyaml", "regex", "tokenizers>=0.23.1,<0.24", "safetensors>=0.8", "tqdm", "typer", "pillow",
               "sigstore>=4,<5", "tomlkit"]
COMPLETE = "complete"  # a file in FOLDER, once all is there


def output(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout


def needed_libraries(file):
    names = re.findall(r"NEEDED.*\[([^\]]+)\]", output("readelf", "-d", file))
    return {name for name in names if LIBRARIES.match(name)}


def versions_needed(file):
    """(library, version) of every symbol version that the file asks CUDA's libraries for."""
    library = None
    for line in output("readelf", "-VW", file).splitlines():
        if found := re.search(r"File: (\S+)", line):
            library = found[1]
        found = re.search(r"Name: (\S+)\s+Flags", line)
        if found and library and LIBRARIES.match(library):
            yield library, found[1]


def symbols(file, which):
    """(name, version) of undefined or defined dynamic symbols."""
    for line in output("nm", "-D", f"--{which}-only", file).splitlines():
        name, _, version = line.split()[-1].partition("@")
        yield name, version.lstrip("@")


def exports_of(files):
    """What each library has to export: {library: {version: names}}, with version "" for what has none."""
    libraries = set().union(*(needed_libraries(file) for file in files))
    owner = {version: library for file in files for library, version in versions_needed(file)}
    defined = {name for file in files for name, _ in symbols(file, "defined")}
    exports = {library: collections.defaultdict(set) for library in libraries}
    for file in files:
        for name, version in symbols(file, "undefined"):
            if owner.get(version) in exports:
                exports[owner[version]][version].add(name)
            elif not version and name not in defined and SYMBOLS.match(name):
                for library in libraries:
                    if library.startswith("libcudart"):
                        exports[library][""].add(name)
    return exports


def build(library, by_version, target, scratch):
    names = sorted(set().union(*by_version.values()))
    source, versions = scratch / "stub.s", scratch / "stub.map"
    # Without the last section the stack would be executable, which glibc 2.41 refuses.
    source.write_text(".text\n" + "".join(f".globl {n}\n.type {n},@function\n{n}:\n" for n in names) + "movl $100,%eax\nret\n"
                      '.section .note.GNU-stack,"",@progbits\n')
    command = ["gcc", "-shared", "-nostdlib", f"-Wl,-soname,{library}", "-o", target / library, source]
    script = "".join(f"{v} {{ global: {' '.join(n + ';' for n in sorted(ns))} }};\n" for v, ns in by_version.items() if v)
    if script:
        versions.write_text(script)
        command.append(f"-Wl,--version-script={versions}")
    subprocess.run(command, check=True)


def stand_in_for_cuda(site):
    files = [*site.glob("torch/lib/*.so"), *site.glob("torch/_C*.so")]
    exports = exports_of(files)
    cuda_13 = any("cudart.so.13" in library for library in exports)
    target = site / ("nvidia/cu13/lib" if cuda_13 else "torch/lib")
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for library, by_version in exports.items():
            build(library, by_version, target, pathlib.Path(scratch))
    print(f"{len(exports)} libraries stand in for CUDA's in {target}")


def main(folder, version, python=sys.executable):
    folder = pathlib.Path(folder)
    subprocess.run([python, "-m", "venv", folder], check=True)
    # Most of torch's modules are never imported: those that are get compiled then.
    pip = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    numpy = "numpy<2" if version.startswith("2.4") else "numpy"
    subprocess.run([*pip, *NEEDS, numpy], check=True)
    subprocess.run([*pip, "--no-deps", f"torch=={version}"], check=True)
    if not version.startswith("2.4"):
        subprocess.run([*pip, "--no-deps", *MODELS], check=True)
        subprocess.run([*pip, *MODELS_NEED], check=True)
    stand_in_for_cuda(next(folder.glob("lib/python3*/site-packages")))
    (folder / COMPLETE).touch()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
