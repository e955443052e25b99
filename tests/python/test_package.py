"""Import, installation, and what is done without."""
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest
import torch
from flash_cosine_sim_attention import native

ROOT = pathlib.Path(__file__).resolve().parents[2]
INSTALLED = pytest.mark.skipif("FCSA_LIBRARY" in os.environ, reason="the package of the source tree, which is not installed")
CALL = ("import warnings, torch; from flash_cosine_sim_attention import flash_cosine_sim_attention as f;"
        "torch.manual_seed(0); q, k, v = (torch.randn(2, 2, 9, 32, requires_grad=True) for _ in range(3)); bias = torch.randn(2, 9, 9, requires_grad=True);")


def python(program, **environment):
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **environment})
    assert ran.returncode == 0, ran.stderr
    return ran


def test_without_a_compiler_built_in_kernels_run_and_nothing_is_said(tmp_path):
    ran = python("import warnings; warnings.simplefilter('error');" + CALL + "f(q, k, v, causal=True).sum().backward();"
                 "print(torch.isfinite(q.grad).all().item())", FCSA_CXX="/nowhere/c++", XDG_CACHE_HOME=str(tmp_path))
    assert ran.stdout.strip() == "True"


def test_without_a_compiler_plain_operations_do_the_rest_and_one_warning_says_so(tmp_path):
    program = (CALL + "from flash_cosine_sim_attention import plain_cosine_sim_attention as p\n"
               "with warnings.catch_warnings(record=True) as caught:\n"
               "    warnings.simplefilter('always')\n"
               "    for _ in range(3):\n"
               "        o = f(q, k, v, attn_bias=bias, groups=2); got = torch.autograd.grad(o.pow(2).sum(), [q, k, v, bias])\n"
               "e = p(q, k, v, attn_bias=bias, groups=2); wanted = torch.autograd.grad(e.pow(2).sum(), [q, k, v, bias])\n"
               "assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip([o, *got], [e, *wanted]))\n"
               "assert torch.equal(o, torch.compile(f, fullgraph=True, backend='aot_eager')(q, k, v, attn_bias=bias, groups=2))\n"
               "print([str(w.message) for w in caught if w.category is RuntimeWarning])")
    ran = python(program, FCSA_CXX="/nowhere/c++", XDG_CACHE_HOME=str(tmp_path))
    assert ran.stdout.count("PyTorch's own operations") == 1 and "FCSA_CXX" in ran.stdout


def test_importing_brings_in_none_of_what_makes_torch_slow_to_import():
    program = ("import sys, torch; before = set(sys.modules); import flash_cosine_sim_attention; new = set(sys.modules) - before;"
               "print(sorted({'torch._dynamo', 'torch._inductor', 'torch._functorch.aot_autograd', 'sympy', 'triton'} & new), len(new))")
    heavy, count = python(program).stdout.rsplit(maxsplit=1)
    assert heavy == "[]" and int(count) < 60


def test_an_installed_original_is_warned_of(tmp_path):
    (tmp_path / "flash_cosine_sim_attention-0.2.2.dist-info").mkdir()
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(tmp_path)]))
    ran = python("import flash_cosine_sim_attention", PYTHONPATH=path)
    assert "flash-cosine-sim-attention is installed too" in ran.stderr and "pip uninstall" in ran.stderr
    assert "installed too" not in python("import flash_cosine_sim_attention").stderr


def test_a_missing_library_says_how_to_get_one(tmp_path):
    ran = subprocess.run([sys.executable, "-c", "import flash_cosine_sim_attention"], capture_output=True, text=True,
                         env={**os.environ, "FCSA_LIBRARY": str(tmp_path / "none.so")})
    assert ran.returncode != 0 and "none.so" in ran.stderr


def test_a_library_of_another_version_is_named():
    ran = subprocess.run([sys.executable, "-c", "import flash_cosine_sim_attention"], capture_output=True, text=True,
                         env={**os.environ, "FCSA_LIBRARY": "libm.so.6"})
    assert ran.returncode != 0 and "ImportError: libm.so.6 is no libfcsa.so of this version: it has no fcsa_version" in ran.stderr


