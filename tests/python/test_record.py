"""with record(path): which problems ran, as a workload file."""
import json
import os
import pathlib
import subprocess
import sys
import threading
import warnings

import pytest
import torch
from flash_cosine_sim_attention import flash_cosine_sim_attention as attend
from flash_cosine_sim_attention import native, record, recording

# The same calls for this process and for one whose libfcsa records: features, layouts and paths.
CALLS = '''
import torch
from flash_cosine_sim_attention import flash_cosine_sim_attention as attend

def tensors(b, h, kv, i, j, d, dtype=torch.float32, **options):
    shapes = (b, h, i, d), (b, kv, j, d), (b, kv, j, d)
    return [torch.randn(s, dtype=dtype, **options) for s in shapes]

def run():
    train = dict(requires_grad=True)
    for _ in range(4):  # the library writes a line when a count reaches a power of two
        attend(*tensors(2, 4, 2, 5, 7, 32, **train), causal=True).sum().backward()
    q, k, v = tensors(2, 4, 4, 6, 6, 16)
    attend(*(t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v)), scale=16 ** -0.5, l2norm_qk=False, logit_bound=3.3)
    attend(q[:, :1].transpose(1, 2).contiguous().transpose(1, 2), k[:, :1], v[:, :1], mask=torch.ones(2, 6, dtype=torch.bool))
    attend(q[:, 0], k[:, 0], v[:, 0], groups=2)
    attend(*tensors(1, 2, 1, 1, 9, 20, torch.bfloat16))
    attend(q, k, v[..., 8:].repeat(1, 1, 1, 2), scale=0.1), attend(q, k, v, scale=0.1 + 1e-12)
    for bias in (torch.randn(4, 6, 6), torch.randn(1, 1, 6, 6), torch.randn(2, 1, 6, 6), torch.randn(2, 4, 6, 6)):
        attend(q, k, v, attn_bias=bias)
    half = [t.half().requires_grad_() for t in (q, k, v)]
    attend(*half, attn_bias=torch.randn(4, 6, 6).half().requires_grad_(), deterministic=True).sum().backward()
    attend(*half, attn_bias=torch.randn(4, 6, 6), scale=torch.ones(4, requires_grad=True)).sum().backward()
    compiled = torch.compile(attend, backend="aot_eager")
    compiled(*tensors(1, 2, 2, 8, 8, 32, **train), causal=True).sum().backward()
    attend(q[:0], k[:0], v[:0])
'''


def lines_of(path):
    first, *lines = map(json.loads, pathlib.Path(path).read_text().splitlines())
    assert first == {"format": "fcsa workload", "version": 1}
    return lines


def without_process(lines):
    counts = {}
    for line in lines:
        problem = frozenset((name, value) for name, value in line.items() if name not in ("process", "count"))
        counts[problem] = max(line["count"], counts.get(problem, 0))
    return counts


def tensors(rows=8, **options):
    return [torch.randn(1, 2, rows, 32, **options) for _ in range(3)]


def test_lines_are_those_that_the_library_records_of_the_same_calls(tmp_path):
    program = CALLS + f"\nfrom flash_cosine_sim_attention import record\nwith record({str(tmp_path / 'python.jsonl')!r}): run()\n"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                         env={**os.environ, "FCSA_RECORD": str(tmp_path / "library.jsonl")})
    assert ran.returncode == 0, ran.stderr
    ours, theirs = (lines_of(tmp_path / name) for name in ("python.jsonl", "library.jsonl"))
    assert without_process(ours) == without_process(theirs)
    assert len(ours) == len(without_process(ours)) == 17
    assert {line["op"]: line["count"] for line in ours if line["nk"] == 7} == {"forward": 4, "backward": 4}


def fcsa_program():
    """The command beside libfcsa: of the installed package, or of the build."""
    library = pathlib.Path(os.environ.get("FCSA_LIBRARY") or native.__file__)
    places = [library.parent / "bin" / "fcsa", *(folder / "cli" / "fcsa" for folder in library.resolve().parents)]
    return next((place for place in places if place.is_file()), None)


