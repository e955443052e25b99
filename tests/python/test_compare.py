"""python -m flash_cosine_sim_attention.compare"""
import csv
import io
import json
import xml.etree.ElementTree as xml

import pytest
import torch
from flash_cosine_sim_attention import plain_cosine_sim_attention
from flash_cosine_sim_attention.compare import __main__ as program
from flash_cosine_sim_attention.compare import measure, peers, picture, problems, run, table

SMALL = ["--device", "cpu", "--seq", "32,64", "--heads", "2", "--head-dim", "32", "--budget", "0.001"]


def quiet(*arguments):
    return program.main([*SMALL, *arguments])


def rows_of(folder):
    return list(csv.DictReader(io.StringIO((folder / "compare.csv").read_text())))


def test_a_grid_gives_a_table_csv_and_pictures(tmp_path, capsys):
    assert quiet("--causal", "both", "--out", str(tmp_path)) == 0
    text = capsys.readouterr().out
    assert "**f32 B1 H2 N64 D32 causal, both, normalisation included**" in text and "times fcsa's" in text
    rows = rows_of(tmp_path)
    assert len(rows) == 4 * 2 * 3 * len(peers.available("cpu"))
    assert {(row["device"], row["torch"], row["cache"]) for row in rows} == {("cpu", torch.__version__, "warm")}
    ours = [row for row in rows if row["peer"] == "fcsa"]
    assert all(float(row["low_ms"]) <= float(row["median_ms"]) <= float(row["high_ms"]) for row in ours)
    assert all(int(row["peak_bytes"]) >= 4 * 2 * 32 * int(row["nq"]) for row in ours), "at least the output"
    for name, theme in (("light", picture.LIGHT), ("dark", picture.DARK)):
        root = xml.parse(tmp_path / f"compare-{name}.svg").getroot()
        assert root[0].get("fill") == theme["ground"]
        words = {element.text for element in root.iter() if element.text}
        assert {"fcsa", "plain", "forward, GFLOP/s", "memory, both", "f32, B 1, H 2, D 32, causal; attention alone"} <= words


def test_results_that_are_wrong_have_no_time(monkeypatch):
    p = problems.grid(["f32"], [16], [32], 1, 2, 0, [False])
    zeros = lambda p, device: lambda q, k, v: torch.zeros_like(q) * q
    slow = {"zeros": zeros, "fails": lambda p, device: lambda q, k, v: q @ k}
    monkeypatch.setattr(peers, "available", lambda device: {"fcsa": peers.ours, **slow})
    rows = run.compare(p, ["fcsa", "zeros", "fails"], ["excluded"], ["forward"], measure.Conditions("cpu", "warm", 0.001))
    assert [row.median_ms is None for row in rows] == [False, True, True]
    assert rows[1].reason == "the result is wrong" and rows[2].reason not in ("", rows[1].reason)
    assert "the result is wrong" in table.text(rows)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_every_peer_computes_the_same_where_lengths_and_heads_differ(causal, kv_heads):
    p = problems.Problem("f32", 2, 2, kv_heads, 9, 13, 32, causal, 5.0)
    (q, k, v), _ = run.tensors_of(p, "cpu")
    wanted = plain_cosine_sim_attention(q, k, v, scale=5.0, causal=causal)
    normalise = peers.normalisation("cpu")
    assert not run.wrong(run.expected_output(p, "cpu", (*normalise(q, k), v)), wanted)
    for name, peer in peers.available("cpu").items():
        for out in (peers.with_normalisation(name, peer, normalise)(p, "cpu")(q, k, v), peer(p, "cpu")(*normalise(q, k), v)):
            assert (out - wanted).abs().max() < 1e-4, name


def test_memory_is_the_most_that_is_allocated_at_a_time():
    def fn():
        a = torch.ones(1 << 18)
        b = a + 1
        del a
        return b * 2
    assert 2 << 20 <= measure.peak_bytes(fn, "cpu") < (2 << 20) + 4096
    p = problems.Problem("f32", 1, 2, 2, 512, 512, 32, False)
    inputs, dout = run.tensors_of(p, "cpu")
    peak = {name: measure.peak_bytes(measure.passes(lambda: peer(p, "cpu")(*inputs), inputs, dout, "both"), "cpu")
            for name, peer in (("plain", peers.plain), ("fcsa", peers.ours))}
    pairs = 4 * 2 * 512 * 512
    assert peak["plain"] > 2 * pairs > 2 * peak["fcsa"]


