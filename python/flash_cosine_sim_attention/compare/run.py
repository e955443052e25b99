"""Every peer on every problem: rows of results."""
import json
import os
import subprocess
import sys
import tempfile
from typing import NamedTuple, Optional

import torch

from . import measure, peers

PASSES = ("forward", "backward", "both")
ORIGINAL = "original"
_DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


class Row(NamedTuple):
    """One line of the CSV. Without a time there is a reason."""
    peer: str
    normalisation: str  # included, excluded
    direction: str  # forward, backward, both
    device: str  # cpu, cuda
    device_name: str
    torch: str  # version
    cache: str  # warm, cold
    dtype: str
    batch: int
    heads: int
    kv_heads: int
    nq: int
    nk: int
    head_dim: int
    causal: bool
    scale: float
    median_ms: Optional[float] = None
    low_ms: Optional[float] = None
    high_ms: Optional[float] = None
    samples: int = 0
    tflops: Optional[float] = None
    peak_bytes: Optional[int] = None  # beyond q, k, v and the gradient of the output
    reason: str = ""


def tensors_of(p, device):
    """q, k, v, which require gradients, and the gradient of the output."""
    made = torch.Generator(device=device).manual_seed(0)
    shapes = [(p.batch, heads, n, p.head_dim) for heads, n in ((p.heads, p.nq), (p.kv_heads, p.nk), (p.kv_heads, p.nk), (p.heads, p.nq))]
    q, k, v, dout = (torch.randn(s, device=device, generator=made).to(_DTYPES[p.dtype]) for s in shapes)
    return [t.requires_grad_() for t in (q, k, v)], dout


def row_of(p, name, normalisation, direction, conditions, **found):
    device = conditions.device
    return Row(name, normalisation, direction, device, measure.device_name(device), torch.__version__, conditions.cache, p.dtype, p.batch,
               p.heads, p.kv_heads, p.nq, p.nk, p.head_dim, p.causal, p.scale, **found)


def work(p, direction):
    """FLOPs: the gradients take five products where the output takes two."""
    return p.flops() * {"forward": 1.0, "backward": 2.5, "both": 3.5}[direction]


def one_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def measured(p, direction, conditions, attend, inputs, dout):
    """The found part of a row."""
    fn = measure.passes(lambda: attend(*inputs), inputs, dout, direction)
    taken = measure.sample(fn, conditions)
    rate = work(p, direction) / taken.median_ms / 1e9
    return dict(median_ms=taken.median_ms, low_ms=taken.low_ms, high_ms=taken.high_ms, samples=taken.samples, tflops=rate,
                peak_bytes=measure.peak_bytes(fn, conditions.device))


def wrong(got, wanted):
    """Whether an output is none: another shape, or far from what it has to be (rounding of bf16 is near)."""
    return got.shape != wanted.shape or not (got.float() - wanted.float()).abs().max() <= 0.1 * wanted.float().abs().max().clamp_min(0.1)


def run_peer(p, name, peer, normalisation, directions, conditions, inputs, dout, expected):
    """Rows of one peer on one problem, all directions. What fails is a row that says why."""
    try:
        attend = peer(p, conditions.device)
        with torch.no_grad():
            if wrong(attend(*inputs), expected):
                raise peers.Refused("the result is wrong")
    except Exception as error:  # whatever another library raises
        return [row_of(p, name, normalisation, d, conditions, reason=one_line(error)) for d in directions]
    rows = []
    for direction in directions:
        try:
            found = measured(p, direction, conditions, attend, inputs, dout)
        except Exception as error:
            found = dict(reason=one_line(error))
        rows.append(row_of(p, name, normalisation, direction, conditions, **found))
    return rows


def expected_output(p, device, inputs):
    """By rows of queries in f32, so that it needs no more memory than a peer does."""
    q, k, v = (t.detach().float() for t in inputs)
    k, v = peers._repeated(p, k, v)
    parts, step = [], max(1, (1 << 26) // max(1, p.batch * p.heads * p.nk))
    for first in range(0, p.nq, step):
        part = q[:, :, first:first + step]
        logits = part @ k.transpose(-1, -2) * p.scale
        if p.causal:
            rows = torch.arange(first, first + part.shape[2], device=device)[:, None] + p.nk - p.nq
            logits = logits.masked_fill(torch.arange(p.nk, device=device) > rows, float("-inf"))
        parts.append(logits.softmax(-1) @ v)
    return torch.cat(parts, 2)


def prepared(p, device, normalise):
    """({normalisation: [q, k, v]}, dout, what has to come out). Where q and k are taken as they are there is only "excluded"."""
    inputs, dout = tensors_of(p, device)
    with torch.no_grad():
        unit = [*(normalise(*inputs[:2]) if p.l2norm_qk else inputs[:2]), inputs[2]]
        unit = [t.detach().requires_grad_() for t in unit]
        given = {"included": inputs, "excluded": unit} if p.l2norm_qk else {"excluded": unit}
        return given, dout, expected_output(p, device, unit)


def compare(problems, names, normalisations, directions, conditions, original=None, say=lambda text: None):
    """Rows of all peers that are named, on all problems."""
    device = conditions.device
    found, normalise, rows = peers.available(device), peers.normalisation(device), []
    for p in problems:
        say(p.text())
        given, dout, expected = prepared(p, device, normalise)
        for normalisation in (n for n in normalisations if n in given):
            for name in (n for n in names if n in found):
                peer = found[name]
                if normalisation == "included":
                    peer = peers.with_normalisation(name, peer, normalise)
                rows += run_peer(p, name, peer, normalisation, directions, conditions, given[normalisation], dout, expected)
                say_rows(say, rows[-len(directions):])
        del given, expected
    if original is not None and ORIGINAL in names:
        rows += compare_original(problems, normalisations, directions, conditions, original, say)
    return rows


def say_rows(say, rows):
    for row in rows:
        what = f"{row.median_ms:10.3f} ms" if row.median_ms is not None else row.reason
        say(f"  {row.peer:15s} {row.direction:8s} normalisation {row.normalisation}: {what}")


def compare_original(problems, normalisations, directions, conditions, folder, say):
    """The original has the import name of this package: a process of its own measures it."""
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as scratch:
        asked, given = os.path.join(scratch, "asked.json"), os.path.join(scratch, "given.json")
        with open(asked, "w") as out:
            json.dump(dict(problems=problems, normalisations=normalisations, directions=directions, conditions=conditions), out)
        ran = subprocess.run([sys.executable, os.path.join(here, "original.py"), here, os.path.abspath(folder), asked, given],
                             capture_output=True, text=True)
        if ran.returncode:
            say(f"the original can't be measured: {one_line(ran.stderr.strip().splitlines()[-1] if ran.stderr.strip() else 'it ended')}")
            return []
        with open(given) as lines:
            rows = [Row(**line) for line in json.load(lines)]
    say_rows(say, rows)
    return rows
