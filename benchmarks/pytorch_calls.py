#!/usr/bin/env python3
"""What calls of the package for PyTorch cost: CPU time on tiny shapes beside torch's, and on a GPU calls beside their kernels
and beside the original package (flash-cosine-sim-attention 0.2.2, Triton), which has the same import name and so runs in a
process of its own.

    python3 benchmarks/pytorch_calls.py --part warm --original FOLDER           optional: compiles by many processes at once
    python3 benchmarks/pytorch_calls.py --part cells --original FOLDER --out result.json
    python3 benchmarks/pytorch_calls.py --part calls --program fcsa --out result.json
    python3 benchmarks/pytorch_calls.py --part overhead --out result.json       or first, cpu

cells: both packages, (4, 8, n, 64), cell by cell in turn: while one is timed the other waits.

calls: back to back, eager and compiled, beside what they launch, in a CUDA graph, and with --program beside the kernels that
`fcsa bench` times.

cpu: a training step on the CPU beside torch's attention with normalisation, call by call in turn, in wall and in CPU time of
all threads. What else runs on the machine lengthens the first, and with several threads, which wait for each other by
spinning, torch's second; with --threads 1 the second can be trusted.

--original: the wheel of the original, unpacked (pip download --no-deps flash-cosine-sim-attention==0.2.2; unzip). Its CUDA
extension is not needed. FCSA_LIBRARY names libfcsa.so where the package is not installed."""
import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

from processes import Contender, provenance, serve

LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192)


def import_side(side, folder):
    """flash_cosine_sim_attention of the package or of the original."""
    import types
    if side == "original":
        sys.path.insert(0, folder)
        extension = types.ModuleType("flash_cosine_sim_attention_cuda_0_2_2")
        extension.forward = extension.backward = extension.debug = None
        sys.modules[extension.__name__] = extension
        from flash_cosine_sim_attention import triton_flash_cosine_sim_attention
        return triton_flash_cosine_sim_attention
    if os.environ.get("FCSA_LIBRARY"):
        sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
    from flash_cosine_sim_attention import flash_cosine_sim_attention
    return flash_cosine_sim_attention


def on_gpu_ms(fn, seconds):
    """Milliseconds a call, back to back, the median of five batches."""
    import torch
    for _ in range(3 if seconds else 1):
        fn()
    if not seconds:
        return 0.0
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def batch(calls):
        events[0].record()
        for _ in range(calls):
            fn()
        events[1].record()
        torch.cuda.synchronize()
        return events[0].elapsed_time(events[1]) / calls
    calls = max(1, min(500, int(seconds * 1e3 / batch(3))))
    return sorted(batch(calls) for _ in range(5))[2]


def graph_ms(fn, seconds):
    """The same for what fn launches, without the CPU's part: captured into a CUDA graph."""
    import torch
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        fn()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(10):
            fn()
    return on_gpu_ms(graph.replay, seconds) / 10


KINDS = [(dtype, tf32, causal) for dtype, tf32 in (("bfloat16", False), ("float16", False), ("float32", True), ("float32", False))
         for causal in (False, True)]


def cell(attend, dtype, tf32, causal, n, seconds):
    import torch
    torch.backends.cuda.matmul.allow_tf32 = tf32
    q, k, v = (torch.randn(4, 8, n, 64, device="cuda", dtype=getattr(torch, dtype), requires_grad=True) for _ in range(3))
    dout = torch.randn_like(q)
    row = dict(dtype=dtype, tf32=tf32, causal=causal, n=n)
    try:
        with torch.no_grad():
            row["forward_ms"] = on_gpu_ms(lambda: attend(q, k, v, causal=causal), seconds)
        out = attend(q, k, v, causal=causal)
        row["backward_ms"] = on_gpu_ms(lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True), seconds)
    except Exception as error:
        row["error"] = f"{type(error).__name__}: {error}"[:300]
    return row


def answers_of(side, folder):
    attend = import_side(side, folder)
    return lambda **asked: cell(attend, **asked)