def test_workload_files(tmp_path, capsys):
    file = tmp_path / "calls.jsonl"
    first = dict(name="a", count=3, dtype="f32", head_dim=32, heads=2, nq=16, nk=16, causal=True)
    lines = [dict(format="fcsa workload", version=1), first, dict(first, op="backward", count=9), dict(first, nk=20, kv_heads=1),
             dict(first, bias="same"), dict(first, groups=2)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found, left_out = problems.workload(file)
    assert [(p.nk, p.kv_heads, p.causal, p.batch) for p in found] == [(16, 2, True, 1), (20, 1, True, 1)]
    assert [text.split(": ")[1] for text in left_out] == ["bias isn't compared", "groups isn't compared"]
    assert program.main(["--device", "cpu", "--problems", str(file), "--budget", "0.001", "--peers", "fcsa", "--pass", "forward"]) == 0
    assert "f32 B1 H2/1 N16x20 D32 causal" in capsys.readouterr().out
    for line, text in ((dict(first, colour=1), "unknown field 'colour'"), (dict(first, dtype="f8"), "dtype is 'f8'"),
                       ({"dtype": "f32"}, "head_dim is missing"), ([], "JSON object")):
        file.write_text("\n" + json.dumps(line))
        with pytest.raises(SystemExit, match=f"calls.jsonl:2: .*{text}"):
            problems.workload(file)


ORIGINAL = """
import torch, torch.nn.functional as F
def flash_cosine_sim_attention(q, k, v, scale=8, causal=False, l2norm_qk=True):
    if causal:
        raise RuntimeError("not causal")
    if l2norm_qk:
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return (q @ k.transpose(-1, -2) * scale).softmax(-1) @ v
"""


def test_the_original_runs_in_a_process_of_its_own(tmp_path):
    package = tmp_path / "there" / "flash_cosine_sim_attention"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(ORIGINAL)
    assert quiet("--original", str(tmp_path / "there"), "--causal", "both", "--peers", "fcsa,original", "--out", str(tmp_path)) == 0
    rows = [row for row in rows_of(tmp_path) if row["peer"] == "original"]
    assert len(rows) == 24
    for row in rows:
        assert (row["reason"] == "not causal") == (row["causal"] == "true") == (row["median_ms"] == "")


def test_an_original_that_is_not_there_is_said(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert quiet("--original", str(tmp_path / "empty"), "--peers", "fcsa,original", "--pass", "forward") == 0
    assert "the original can't be measured" in capsys.readouterr().err


def test_names_that_are_none_are_errors():
    with pytest.raises(SystemExit, match="there are fcsa, plain"):
        quiet("--peers", "fa9")
    with pytest.raises(SystemExit):
        quiet("--seq", "0")
    with pytest.raises(SystemExit):
        quiet("--cache", "cold")
    with pytest.raises(SystemExit, match="doesn't divide"):
        quiet("--kv-heads", "3")


def test_flops_of_causal_attention_are_those_of_visible_pairs():
    for nq, nk in ((5, 5), (3, 7), (7, 3)):
        p = problems.Problem("f32", 1, 1, 1, nq, nk, 16, True)
        pairs = sum(j <= i + nk - nq for i in range(nq) for j in range(nk))
        assert p.flops() == 4 * pairs * 16


def row(nk, peer="fcsa", heads=2, tflops=1.0):
    p = problems.Problem("f32", 1, heads, heads, nk, nk, 32, False)
    return run.row_of(p, peer, "included", "forward", measure.Conditions("cpu", "warm", 1), median_ms=1.0, tflops=tflops, peak_bytes=nk)


def test_lines_are_of_problems_that_differ_in_length_alone():
    panels = [panel for panel in picture._panels([row(16), row(32), row(16, heads=4), row(16, tflops=200.0, peer="fa3", heads=4)]) if panel]
    assert [(panel.title, panel.problems, panel.lines) for panel in panels if "memory" not in panel.title] == [
        ("forward, TFLOP/s", "f32, B 1, H 2, D 32", {"fcsa": [(16, 1.0), (32, 1.0)]}),
        ("forward, TFLOP/s", "f32, B 1, H 4, D 32", {"fcsa": [(16, 1.0)], "fa3": [(16, 200.0)]})]
    assert picture._Linear([600], 100, 0).ticks() == [0, 200, 400, 600] and picture._Linear([0.031], 100, 0).ticks()[-1] == 0.03


def test_no_two_peers_look_the_same():
    names = ["fcsa", *peers.available("cuda"), "fa2", "fa3", "fa4", "original"]
    styles = picture._styles(dict.fromkeys(names))
    assert len({tuple(style.values()) for style in styles.values()}) == len(styles)


def test_a_picture_of_nothing_says_so():
    assert "nothing was measured" in picture.svg([], "x", picture.LIGHT)
