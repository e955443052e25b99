"""Times and memory of a call, on the GPU by events and PyTorch's allocator, on the CPU by the clock and PyTorch's profiler.
Imports nothing of this package (problems.py says why)."""
import functools
import statistics
import time
from typing import NamedTuple

import torch

_FLUSHED_BYTES = 256 << 20  # more than any GPU's second-level cache


class Conditions(NamedTuple):
    """How everything is measured."""
    device: str  # cpu, cuda
    cache: str  # before every call of a GPU: cold, its second-level cache is flushed; warm, it is as the last call left it
    budget_s: float  # for each measurement


@functools.lru_cache(None)
def device_name(device):
    """As `fcsa devices` has it."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    with open("/proc/cpuinfo") as lines:
        fields = dict(reversed([[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]))
    return next((fields[key] for key in ("model name", "Processor", "cpu model", "CPU part") if fields.get(key)), "unknown CPU")


class Sample(NamedTuple):
    median_ms: float
    low_ms: float  # a quarter of the samples are below
    high_ms: float
    samples: int


def _quartiles(times):
    times = sorted(times)
    return Sample(statistics.median(times), times[len(times) // 4], times[-1 - len(times) // 4], len(times))


def _time_on_gpu(fn, budget_s, cold):
    flushed = torch.empty(_FLUSHED_BYTES if cold else 0, dtype=torch.uint8, device="cuda")
    times, began = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < budget_s:
        events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(5)]
        for start, end in events:
            if cold:
                flushed.zero_()
            start.record()
            fn()
            end.record()
        torch.cuda.synchronize()
        times += [start.elapsed_time(end) for start, end in events]
    return times


def _time_on_cpu(fn, budget_s):
    times, began = [], time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - began < budget_s and len(times) < 10000):
        start = time.perf_counter()
        fn()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def sample(fn, conditions):
    """Time of fn(), after two calls that warm up."""
    for _ in range(2):
        fn()
    budget_s = conditions.budget_s
    return _quartiles(_time_on_gpu(fn, budget_s, conditions.cache == "cold") if conditions.device == "cuda" else _time_on_cpu(fn, budget_s))


def _peak_of_allocations(events):
    """The largest sum of what was allocated and not freed, in the order in which it happened."""
    from torch._C._profiler import _EventType
    allocations, pending = [], list(events)
    while pending:
        event = pending.pop()
        pending += event.children
        if event.tag == _EventType.Allocation:
            allocations.append((event.start_time_ns, event.extra_fields.alloc_size))
    total = peak = 0
    for _, size in sorted(allocations, key=lambda a: a[0]):
        total += size
        peak = max(peak, total)
    return peak


def peak_bytes(fn, device):
    """The most that fn() has allocated at a time beyond what was there before: outputs, what is kept for the gradients,
    workspaces."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = fn()
        torch.cuda.synchronize()
        del result
        return torch.cuda.max_memory_allocated() - before
    with torch.autograd.profiler.profile(profile_memory=True, use_kineto=True) as profile:
        result = fn()
    del result
    return _peak_of_allocations(profile.kineto_results.experimental_event_tree())


def passes(forward, inputs, dout, which):
    """What is timed of a peer: `forward` gives the output from inputs that require gradients."""
    if which == "forward":
        def run():
            with torch.no_grad():
                return forward()
        return run
    if which == "both":
        return lambda: torch.autograd.grad(forward(), inputs, dout)
    out = forward()
    return lambda: torch.autograd.grad(out, inputs, dout, retain_graph=True)
