"""fcsa.h by ctypes: the library is found, loaded and opened, its structs and its status codes."""
import ctypes
import itertools
import logging
import os
import struct
import threading

from . import hub

LOG = logging.getLogger("flash_cosine_sim_attention")

FORWARD, BACKWARD = 1, 2
CPU, CUDA = 1, 2
F32, BF16, F16 = 1, 2, 3
NO_BIAS, BIAS_F32, BIAS_DTYPE = 0, 1, 2
DQ, DK, DV = 1, 2, 4

INVALID_ARGUMENT, UNSUPPORTED, NO_COMPILER, OUT_OF_MEMORY = 1, 2, 4, 8


class Strides(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "head", "row")]


class Problem(ctypes.Structure):
    """fcsa_problem. What isn't named when it is made keeps the value of FCSA_PROBLEM_INIT."""
    _fields_ = (
        [("size", ctypes.c_size_t)]
        + [(name, ctypes.c_int32) for name in
           ("op", "device", "dtype", "batch", "heads", "kv_heads", "nq", "nk", "head_dim", "layout", "causal", "key_mask",
            "lse", "bias", "bias_batch", "bias_heads", "head_scale", "l2norm_qk", "groups", "allow_tf32", "key_mask_batch")]
        + [(name, ctypes.c_float) for name in ("scale", "logit_bound", "eps")]
        + [(name, Strides) for name in ("q_strides", "k_strides", "v_strides", "o_strides", "bias_strides")]
        + [("key_mask_stride", ctypes.c_int64)]
        + [(name, ctypes.c_int32) for name in ("bias_gradient", "scale_gradient", "deterministic", "reserved")]
        + [(name, Strides) for name in ("dout_strides", "dq_strides", "dk_strides", "dv_strides", "dbias_strides")]
        + [(name, ctypes.c_int32) for name in ("key_lengths", "omitted_gradients")]
    )

    def __init__(self, **fields):
        super().__init__(size=ctypes.sizeof(type(self)), op=FORWARD, batch=1, l2norm_qk=1, groups=1, scale=8.0, eps=1e-12)
        for name, value in fields.items():
            setattr(self, name, value)


class Options(ctypes.Structure):
    """fcsa_options."""
    LOG_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)
    _fields_ = [("size", ctypes.c_size_t), ("database", ctypes.c_char_p), ("cache_directory", ctypes.c_char_p),
                ("log", LOG_FUNCTION), ("log_data", ctypes.c_void_p)]


# fcsa_tensors, packed into bytes: a third of the time of a ctypes structure, and nothing that threads could share. In
# order: size, q, k, v, o, lse, key_mask, bias, head_scale, workspace, workspace_bytes, for the backward pass dout, dq, dk,
# dv, dbias, dscale, and key_lengths.
TENSORS_BYTES = 18 * 8
pack_forward = struct.Struct("=11Q48xQ").pack
pack_backward = struct.Struct("=18Q").pack


def _library_path():
    """$FCSA_LIBRARY, else what the package was installed with; None: a kernel of the Hub that finds neither."""
    chosen = os.environ.get("FCSA_LIBRARY")
    if chosen:
        return chosen
    if hub.IS_KERNEL:
        return hub.installed_library()
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
    path = os.path.join(folder, "libfcsa.so.0")
    if not os.path.exists(path):
        raise ImportError(f"{path} is missing: install the package with `pip install .` in fcsa's source tree, or set "
                          "FCSA_LIBRARY to a libfcsa.so that was built there")
    return path


def _load():
    path = _library_path()
    if path is None:
        return hub.NoLibrary("this kernel of the Hub finds no libfcsa: install fcsa beside it, or set FCSA_LIBRARY", UNSUPPORTED)
    library = ctypes.CDLL(path)
    pointer, status = ctypes.c_void_p, ctypes.c_int
    for name, result, *arguments in (
            ("version", ctypes.c_char_p),
            ("last_error", ctypes.c_char_p),
            ("open", status, ctypes.POINTER(Options), ctypes.POINTER(pointer)),
            ("set_num_threads", status, pointer, ctypes.c_int32),
            ("plan_create", status, pointer, ctypes.POINTER(Problem), ctypes.POINTER(pointer)),
            ("plan_destroy", None, pointer),
            ("workspace_bytes", ctypes.c_size_t, pointer),
            ("describe", ctypes.c_char_p, pointer),
            ("prepare", status, pointer),
            ("forward", status, pointer, ctypes.c_char_p, pointer),
            ("backward", status, pointer, ctypes.c_char_p, pointer)):
        try:
            function = getattr(library, f"fcsa_{name}")
        except AttributeError:
            raise ImportError(f"{path} is no libfcsa.so of this version: it has no fcsa_{name}. Build it again") from None
        function.restype, function.argtypes = result, arguments
    return library


LIBRARY = _load()
VERSION = LIBRARY.fcsa_version().decode()


def error_text():
    """Of the call in this thread that has just failed."""
    return LIBRARY.fcsa_last_error().decode(errors="replace")


def raise_for(status):
    """The exception of a status that isn't FCSA_OK."""
    text = error_text()
    if status == INVALID_ARGUMENT:
        raise ValueError(text)
    if status == UNSUPPORTED:
        raise NotImplementedError(text)
    if status == OUT_OF_MEMORY:
        raise MemoryError(text)
    raise RuntimeError(f"libfcsa: {text}")


@Options.LOG_FUNCTION
def _log(_, line):
    LOG.info("%s", line.decode(errors="replace"))


_opening = threading.Lock()
_opened = []


def opened():
    """The fcsa_library of this process, opened when it is first asked for. It stays open."""
    if not _opened:
        with _opening:
            if not _opened:
                handle = ctypes.c_void_p()
                options = Options(ctypes.sizeof(Options), None, None, _log, None)
                status = LIBRARY.fcsa_open(ctypes.byref(options), ctypes.byref(handle))
                if status:
                    raise_for(status)
                _opened.append(handle.value)
    return _opened[0]


class Plan:
    """fcsa_plan of a problem, prepared: its kernels are compiled and loaded. `status` is FCSA_OK, or that of what can't be
    served here, with the reason in `reason`."""
    __slots__ = ("problem", "handle", "workspace_bytes", "status", "reason", "keep")

    def __init__(self, problem):
        handle = ctypes.c_void_p()
        self.problem, self.handle, self.workspace_bytes, self.reason = problem, None, 0, ""
        # A CUDA graph may hold launches of it for as long as the process lives.
        self.keep = problem.device == CUDA
        self.status = LIBRARY.fcsa_plan_create(opened(), ctypes.byref(problem), ctypes.byref(handle))
        if not self.status:
            self.handle = handle.value
            self.status = LIBRARY.fcsa_prepare(self.handle)
        if self.status:
            self.reason = error_text()
            if self.status not in (UNSUPPORTED, NO_COMPILER):
                raise_for(self.status)
            return
        self.workspace_bytes = LIBRARY.fcsa_workspace_bytes(self.handle)

    def describe(self):
        return LIBRARY.fcsa_describe(self.handle).decode()

    def __del__(self, destroy=LIBRARY.fcsa_plan_destroy):
        if self.handle is not None and not self.keep:
            destroy(self.handle)


class BoundedCache(dict):
    """A dict that forgets what was put in first when there is too much in it."""
    MOST = 1024

    def add(self, key, value):
        while len(self) >= self.MOST:
            for oldest in list(itertools.islice(iter(self), 1)):
                self.pop(oldest, None)
        self[key] = value
        return value
