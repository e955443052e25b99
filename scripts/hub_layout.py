#!/usr/bin/env python3
"""Lays the package for PyTorch out as a kernel of Hugging Face's Hub.

    scripts/hub_layout.py FOLDER

FOLDER/build.toml and FOLDER/torch-ext are what kernel-builder takes; FOLDER/build/torch-cpu and torch-cuda are what it makes
of them, so that kernels.get_local_kernel(FOLDER) loads it. Without libfcsa, which the loaded kernel takes from an installed
fcsa (docs/pytorch.md)."""
import base64
import hashlib
import json
import pathlib
import re
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAME = "flash-cosine-sim-attention"
MODULE = NAME.replace("-", "_")
PACKAGE = ROOT / "python" / MODULE
BACKENDS = ("cpu", "cuda")
# A kernel may import nothing but torch and Python's own modules; nor can programs and benchmarks of one be run.
LEFT_OUT = ("huggingface.py", "swin.py", "swin_timm.py", "swin_transformers.py", "benchmark.py")

# kernel-builder makes a module of this name too.
OPS = '''import torch

ops = torch.ops.{id}


def add_op_namespace_prefix(name):
    return f"{id}::{{name}}"
'''


def build_toml(version):
    return (f'[general]\nname = "{NAME}"\nversion = {version}\nedition = 5\nlicense = "MIT"\n'
            f"backends = {json.dumps(BACKENDS)}\n\n[torch-noarch]\n")


def sources():
    return [file for file in sorted(PACKAGE.glob("*.py")) if file.name not in LEFT_OUT]


def digest_of(data, algorithm="sha256"):
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def write_variant(folder, backend, version):
    """A build for one backend. Its name is unique, as several versions may be loaded."""
    files = {file.name: file.read_bytes() for file in sources()}
    identity = hashlib.sha256(b"".join(name.encode() + data for name, data in files.items())).hexdigest()[:10]
    name = f"_{MODULE}_{backend}_{identity}"
    files["_ops.py"] = OPS.format(id=name).encode()
    metadata = {"id": name, "name": NAME, "version": version, "license": "MIT", "python-depends": [], "backend": {"type": backend},
                "digest": {"algorithm": "sha256", "files": {name: digest_of(data) for name, data in files.items()}}}
    folder.mkdir(parents=True)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    (folder / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")


def main(folder):
    folder = pathlib.Path(folder)
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"hub_layout: {folder} isn't empty: name a new folder")
    version = int(re.search(r"project\(fcsa VERSION (\d+)", (ROOT / "CMakeLists.txt").read_text())[1])
    extension = folder / "torch-ext" / MODULE
    extension.mkdir(parents=True)
    (folder / "build.toml").write_text(build_toml(version))
    for file in sources():
        shutil.copy(file, extension)
    for backend in BACKENDS:
        write_variant(folder / "build" / f"torch-{backend}", backend, version)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
