#!/usr/bin/env python3
"""Attention with an additive bias that the batch shares, and windows with a bias each, against what torch has.

    benchmarks/bias_vs_torch.py [--flex] [--out FILE]

On one GPU, contenders in turns, outputs compared with attention in f32 first. `attention only` gets normalised q and k on
both sides; `copy` is a device copy of as many bytes as the kernel has to read and write. Median milliseconds of at least 30
calls, timed by events over batches of calls, sustained (every contender runs in each of the rounds).
"""
import argparse
import json
import statistics

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from flash_cosine_sim_attention import __version__, flash_cosine_sim_attention

SCALE = 8.0
# batch, heads, length, channels, dtype of the bias, batches of the bias
SHARED = [(16, 32, 1024, 64), (4, 32, 4096, 64), (16, 16, 1024, 128), (4, 16, 4096, 128)]
CELLS = [(*shape, dtype, 1) for shape in SHARED for dtype in (torch.float32, torch.bfloat16)]
CELLS += [(2048, 3, 64, 32, torch.bfloat16, 2048), (2048, 3, 64, 32, torch.bfloat16, 64)]


def sdpa(backend):
    def call(q, k, v, bias):
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=SCALE)
    return call


def flex():
    from torch.nn.attention.flex_attention import flex_attention
    compiled = torch.compile(flex_attention, dynamic=False)

    def call(q, k, v, bias):
        def add(score, b, h, i, j):
            return score + bias[b % bias.shape[0], h, i, j]
        return compiled(q, k, v, score_mod=add, scale=SCALE)
    return call


def time_of(call, launches):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(launches):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / launches


def race(contenders, rounds=15):
    """Median time of each, in turns."""
    launches = {}
    for name, call in contenders.items():
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        launches[name] = max(1, min(50, int(4 / max(time_of(call, 2), 1e-3))))
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            times[name].append(time_of(call, launches[name]))
    return {name: statistics.median(samples) for name, samples in times.items()}


def row_of(cell, with_flex):
    b, h, n, d, bias_dtype, bias_batch = cell
    torch.manual_seed(1)
    q, k, v = (torch.randn(b, h, n, d, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    bias = torch.randn(bias_batch, h, n, n, device="cuda", dtype=bias_dtype)
    qn, kn = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    windows = bias_batch > 1
    ours_bias = bias[0] if bias_batch == 1 else bias
    of_torch = bias.to(torch.bfloat16)
    of_torch = of_torch.repeat(b // bias_batch, 1, 1, 1) if windows else of_torch.expand(b, h, n, n)

    few = slice(0, 2)
    s = torch.einsum("bhid,bhjd->bhij", qn[few].float(), kn[few].float()) * SCALE + bias[few].float()
    right = s.softmax(-1) @ v[few].float()

    contenders = {
        "fcsa": lambda: flash_cosine_sim_attention(q, k, v, attn_bias=ours_bias, scale=SCALE),
        "fcsa, attention only": lambda: flash_cosine_sim_attention(qn, kn, v, attn_bias=ours_bias, scale=SCALE, l2norm_qk=False),
    }
    for name, backend in (("memory-efficient", SDPBackend.EFFICIENT_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION),
                          ("math", SDPBackend.MATH)):
        if name == "math" and n > 1024:
            continue  # all scores in memory
        call = sdpa(backend)
        contenders[name] = lambda call=call: call(qn, kn, v, of_torch)
    if with_flex:
        call = flex()
        contenders["FlexAttention"] = lambda: call(qn, kn, v, bias)
    if windows:
        size = sum(t.numel() * t.element_size() for t in (q, k, v, q, bias))
        source, target = (torch.empty(size // 2, dtype=torch.uint8, device="cuda") for _ in range(2))
        contenders["copy"] = lambda: target.copy_(source)

    errors, failed = {}, {}
    for name in list(contenders):
        if name == "copy":
            continue
        try:
            out = contenders[name]()
            errors[name] = ((out[few].float() - right).norm() / right.norm()).item()
        except Exception as error:  # a backend that doesn't serve this
            failed[name] = str(error).strip().splitlines()[0][:200]
            del contenders[name]
    times = race(contenders)
    peers = {name: ms for name, ms in times.items() if not name.startswith("fcsa") and name != "copy"}
    best = min(peers, key=peers.get)
    row = {"batch": b, "heads": h, "n": n, "head_dim": d, "dtype": "bf16", "bias": "f32" if bias_dtype == torch.float32 else "same",
           "bias_batch": bias_batch, "ms": times, "relative_error": errors, "not_served": failed, "best_peer": best,
           "attention_only_over_best": peers[best] / times["fcsa, attention only"]}
    if "memory-efficient" in peers:
        row["attention_only_over_memory_efficient"] = peers["memory-efficient"] / times["fcsa, attention only"]
    if windows:
        row["fcsa_over_copy"] = times["fcsa"] / times["copy"]
    return row


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--flex", action="store_true")
    options.add_argument("--out")
    options = options.parse_args()
    rows = []
    for index, cell in enumerate(CELLS):
        rows.append(row_of(cell, options.flex and index in (0, 4)))
        print(json.dumps(rows[-1]), flush=True)
        torch.cuda.empty_cache()
    report = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda, "fcsa": __version__,
              "cudnn": torch.backends.cudnn.version(), "rows": rows}
    if options.out:
        with open(options.out, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