def test_structs_are_as_large_as_those_of_the_header(tmp_path):
    import ctypes
    import shutil
    header = ROOT / "library"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or not (header / "fcsa.h").exists():
        pytest.skip("no C compiler, or no header")
    fields = [name for name, *_ in native.Problem._fields_]
    source = ('#include <stdio.h>\n#include "fcsa.h"\nint main(void) { printf("%zu %zu %zu", sizeof(fcsa_problem), '
              'sizeof(fcsa_tensors), sizeof(fcsa_options));' + "".join(f'printf(" %zu", offsetof(fcsa_problem, {n}));' for n in fields) + "}")
    (tmp_path / "sizes.c").write_text(source)
    subprocess.run([compiler, "-I", str(header), str(tmp_path / "sizes.c"), "-o", str(tmp_path / "sizes")], check=True)
    sizes = [int(n) for n in subprocess.run([str(tmp_path / "sizes")], capture_output=True, text=True, check=True).stdout.split()]
    assert sizes[:3] == [ctypes.sizeof(native.Problem), native.TENSORS_BYTES, ctypes.sizeof(native.Options)]
    assert sizes[3:] == [getattr(native.Problem, name).offset for name in fields]


def test_the_command_of_the_package_runs_without_torch(tmp_path):
    folder = tmp_path / "flash_cosine_sim_attention"
    (folder / "bin").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "bin" / "fcsa").write_text("#!/bin/sh\necho \"ran $*\"\nexit 3\n")
    (folder / "bin" / "fcsa").chmod(0o755)
    (tmp_path / "fcsa_launcher").symlink_to(ROOT / "python" / "fcsa_launcher")
    ran = subprocess.run([sys.executable, "-m", "fcsa_launcher", "devices", "--json"], capture_output=True, text=True, cwd=tmp_path,
                         env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (ran.stdout, ran.returncode) == ("ran devices --json\n", 3), ran.stderr
    (folder / "bin" / "fcsa").unlink()
    ran = subprocess.run([sys.executable, "-m", "fcsa_launcher"], capture_output=True, text=True, cwd=tmp_path,
                         env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert ran.returncode == 1 and "pip install --force-reinstall fcsa" in ran.stderr


@INSTALLED
def test_the_installed_command_finds_its_sources_and_data_and_imports_no_torch(tmp_path):
    command = os.path.join(os.path.dirname(sys.executable), "fcsa")
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    assert subprocess.run([command, "--version"], capture_output=True, text=True, env=clean).stdout.strip() == native.VERSION
    ran = subprocess.run([command, "emit", "--device", "NVIDIA H100 80GB HBM3", "--out", str(tmp_path / "include")],
                         capture_output=True, text=True, env=clean)
    assert ran.returncode == 0 and list((tmp_path / "include").iterdir()), ran.stderr
    ran = subprocess.run([sys.executable, "-X", "importtime", "-m", "fcsa_launcher", "--version"], capture_output=True, text=True,
                         env=clean)
    assert ran.returncode == 0 and "importlib" in ran.stderr and " torch" not in ran.stderr


@INSTALLED
@pytest.mark.parametrize("name", ["bin/fcsa", "lib/libfcsa.so.0"])
def test_installed_binaries_need_the_c_library_of_torchs_wheels_and_name_no_folder_of_their_build(name):
    file = pathlib.Path(native.__file__).parent / name
    versions = subprocess.run(["readelf", "-VW", file], capture_output=True, text=True, check=True).stdout
    newest = max(tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_([\d.]+)", versions))
    assert newest <= (2, 28)
    assert os.fsencode(ROOT) not in file.read_bytes()


@INSTALLED
def test_the_licences_of_what_is_linked_in_are_installed():
    folder = pathlib.Path(native.__file__).parent / "share" / "licenses"
    linked = "libfmt-dev libsqlite3-0 libsqlitecpp-dev libxxhash-dev nlohmann-json3-dev libcli11-dev libbenchmark-dev libeigen3-dev zlib1g libstdc++6"
    assert {file.stem for file in folder.iterdir() if file.stat().st_size > 100} == set(linked.split())


@pytest.mark.gpu
def test_the_first_call_on_a_new_shape_is_quick_when_its_kernels_are_cached():
    from flash_cosine_sim_attention import flash_cosine_sim_attention
    times = []
    for rows in (301, 302, 303, 304):
        q, k, v = (torch.randn(1, 2, rows, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3))
        torch.cuda.synchronize()
        began = time.perf_counter()
        flash_cosine_sim_attention(q, k, v)
        times.append(time.perf_counter() - began)
    assert min(times[1:]) < 1.0