def asked_cells(side, seconds):
    """The products of the original are Triton's, which are TF32 whatever torch says."""
    return [dict(dtype=dtype, tf32=tf32, causal=causal, n=n, seconds=seconds) for dtype, tf32, causal in KINDS for n in LENGTHS
            if side == "fcsa" or dtype != "float32" or tf32]


def warm(options):
    """Compiles what the parts cells and calls run, each kind by a process."""
    command = [sys.executable, os.path.abspath(__file__)]
    others = [subprocess.Popen([*command, "--part", "calls", "--seconds", "0"], stdout=subprocess.DEVNULL)]
    for side in ("fcsa", "original") if options.original else ("fcsa",):
        of_kind = {}
        for asked in asked_cells(side, 0):
            of_kind.setdefault((asked["dtype"], asked["tf32"], asked["causal"]), []).append(json.dumps(asked))
        for lines in of_kind.values():
            process = subprocess.Popen([*command, "--side", side, "--original", options.original or ""], stdin=subprocess.PIPE,
                                       stdout=subprocess.DEVNULL, text=True)
            process.stdin.write("\n".join(lines))
            process.stdin.close()
            others.append(process)
    for process in others:
        process.wait()


def both_sides(options):
    """A row for every cell, in turn, until the time is up."""
    names = ("fcsa", "original") if options.original else ("fcsa",)
    sides = {name: Contender(os.path.abspath(__file__), "--side", name, "--original", options.original or "") for name in names}
    for side in sides.values():
        side.answer()
    rows, originals, began = [], {}, time.monotonic()
    theirs = {(asked["dtype"], asked["causal"], asked["n"]): asked for asked in asked_cells("original", options.seconds)}
    for asked in asked_cells("fcsa", options.seconds):
        if time.monotonic() - began > options.limit:
            break
        row, same = sides["fcsa"].ask(**asked), (asked["dtype"], asked["causal"], asked["n"])
        if "original" in sides and same not in originals:
            originals[same] = sides["original"].ask(**theirs[same])
        rows.append(merged({**asked, **row}, originals.get(same, {})))
        print(json.dumps(rows[-1]), flush=True)
    for side in sides.values():
        side.end()
    return rows


def merged(row, other):
    result = {key: row[key] for key in ("dtype", "tf32", "causal", "n")}
    for which in ("forward", "backward"):
        ours, theirs = row.get(f"{which}_ms"), other.get(f"{which}_ms")
        result.update({f"{which}_ms": ours, f"{which}_original_ms": theirs, f"{which}_ratio": theirs / ours if ours and theirs else ""})
    errors = [side["error"] for side in (row, other) if "error" in side]
    return {**result, "error": errors} if errors else result


def graph_of_backward_ms(fn, inputs, dout, seconds):
    """The same of the backward pass alone: autograd runs it on the stream of the forward pass, which has to be the captured one,
    and ends with the streams on which leaves were first used: these are new ones."""
    import torch
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        inputs = [x.detach().clone().requires_grad_() for x in inputs]
        out = fn(*inputs)
        torch.autograd.grad(out, inputs, dout, retain_graph=True)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(10):
            torch.autograd.grad(out, inputs, dout, retain_graph=True)
    return on_gpu_ms(graph.replay, seconds) / 10


def bench_ms(program, lengths):
    """{(forward or backward, n): milliseconds of the kernels} by `fcsa bench`."""
    command = [program, "bench", "--device", "cuda", "--op", "fwd,bwd", "--dtype", "bf16", "--head-dim", "64", "--batch", "4",
               "--heads", "8", "--seq", ",".join(map(str, lengths)), "--causal", "yes", "--benchmark_filter=tuned|baseline",
               "--benchmark_min_time=0.05", "--json"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"fcsa bench: {error}\n{getattr(error, 'stderr', '')}", file=sys.stderr)
        return {}
    found = {}
    for row in json.loads(ran.stdout)["benchmarks"]:
        parts = row["name"].split("/")
        key = parts[0], int(next(part for part in parts if part.startswith("nq"))[2:])
        if "real_time" in row and ("tuned" in parts or key not in found):  # without tuned data the baseline is what runs
            found[key] = row["real_time"] * {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}[row["time_unit"]]
    return found


