"""Times a function on the GPU, or on the clock where there is none."""
import functools
import time

import torch


class _Clock:
    """Milliseconds between two moments on the device that calls run on."""

    def __init__(self):
        self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if torch.cuda.is_available() else None

    def record(self, which):
        if self.events:
            self.events[which].record()
        elif which == 0:
            self.began = time.perf_counter()
        else:
            self.ended = time.perf_counter()

    def elapsed_ms(self):
        if not self.events:
            return (self.ended - self.began) * 1e3
        torch.cuda.synchronize()
        return self.events[0].elapsed_time(self.events[1])


def _timed(fn, args, kwargs, forwards, backwards):
    clock = _Clock()
    if forwards:
        clock.record(0)
    loss = fn(*args, **kwargs)
    if backwards:
        loss = loss.sum()
        if not forwards:
            clock.record(0)
        loss.backward()
    clock.record(1)
    return clock.elapsed_ms()


def benchmark(fn, *, num_times=10, warmup_iters=10, forwards=True, backwards=False):
    """A function with the arguments of fn that returns the mean of its times in milliseconds: of the call, of the backward
    pass of the sum of what it returns, or of both."""
    if not (forwards or backwards):
        raise ValueError("forwards and backwards are False: there is nothing to time")

    @functools.wraps(fn)
    def timed(*args, **kwargs):
        for _ in range(warmup_iters):
            _timed(fn, args, kwargs, forwards, backwards)
        return sum(_timed(fn, args, kwargs, forwards, backwards) for _ in range(num_times)) / num_times

    return timed
