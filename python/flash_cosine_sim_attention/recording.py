"""Which problems the package runs, as a workload file."""
import collections
import contextlib
import ctypes
import datetime
import json
import os
import socket
import threading
import warnings

from . import native

OPEN = []  # the recordings of this process: what runs a kernel looks whether there are any

_DTYPES = {native.F32: "f32", native.BF16: "bf16", native.F16: "f16"}
_BIASES = {native.NO_BIAS: "none", native.BIAS_F32: "f32", native.BIAS_DTYPE: "same"}
_HEADER = {"format": "fcsa workload", "version": 1}


@contextlib.contextmanager
def record(path):
    """Writes the problems that the package runs inside the block, in whichever thread, and how often, to a workload file:

        with record("shapes.jsonl"):
            model(x)

    for `fcsa tune --problems shapes.jsonl`. The file is written at the end of the block, also when an exception leaves it, and
    replaces what was there. Calls that no kernel runs (float64, what neither a compiler nor a built-in kernel serves) are left
    out, and a warning says how many. Replays of CUDA graphs aren't seen."""
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    if not os.access(folder, os.W_OK | os.X_OK) or os.path.isdir(path):
        raise OSError(f"record: {path} can't be written: it must be a file in a folder that is there and may be written to")
    recording = _Recording()
    OPEN.append(recording)
    try:
        yield
    finally:
        OPEN.remove(recording)
        if recording.pid == os.getpid():  # what a fork() took along is its parent's
            _replace(path, recording.text())
            if recording.missing():
                warnings.warn(f"record: {path} has {recording.missing()}", RuntimeWarning, stacklevel=3)


def count(plan):
    """A call of a plan whose kernel runs."""
    fields = tuple(_fields(plan.problem).items())
    for recording in tuple(OPEN):
        recording.add(recording.calls, fields)


def leave_out(why):
    """A call that no kernel runs."""
    for recording in tuple(OPEN):
        recording.add(recording.left_out, why)


class _Recording:
    def __init__(self):
        started = datetime.datetime.now(datetime.timezone.utc).isoformat()
        self.pid = os.getpid()
        self.process = {"host": socket.gethostname(), "pid": self.pid, "started": started}
        self.lock = threading.Lock()
        self.calls, self.left_out = collections.Counter(), collections.Counter()

    def add(self, counter, what):
        with self.lock:
            counter[what] += 1

    def text(self):
        # Of recorded lines, those of several files may be put together: their counts are added up.
        with self.lock:  # a call that began inside the block may end now
            lines = [_HEADER, *({"process": self.process, **dict(fields), "count": calls} for fields, calls in self.calls.items())]
        return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)

    def missing(self):
        """What the file doesn't have, in words; empty: nothing."""
        if not self.calls and not self.left_out:
            return "no problem: the package ran nothing inside the block"
        return "; ".join(f"not the {calls} {'call' if calls == 1 else 'calls'} that no kernel ran: {why}"
                         for why, calls in self.left_out.items())


def _fields(problem):
    """Of fcsa_problem, as FCSA_RECORD has them: without what says nothing."""
    p, backward, biased = problem, problem.op == native.BACKWARD, problem.bias != native.NO_BIAS
    by_rows = p.heads > 1 and p.nq > 1 and p.q_strides.head < p.q_strides.row
    return {
        "device": "cpu" if p.device == native.CPU else "cuda", "op": "backward" if backward else "forward",
        "dtype": _DTYPES[p.dtype], "head_dim": p.head_dim, "batch": p.batch, "heads": p.heads, "kv_heads": p.kv_heads,
        "nq": p.nq, "nk": p.nk, "layout": "bnhd" if by_rows else "bhnd",
        "bias_batch": p.bias_batch if biased and p.bias_batch != p.batch else 0,
        "bias_heads": p.bias_heads if biased and p.bias_heads != p.heads else 0, "causal": bool(p.causal),
        "key_mask": bool(p.key_mask or p.key_lengths), "l2norm_qk": bool(p.l2norm_qk), "groups": p.groups, "bias": _BIASES[p.bias],
        "head_scale": bool(p.head_scale), "bias_gradient": bool(p.bias_gradient), "scale_gradient": bool(p.scale_gradient),
        "deterministic": bool(p.deterministic), "allow_tf32": bool(p.allow_tf32 and p.dtype == native.F32),
        "logit_bound": _float(p.logit_bound) if p.logit_bound > 0 else None, "scale": 8.0 if p.head_scale else _float(p.scale)}


def _float(value):
    """A float of 32 bits with the fewest digits that tell it from others."""
    texts = (f"{value:.{digits}g}" for digits in range(1, 10))
    return next(float(text) for text in texts if ctypes.c_float(float(text)).value == value)


def _replace(path, text):
    """All of it or nothing is ever there."""
    unfinished = f"{path}.{os.getpid()}-{threading.get_ident()}"
    try:
        with open(unfinished, "w") as out:
            out.write(text)
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise
