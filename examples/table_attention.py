"""Attention on a GPU with a dispatch table in JSON, from Python with nothing but NumPy and the CUDA driver:

    fcsa emit --db tuning.db --out include --format json --cubin
    python3 table_attention.py include/fcsa_tuned_sm_90.json

Launches the forward pass of every tuned shape with normalised q and k and no mask, bias or scale per head, compares
some rows with double precision and prints the error. Exits with 1 when a result is wrong. The format is described in docs/dispatch_table.md.
"""
import base64
import ctypes
import json
import struct
import sys

import numpy as np

cuda = ctypes.CDLL("libcuda.so.1")
SHARED_BYTES, MAX_DYNAMIC_SHARED_BYTES, NON_PORTABLE_CLUSTER = 1, 8, 14  # CUfunction_attribute
MAX_SHARED_OPTIN, MULTIPROCESSORS = 97, 16  # CUdevice_attribute
FORMATS = {"pointer": "Q", "int64": "q", "int64[3]": "3q", "int32": "i", "float32": "f"}


def check(call, *arguments):
    error = getattr(cuda, call)(*arguments)
    if error:
        sys.exit(f"{call}: CUDA error {error}")


def attribute(which, device=0):
    value = ctypes.c_int()
    check("cuDeviceGetAttribute", ctypes.byref(value), which, device)
    return value.value