def test_the_command_tunes_what_was_recorded(tmp_path):
    program = fcsa_program()
    if program is None:
        pytest.skip("there is no fcsa beside the libfcsa that FCSA_LIBRARY names")
    file = tmp_path / "shapes.jsonl"
    with record(file):
        for _ in range(2):
            attend(*tensors(requires_grad=True), causal=True).sum().backward()
    ran = subprocess.run([program, "tune", "--device", "cpu", "--problems", file, "--evals", "1", "--db", tmp_path / "t.db"],
                         capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    ran = subprocess.run([program, "explain", "--device", "cpu", "--problems", file, "--db", tmp_path / "t.db", "--json"],
                         capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for op in ("forward", "backward"):
        assert f"{op} f32 d32 b1 h2 kv2 nq8 nk8 bhnd causal" in ran.stdout


def test_the_file_is_written_when_an_exception_leaves_the_block(tmp_path):
    with pytest.raises(KeyError), record(tmp_path / "w.jsonl"):
        attend(*tensors())
        raise KeyError
    assert [line["count"] for line in lines_of(tmp_path / "w.jsonl")] == [1]
    attend(*tensors())
    assert [line["count"] for line in lines_of(tmp_path / "w.jsonl")] == [1] and not recording.OPEN


def test_what_was_there_stays_until_the_new_file_is_whole(tmp_path, monkeypatch):
    file = tmp_path / "w.jsonl"
    file.write_text("before")
    with pytest.raises(OSError, match="disk full"), record(file):
        attend(*tensors())
        assert file.read_text() == "before"
        def fail(*arguments):
            raise OSError("disk full")
        monkeypatch.setattr(os, "replace", fail)
    assert file.read_text() == "before" and os.listdir(tmp_path) == ["w.jsonl"]


def test_blocks_inside_of_blocks_each_see_what_runs_in_them(tmp_path):
    with record(tmp_path / "outer.jsonl"):
        attend(*tensors())
        with record(tmp_path / "inner.jsonl"):
            attend(*tensors())
        attend(*tensors(9))
    assert [(line["nq"], line["count"]) for line in lines_of(tmp_path / "outer.jsonl")] == [(8, 2), (9, 1)]
    assert [(line["nq"], line["count"]) for line in lines_of(tmp_path / "inner.jsonl")] == [(8, 1)]


def test_calls_of_all_threads_are_counted(tmp_path):
    def work():
        for _ in range(50):
            attend(*tensors())
    with record(tmp_path / "w.jsonl"):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [line["count"] for line in lines_of(tmp_path / "w.jsonl")] == [200]


def test_a_process_that_a_fork_made_leaves_the_file_to_its_parent(tmp_path):
    reading, writing = os.pipe()
    with record(tmp_path / "w.jsonl"):
        attend(*tensors())
        child = os.fork()
        if child:
            attend(*tensors())
        else:
            os.read(reading, 1)
    if not child:
        os._exit(0)
    os.write(writing, b"!")
    assert os.waitpid(child, 0)[1] == 0
    assert [line["count"] for line in lines_of(tmp_path / "w.jsonl")] == [2]


def test_calls_that_no_kernel_runs_are_left_out_and_named(tmp_path):
    with pytest.warns(RuntimeWarning, match="has not the 2 calls that no kernel ran: kernels have no float64"), \
            record(tmp_path / "w.jsonl"):
        attend(*tensors())
        for _ in range(2):
            attend(*tensors(dtype=torch.float64))
    assert [line["dtype"] for line in lines_of(tmp_path / "w.jsonl")] == ["f32"]
    program = ("import torch, warnings; from flash_cosine_sim_attention import flash_cosine_sim_attention as f, record\n"
               "q, k, v = (torch.randn(1, 2, 9, 32, requires_grad=True) for _ in range(3))\n"
               f"with record({str(tmp_path / 'n.jsonl')!r}): f(q, k, v, groups=2).sum().backward()")
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                         env={**os.environ, "FCSA_CXX": "/nowhere/c++", "XDG_CACHE_HOME": str(tmp_path)})
    assert "n.jsonl has not the 2 calls that no kernel ran" in ran.stderr and "FCSA_CXX" in ran.stderr
    assert lines_of(tmp_path / "n.jsonl") == []


def test_a_block_without_attention_says_so(tmp_path):
    with pytest.warns(RuntimeWarning, match="has no problem"), record(tmp_path / "w.jsonl"):
        torch.ones(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with record(tmp_path / "w.jsonl"):
            attend(*tensors())


def test_a_path_that_cannot_be_written_is_an_error_before_the_work(tmp_path):
    for path in (tmp_path / "nowhere" / "w.jsonl", tmp_path):
        with pytest.raises(OSError, match="record: .* can't be written"), record(path):
            raise AssertionError("the block ran")