def against_kernels(options):
    """Calls back to back beside what they launch, in a CUDA graph: eager and compiled."""
    import torch
    import torch._functorch.config
    torch._functorch.config.donated_buffer = False  # backward passes are repeated
    attend = import_side("fcsa", None)
    rows, seconds, lengths = [], options.seconds, (2048, 4096, 8192)
    eager = lambda q, k, v: attend(q, k, v, causal=True)  # noqa: E731
    compiled = torch.compile(eager, fullgraph=True)
    for n in lengths:
        q, k, v = inputs = [torch.randn(4, 8, n, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
        dout = torch.randn_like(q)
        for name, fn in (("eager", eager), ("compiled", compiled)):
            row = dict(n=n, how=name)
            with torch.no_grad():
                row["forward_ms"] = on_gpu_ms(lambda: fn(q, k, v), seconds)
                row["forward_launched_ms"] = graph_ms(lambda: fn(q, k, v), seconds)
            out = fn(q, k, v)
            row["backward_ms"] = on_gpu_ms(lambda: torch.autograd.grad(out, inputs, dout, retain_graph=True), seconds)
            row["backward_launched_ms"] = graph_of_backward_ms(fn, inputs, dout, seconds)
            rows.append(row)
            print(json.dumps(row), flush=True)
    kernels = bench_ms(options.program, lengths) if options.program else {}
    for row, which in itertools.product(rows, ("forward", "backward")):
        if bench := kernels.get((which, row["n"])):
            row.update({f"{which}_bench_ms": bench, f"{which}_over_bench": row[f"{which}_ms"] / bench})
    return rows


def best_us(fn, calls, rounds, wait):
    for _ in range(3):
        fn()
    times = []
    for _ in range(rounds):
        wait()
        began = time.perf_counter()
        for _ in range(calls):
            fn()
        times.append((time.perf_counter() - began) / calls * 1e6)
        wait()
    return min(times)


def overhead(device):
    """CPU microseconds of a call on (1, 1, 8, 64), f32 on the CPU and bf16 on a GPU: the least of 20 rounds."""
    import torch
    import torch.nn.functional as F
    attend = import_side("fcsa", None)
    dtype, wait = (torch.bfloat16, torch.cuda.synchronize) if device == "cuda" else (torch.float32, lambda: None)
    torch.set_num_threads(1)
    sides = {"fcsa": lambda q, k, v: attend(q, k, v),
             "normalise_sdpa": lambda q, k, v: F.scaled_dot_product_attention(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, scale=8.0),
             "sdpa": lambda q, k, v: F.scaled_dot_product_attention(q, k, v)}
    rows = []
    for name, fn in sides.items():
        q, k, v = (torch.randn(1, 1, 8, 64, device=device, dtype=dtype) for _ in range(3))
        calls = 200 if device == "cuda" else 1000
        with torch.no_grad():
            forward = best_us(lambda: fn(q, k, v), calls, 20, wait)
        for t in (q, k, v):
            t.requires_grad_()
        with_grad = best_us(lambda: fn(q, k, v), calls, 20, wait)
        out = fn(q, k, v)
        dout = torch.randn_like(out)
        backward = best_us(lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True), calls // 2, 20, wait)
        rows.append(dict(device=device, what=name, forward_us=forward, forward_with_grad_us=with_grad, backward_us=backward))
        print(json.dumps(rows[-1]), flush=True)
    return rows


def training_steps(lengths, rounds):
    """Forward and backward pass of (1, 4, n, 64) on the CPU, the two sides in turn: medians of milliseconds."""
    import torch
    import torch.nn.functional as F
    attend = import_side("fcsa", None)
    sides = {"fcsa": lambda q, k, v, causal: attend(q, k, v, causal=causal),
             "torch": lambda q, k, v, causal: F.scaled_dot_product_attention(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v,
                                                                             is_causal=causal, scale=8.0)}
    rows = []
    for dtype, causal, n in itertools.product(("float32", "bfloat16"), (False, True), lengths):
        q, k, v = inputs = [torch.randn(1, 4, n, 64, dtype=getattr(torch, dtype), requires_grad=True) for _ in range(3)]
        dout = torch.randn_like(q)
        calls = {side: lambda fn=fn: torch.autograd.grad(fn(q, k, v, causal), inputs, dout) for side, fn in sides.items()}
        for got, wanted in zip(*(call() for call in calls.values())):
            apart = ((got - wanted).norm() / wanted.norm()).item()
            if not apart < {"float32": 1e-4, "bfloat16": 3e-2}[dtype]:
                sys.exit(f"{dtype} causal={causal} n={n}: gradients are {apart} apart")
        middle = in_turn(calls, rounds)
        rows.append(dict(dtype=dtype, causal=causal, n=n, fcsa_ms=middle["fcsa", "wall"], torch_ms=middle["torch", "wall"],
                         ratio=middle["torch", "wall"] / middle["fcsa", "wall"], fcsa_cpu_ms=middle["fcsa", "cpu"],
                         torch_cpu_ms=middle["torch", "cpu"], cpu_ratio=middle["torch", "cpu"] / middle["fcsa", "cpu"]))
        print(json.dumps(rows[-1]), flush=True)
    return rows


def in_turn(calls, rounds):
    """{(side, clock): median of milliseconds}."""
    times = {(side, clock): [] for side in calls for clock in ("wall", "cpu")}
    for _ in range(rounds):
        for side, call in calls.items():
            began, used = time.perf_counter(), time.process_time()
            call()
            times[side, "wall"].append((time.perf_counter() - began) * 1e3)
            times[side, "cpu"].append((time.process_time() - used) * 1e3)
    return {key: statistics.median(value) for key, value in times.items()}


def first_calls():
    """Seconds of the first call on a shape whose kernels are in the cache on disk, and of the next."""
    import torch
    attend = import_side("fcsa", None)
    rows = []
    for n in (640, 650, 1300, 1310):
        q, k, v = (torch.randn(4, 8, n, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3))
        torch.cuda.synchronize()
        began = time.perf_counter()
        attend(q, k, v)
        torch.cuda.synchronize()
        rows.append(dict(n=n, first_call_s=time.perf_counter() - began))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out")
    parser.add_argument("--original")
    parser.add_argument("--seconds", type=float, default=0.02)
    parser.add_argument("--lengths", default="1024,2048,4096", help="of the part cpu")
    parser.add_argument("--rounds", type=int, default=7, help="of the part cpu")
    parser.add_argument("--threads", type=int, help="of the part cpu; as many as PyTorch takes")
    parser.add_argument("--part", choices=("warm", "overhead", "first", "calls", "cells", "cpu"), default="cells")
    parser.add_argument("--side", choices=("fcsa", "original"), help=argparse.SUPPRESS)
    parser.add_argument("--program", help="of the part calls: fcsa, to compare with `fcsa bench`")
    parser.add_argument("--limit", type=float, default=1e9, help="of the part cells: no cell is begun after so many seconds")
    options = parser.parse_args()
    if options.side:
        serve(lambda: answers_of(options.side, options.original))
        return
    if options.part == "warm":
        warm(options)
        return
    import torch
    if options.threads:
        torch.set_num_threads(options.threads)
    gpu, facts = torch.cuda.is_available(), provenance()
    parts = {"overhead": lambda: overhead("cpu") + (overhead("cuda") if gpu else []), "first": first_calls,
             "cpu": lambda: training_steps([int(n) for n in options.lengths.split(",")], options.rounds),
             "calls": lambda: against_kernels(options), "cells": lambda: both_sides(options)}
    result = {"provenance": facts, "rows": parts[options.part]()}
    if options.out:
        with open(options.out, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