def open_device():
    context = ctypes.c_void_p()
    check("cuInit", 0)
    check("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
    check("cuCtxSetCurrent", context)


def device_copy(array):
    pointer = ctypes.c_uint64()
    check("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(max(array.nbytes, 256)))
    check("cuMemcpyHtoD_v2", pointer, array.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(array.nbytes))
    return pointer.value


def host_copy(pointer, array):
    check("cuMemcpyDtoH_v2", array.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint64(pointer), ctypes.c_size_t(array.nbytes))
    return array


def to_storage(values, dtype):
    """Values in steps that every type holds exactly, as that type is stored."""
    if dtype == "bf16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(np.float16 if dtype == "f16" else np.float32)


def from_storage(stored):
    return (stored.astype(np.uint32) << 16).view(np.float32) if stored.dtype == np.uint16 else stored.astype(np.float32)


class Kernel:
    """A compiled configuration, and its launches."""

    def __init__(self, description):
        self.module = ctypes.c_void_p()
        check("cuModuleLoadData", ctypes.byref(self.module), base64.b64decode(description["cubin"]))
        self.symbols = description["symbols"]

    def function(self, entry):
        function, static = ctypes.c_void_p(), ctypes.c_int()
        check("cuModuleGetFunction", ctypes.byref(function), self.module, self.symbols[entry].encode())
        check("cuFuncGetAttribute", ctypes.byref(static), SHARED_BYTES, function)
        check("cuFuncSetAttribute", function, MAX_DYNAMIC_SHARED_BYTES, attribute(MAX_SHARED_OPTIN) - static.value)
        if attribute(75) >= 9:  # clusters of more than 8 blocks, where a kernel has them
            check("cuFuncSetAttribute", function, NON_PORTABLE_CLUSTER, 1)
        return function

    def launch(self, launches, arguments, maps):
        arguments, maps = ctypes.create_string_buffer(arguments), maps or ctypes.create_string_buffer(1)
        parameters = (ctypes.c_void_p * 2)(ctypes.addressof(arguments), ctypes.addressof(maps))
        for step in launches:
            x, y, z = step["grid"]
            if step["blocks_per_multiprocessor"]:
                x = min(x, step["blocks_per_multiprocessor"] * attribute(MULTIPROCESSORS))
            launch = [self.function(step["entry"]), x, y, z, step["threads"], 1, 1, step["smem_bytes"], None, parameters]
            if step["cooperative"]:  # blocks wait for each other: all at the same time, or none
                check("cuLaunchCooperativeKernel", *launch)
            else:
                check("cuLaunchKernel", *launch, None)
        check("cuCtxSynchronize")


def encoded_maps(maps, pointers):
    memory = ctypes.create_string_buffer(64 + 4 * 128)  # CUtensorMap: 128 bytes, aligned to 64; kernels have four
    start = -ctypes.addressof(memory) % 64
    encoded = (ctypes.c_char * (4 * 128)).from_buffer(memory, start)
    for i, entry in enumerate(maps):
        rank, swizzle = len(entry["size"]), {32: 1, 64: 2, 128: 3}[entry["swizzle_bytes"]]
        check("cuTensorMapEncodeTiled", ctypes.c_void_p(ctypes.addressof(encoded) + 128 * i), 1, rank,
              ctypes.c_void_p(pointers[entry["tensor"]] + entry["first_byte"]), (ctypes.c_uint64 * rank)(*entry["size"]),
              (ctypes.c_uint64 * (rank - 1))(*entry["stride_bytes"]), (ctypes.c_uint32 * rank)(*entry["box"]),
              (ctypes.c_uint32 * rank)(*[1] * rank), 0, swizzle, 3, 0)
    return encoded


def packed_arguments(layout, values):
    packed = bytearray(layout["bytes"])
    for field in layout["fields"]:
        value = values.get(field["name"], 0)
        value = value if isinstance(value, tuple) else (value,) * (3 if field["type"] == "int64[3]" else 1)
        struct.pack_into("<" + FORMATS[field["type"]], packed, field["offset"], *value)
    return bytes(packed)


def dense_strides(layout, heads, rows, channels):
    return (heads * rows * channels,) + ((rows * channels, channels) if layout == "bhnd" else (channels, heads * channels))


def reference(q, k, v, traits, scale, row):
    def unit(x):
        parts = x.reshape(*x.shape[:-1], traits["groups"], -1)
        return (parts / np.linalg.norm(parts, axis=-1, keepdims=True)).reshape(x.shape)

    keys = k.shape[0] - q.shape[0] + row + 1 if traits["causal"] else k.shape[0]
    logits = scale * unit(k[:keys].astype(np.float64)) @ unit(q[row].astype(np.float64))
    weights = np.exp(logits - logits.max())
    return weights @ v[:keys].astype(np.float64) / weights.sum()


def run(table, traits, shape):
    d, dtype, layout = traits["head_dim"], traits["dtype"], shape["layout"]
    b, h, g, nq, nk = (shape[name] for name in ("batch", "heads", "kv_heads", "nq", "nk"))
    random = np.random.default_rng(1)
    sizes = {"q": (b, h, nq, d), "k": (b, g, nk, d), "v": (b, g, nk, d)}
    axes = (0, 1, 2, 3) if layout == "bhnd" else (0, 2, 1, 3)
    host = {name: to_storage(np.clip(np.round(random.normal(size=size) * 16) / 16, -4, 4), dtype).transpose(axes).copy()
            for name, size in sizes.items()}
    host["o"] = np.zeros_like(host["q"])
    values = {name: device_copy(array) for name, array in host.items()}
    values["lse"] = device_copy(np.zeros(b * h * nq, np.float32))
    values["workspace"] = device_copy(np.zeros(max(1, shape["workspace_bytes"]), np.uint8))
    maps = encoded_maps(shape["tensor_maps"], values)
    for name, heads, rows in (("q", h, nq), ("k", g, nk), ("v", g, nk), ("o", h, nq)):
        values[name + "_strides"] = dense_strides(layout, heads, rows, d)
    values.update(batch=b, heads=h, kv_heads=g, nq=nq, nk=nk, bias_batch=1, bias_heads=1, eps=1e-12,
                  scale=shape["scale"], bound=shape["bound"])
    arguments = packed_arguments(table["arguments"]["forward"], values)
    Kernel(table["kernels"][shape["kernel"]]).launch(shape["launches"], arguments, maps)
    o = from_storage(host_copy(values["o"], host["o"])).transpose(axes)
    q, k, v = (from_storage(host[name]).transpose(axes) for name in "qkv")
    for pointer in (values[name] for name in ("q", "k", "v", "o", "lse", "workspace")):
        check("cuMemFree_v2", ctypes.c_uint64(pointer))
    worst = 0.0
    for batch, head, row in ((0, 0, 0), (b - 1, h - 1, nq - 1), (0, h // 2, nq // 2)):
        kv = head // (h // g)
        expected = reference(q[batch, head], k[batch, kv], v[batch, kv], traits, shape["scale"], row)
        worst = max(worst, np.linalg.norm(o[batch, head, row] - expected) / np.linalg.norm(expected))
    return worst


def main():
    with open(sys.argv[1]) as file:
        table = json.load(file)
    open_device()
    wrong = ran = 0
    for entry in table["classes"]:
        traits = entry["traits"]
        if traits["key_mask"] or traits["bias"] != "none" or traits["head_scale"]:
            continue
        if entry["op"] != "forward" or not traits["l2norm_qk"]:
            continue
        for shape in entry["shapes"]:
            error = run(table, traits, shape)
            right = error < {"f32": 5e-5, "bf16": 8e-3, "f16": 1.5e-3}[traits["dtype"]]
            ran, wrong = ran + 1, wrong + (not right)
            print(f"{shape['problem']}  error {error:.1e}  {'ok' if right else 'WRONG'}")
    print(f"{ran} ran, {wrong} wrong")
    sys.exit(1 if wrong or not ran else 0)


main()
