"""The package as a kernel of Hugging Face's Hub: scripts/hub_layout.py."""
import ast
import os
import pathlib
import subprocess
import sys

import pytest

import installed_models

installed_models.library("kernels")
from flash_cosine_sim_attention import native
from kernels import _rust

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAYOUT = ROOT / "scripts" / "hub_layout.py"

LOAD = """
import pathlib, sys, warnings
warnings.simplefilter("always")
import torch
from kernels import get_local_kernel
kernel = get_local_kernel(pathlib.Path(sys.argv[1]), backend=sys.argv[2] if len(sys.argv) > 2 else None)
torch.manual_seed(0)
q, k, v = (torch.randn(2, 3, 17, 32, requires_grad=True) for _ in range(3))
def gradients(f, **options):
    o = f(q, k, v, causal=True, groups=2, **options)
    return [o, *torch.autograd.grad(o.pow(2).sum(), [q, k, v])]
got, wanted = gradients(kernel.flash_cosine_sim_attention), gradients(kernel.plain_cosine_sim_attention)
assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(got, wanted))
compiled = gradients(torch.compile(kernel.flash_cosine_sim_attention, fullgraph=True, backend="aot_eager"))
assert all(torch.equal(a, b) for a, b in zip(compiled, got))
"""


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "kernel"
    subprocess.run([sys.executable, LAYOUT, folder], check=True)
    return folder


def load(layout, program, *arguments, **environment):
    """Runs LOAD and more in a process that has no package of this name on its path but an installed one."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "FCSA_LIBRARY")}
    ran = subprocess.run([sys.executable, "-c", LOAD + program, layout, *arguments], capture_output=True, text=True, cwd=layout,
                         env={**kept, "HF_HUB_OFFLINE": "1", **environment})
    assert ran.returncode == 0, ran.stderr
    return ran


def library():
    return os.environ.get("FCSA_LIBRARY") or str(pathlib.Path(native.__file__).parent / "lib" / "libfcsa.so.0")


@pytest.mark.parametrize("backend", [[], ["cpu"]])
def test_a_kernel_from_a_local_folder_computes_attention(layout, backend):
    ran = load(layout, "assert not hasattr(torch.ops.fcsa, 'attention')\nprint(kernel.describe(q, k, v))", *backend, FCSA_LIBRARY=library())
    assert "cpu.forward" in ran.stdout and "Warning: attention runs" not in ran.stderr


def test_it_stands_beside_an_installed_package_without_meeting_it(layout):
    folder = pathlib.Path(library()).parent
    path = ROOT / "python" if os.environ.get("FCSA_LIBRARY") else folder.parents[1]
    ran = load(layout, "import flash_cosine_sim_attention as installed\n"
               "assert installed.flash_cosine_sim_attention is not kernel.flash_cosine_sim_attention\n"
               "assert all(torch.equal(a, b) for a, b in zip(got, gradients(installed.flash_cosine_sim_attention)))\n"
               "assert all(torch.equal(a, b) for a, b in zip(compiled, gradients(torch.compile(installed.flash_cosine_sim_attention,"
               " backend='aot_eager'))))\nprint(torch.ops.fcsa.attention.default)",
               FCSA_LIBRARY=library(), PYTHONPATH=str(path))
    assert "fcsa.attention.default" in ran.stdout and "installed too" not in ran.stderr


def test_it_takes_the_library_of_an_installed_package(layout, tmp_path):
    package = tmp_path / "flash_cosine_sim_attention"
    (package / "lib").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "lib" / "libfcsa.so.0").symlink_to(library())
    ran = load(layout, "print(kernel.describe(q, k, v))", PYTHONPATH=str(tmp_path))
    assert "cpu.forward" in ran.stdout


def test_without_a_library_plain_operations_do_it_and_one_warning_says_so(layout, tmp_path):
    (tmp_path / "flash_cosine_sim_attention").mkdir()
    (tmp_path / "flash_cosine_sim_attention" / "__init__.py").write_text("")
    ran = load(layout, "print(kernel.describe(q, k, v))", PYTHONPATH=str(tmp_path))
    assert ran.stderr.count("attention runs by PyTorch's own operations") == 1 and "install fcsa beside it" in ran.stderr
    assert "PyTorch's own operations" in ran.stdout


def test_files_are_those_that_the_hub_wants(layout):
    assert {str(backend) for backend in _rust.Build.open(layout).general.backends} == {"cpu", "cuda"}
    for variant in (layout / "build").iterdir():
        metadata = _rust.Metadata.read_from_file(variant / "metadata.json")
        assert metadata.name.python_name == "flash_cosine_sim_attention" and metadata.id.isidentifier() and metadata.license == "MIT"
        metadata.digest.validate(_rust.Digest.hash_variant(metadata.digest.algorithm, variant))
    names = {file.name for file in (layout / "torch-ext" / "flash_cosine_sim_attention").iterdir()}
    assert "__init__.py" in names and "huggingface.py" not in names


def test_its_sources_import_torch_and_pythons_own_modules_only(layout):
    for file in layout.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            absolute = isinstance(node, ast.ImportFrom) and node.level == 0
            names = [node.module] if absolute else [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name.split(".")[0] in {"torch", *sys.stdlib_module_names}, f"{file}: {name}"


def test_a_folder_that_has_something_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("")
    ran = subprocess.run([sys.executable, LAYOUT, tmp_path], capture_output=True, text=True)
    assert ran.returncode == 1 and "isn't empty" in ran.stderr and os.listdir(tmp_path) == ["mine"]
