#!/usr/bin/env python3
"""Forward pass of a tuned header against other attention libraries, side by side in one process.

Builds the header that `fcsa emit` wrote into a shared library, and on every shape times, interleaved round by round:
  fcsa    the whole operation: q and k are normalised inside
  raw     fcsa on q and k that were normalised beforehand (l2norm_qk off, logit_bound stated): attention only
  peers   attention only, on q and k that were normalised beforehand; --peers names them:
            efficient, fa2, cudnn   torch's scaled_dot_product_attention with that backend (TF32 off)
            torch                   the same, backend of torch's choice (CPU: all threads)
            fa3                     flash_attn_interface.flash_attn_func (FlashAttention-3)
            fa4                     flash_attn.cute.flash_attn_func, or fa4_aot.flash_attn_func (the same kernels compiled
                                    ahead of time) (FlashAttention-4)
  norm    normalising q and k as one torch.compile kernel, with --norm
Before timing, every output is compared with fp64 on sampled rows of every head; a peer that is further off than 1e-2
(2e-2 below 64 channels, of which fewer average errors out; 1e-5 in f32) is left out of the row. Prints a table and
writes JSON with the provenance. FLOPs: 4 * batch * heads * n * n * head_dim, half of it when causal. `attention` is the
best peer's time over raw's; `normalising` is fcsa over raw; `whole` is (normalising + best peer) over fcsa, where
normalising is the faster of norm and four tensors' traffic at 3.0 TB/s.

Needs torch; nvcc for a .cuh, g++ for a .h (of `fcsa emit --cubin`, or of a CPU). Examples:
  python3 benchmarks/forward_vs_torch.py --header include/fcsa_tuned_sm_90.cuh --seq 1024,2048,4096,8192
  python3 benchmarks/forward_vs_torch.py --header include/fcsa_tuned_sm_90.cuh --dtype bf16 --head-dim 128 \
      --peers cudnn,fa3,fa4 --norm
  python3 benchmarks/forward_vs_torch.py --header include/fcsa_tuned_cpu.h --tokens 8192 --hidden 1024
"""
import argparse
import ctypes
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

SHIM = """
#include "{header}"
#include <cstring>
namespace tuned = {namespace};
static tuned::Attention attention(void** tensors, const int* sizes, float scale) {{
  tuned::Attention a;
  a.q = tensors[0]; a.k = tensors[1]; a.v = tensors[2]; a.o = tensors[3]; a.lse = static_cast<float*>(tensors[4]);
  a.batch = sizes[0]; a.heads = sizes[1]; a.kv_heads = sizes[2]; a.nq = sizes[3]; a.nk = sizes[4];
  a.head_dim = sizes[5]; a.causal = sizes[6] != 0; a.dtype = static_cast<tuned::DType>(sizes[7]);
  a.scale = scale; a.l2norm_qk = sizes[8] == 0; a.logit_bound = sizes[8] == 0 ? 0.0f : scale;
  return a;
}}
extern "C" size_t shim_workspace(void** t, const int* sizes, float scale) {{
  return tuned::workspace_bytes(attention(t, sizes, scale));
}}
extern "C" int shim_forward(void** t, const int* sizes, float scale, void* workspace, void* stream, char* text) {{
  const auto a = attention(t, sizes, scale);
  (void)stream;
  const auto status = {call};
  std::strncpy(text, status.ok() ? tuned::describe(a).configuration : status.text, 255);
  return static_cast<int>(status.code);
}}
extern "C" int shim_launch(void** t, const int* sizes, float scale, void* workspace, void* stream) {{
  const auto a = attention(t, sizes, scale);
  (void)stream;
  return static_cast<int>(({call}).code);
}}
"""

DTYPES = {"f32": (0, torch.float32), "bf16": (1, torch.bfloat16), "f16": (2, torch.float16)}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--header", required=True)
    parser.add_argument("--dtype", default="f32", choices=DTYPES)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--seq", default="1024,2048,4096,8192")
    parser.add_argument("--tokens", type=int, default=16384, help="batch * n")
    parser.add_argument("--hidden", type=int, default=2048, help="heads * head_dim")
    parser.add_argument("--rounds", type=int, default=25, help="interleaved samples of each contender")
    parser.add_argument("--scale", type=float, default=8.0)
    parser.add_argument("--causal", default="both", choices=["yes", "no", "both"])
    parser.add_argument("--peers", help="comma-separated [f32: efficient; bf16 and f16: fa2; CPU: torch]")
    parser.add_argument("--norm", action="store_true", help="time torch.compile's normalisation of q and k")
    parser.add_argument("--out", help="JSON file to write")
    return parser.parse_args()


def build(header, cuda):
    """Compiles the shim around the header and loads it."""
    name = os.path.basename(header)
    arch = name.removeprefix("fcsa_tuned_").rsplit(".", 1)[0]
    with_nvcc = name.endswith(".cuh")
    call = "tuned::forward(a, workspace, static_cast<CUstream_st*>(stream))" if cuda else "tuned::forward(a, workspace)"
    folder = tempfile.mkdtemp(prefix="fcsa_bench_")
    source = os.path.join(folder, "shim.cu" if with_nvcc else "shim.cpp")
    library = os.path.join(folder, "shim.so")
    with open(source, "w") as file:
        file.write(SHIM.format(header=os.path.abspath(header), namespace=f"fcsa_tuned::{arch}", call=call))
    if with_nvcc:
        number = arch.removeprefix("sm_") + ("a" if arch in ("sm_90", "sm_100", "sm_120") else "")
        command = ["nvcc", "-std=c++20", "-O2", "-shared", "-Xcompiler", "-fPIC",
                   "-gencode", f"arch=compute_{number},code=sm_{number}", source, "-o", library]
    else:
        command = ["g++", "-std=c++20", "-O2", "-shared", "-fPIC", "-pthread", source, "-o", library]
        if cuda:
            command.insert(1, f"-I{os.environ.get('CUDA_HOME', '/usr/local/cuda')}/include")
            ctypes.CDLL("libcuda.so.1", mode=ctypes.RTLD_GLOBAL)  # the driver, which the shim calls
    subprocess.run(command, check=True)
    shim = ctypes.CDLL(library)
    shim.shim_workspace.restype = ctypes.c_size_t
    for function in (shim.shim_workspace, shim.shim_forward, shim.shim_launch):
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_float] + (
            [] if function is shim.shim_workspace else [ctypes.c_void_p, ctypes.c_void_p])
    shim.shim_forward.argtypes = shim.shim_forward.argtypes + [ctypes.c_char_p]
    return shim, " ".join(command[:-3])


class Ours:
    """One problem, ready to launch."""

    def __init__(self, shim, q, k, v, causal, dtype, scale, raw=False):
        self.shim, self.scale = shim, scale
        self.o = torch.full_like(q, float("nan"))
        self.lse = torch.full(q.shape[:3], float("nan"), device=q.device, dtype=torch.float32)
        self.tensors = (ctypes.c_void_p * 5)(*(t.data_ptr() for t in (q, k, v, self.o, self.lse)))
        b, h, n, d = q.shape
        self.sizes = (ctypes.c_int * 9)(b, h, k.shape[1], n, k.shape[2], d, int(causal), dtype, int(raw))
        need = shim.shim_workspace(self.tensors, self.sizes, scale)
        self.workspace = torch.empty(need + 256, dtype=torch.uint8, device=q.device)
        self.pointer = -(-self.workspace.data_ptr() // 256) * 256
        self.stream = torch.cuda.current_stream().cuda_stream if q.is_cuda else None

    def configuration(self):
        text = ctypes.create_string_buffer(256)
        code = self.shim.shim_forward(self.tensors, self.sizes, self.scale, self.pointer, self.stream, text)
        if code != 0:
            sys.exit(f"forward refused: {text.value.decode()}")
        return text.value.decode()

    def __call__(self):
        if self.shim.shim_launch(self.tensors, self.sizes, self.scale, self.pointer, self.stream) != 0:
            sys.exit("forward failed")


def worst_row_error(q, k, v, o, causal, scale, generator):
    """max over sampled rows of ||o - reference|| / max(||reference||, rms row norm), reference in fp64."""
    n = q.shape[2]
    rows = torch.unique(torch.cat([torch.tensor([0, n - 1]), torch.randint(0, n, (14,), generator=generator)]))
    rows = rows.to(q.device)
    worst = 0.0
    for b in range(q.shape[0]):
        s = F.normalize(q[b][:, rows].double(), dim=-1) @ F.normalize(k[b].double(), dim=-1).mT * scale
        if causal:
            s = s.masked_fill(torch.arange(n, device=q.device)[None, None, :] > rows[None, :, None], float("-inf"))
        reference = s.softmax(-1) @ v[b].double()
        difference = (o[b][:, rows].double() - reference).norm(dim=-1)
        size = reference.norm(dim=-1)
        error = difference / torch.maximum(size, size.square().mean().sqrt())
        worst = max(worst, error.nan_to_num(float("inf")).max().item())
    return worst


def timer(cuda):
    if not cuda:
        def time_cpu(function):
            time.sleep(0.02)  # the other contender's threads spin for a while after their work
            begin = time.perf_counter()
            function()
            return (time.perf_counter() - begin) * 1e3
        return time_cpu

    def time_cuda(function):
        torch.cuda._sleep(1_000_000)  # what the host does for a launch happens while the GPU is busy, and isn't timed
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        function()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)
    return time_cuda


def median(values):
    return sorted(values)[len(values) // 2]


def race(contenders, rounds, time_ms):
    """Interleaved samples of every contender, in ms."""
    for _ in range(3):
        for function in contenders.values():
            function()
    samples = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, function in contenders.items():
            samples[name].append(time_ms(function))
    return samples


def provenance(cuda, build_command):
    def output(command):
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""
    facts = {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
             "command": " ".join(["python3", "benchmarks/" + os.path.basename(sys.argv[0])] + sys.argv[1:]), "build": build_command, "torch": torch.__version__,
             "python": platform.python_version()}
    if cuda:
        facts["device"] = torch.cuda.get_device_name()
        facts["cudnn"] = torch.backends.cudnn.version()
        facts["driver"] = output(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
        facts["toolkit"] = output(["nvcc", "--version"]).splitlines()[-1:]
        facts["tf32"] = torch.backends.cuda.matmul.allow_tf32
    else:
        model = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        facts["device"] = model[0] if model else platform.machine()
        facts["threads"] = torch.get_num_threads()
        facts["compiler"] = output(["g++", "--version"]).splitlines()[:1]
    return facts


SDPA_BACKENDS = {"efficient": SDPBackend.EFFICIENT_ATTENTION, "fa2": SDPBackend.FLASH_ATTENTION,
                 "cudnn": SDPBackend.CUDNN_ATTENTION, "torch": None}


def rows_inside(t):
    return t.transpose(1, 2).contiguous()


def peer(name, q, k, v, causal, scale):
    """A function that runs the peer and returns its output as [batch, heads, n, d]."""
    if name in SDPA_BACKENDS:
        backend = SDPA_BACKENDS[name]

        def sdpa():
            if backend is None:
                return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
            with sdpa_kernel(backend):
                return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
        return sdpa
    if name == "fa3":
        from flash_attn_interface import flash_attn_func
    elif name == "fa4":
        try:
            from fa4_aot import flash_attn_func
        except ImportError:
            from flash_attn.cute import flash_attn_func
    else:
        sys.exit(f"--peers: '{name}' is not one of {', '.join(SDPA_BACKENDS)}, fa3, fa4")
    qs, ks, vs = map(rows_inside, (q, k, v))

    def flash():
        out = flash_attn_func(qs, ks, vs, softmax_scale=scale, causal=causal)
        return (out[0] if isinstance(out, tuple) else out).transpose(1, 2)
    return flash


@torch.compile(dynamic=False)
def normalise(q, k):
    return tuple(F.normalize(t.float(), dim=-1).to(t.dtype) for t in (q, k))


def normaliser(q, k):
    """Rows of all heads together, so that one compilation serves all lengths."""
    q, k = (t.view(-1, t.shape[-1]) for t in (q, k))
    return lambda: normalise(q, k)


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def measure(args, shim, names, cuda, causal, n, generator):
    code, dtype = DTYPES[args.dtype]
    b, h, d = max(1, args.tokens // n), args.hidden // args.head_dim, args.head_dim
    torch.manual_seed(n)
    device = "cuda" if cuda else "cpu"
    q, k, v = (torch.randn(b, h, n, d, device=device, dtype=torch.float32).to(dtype) for _ in range(3))
    qn, kn = (F.normalize(t.float(), dim=-1).to(dtype) for t in (q, k))
    contenders = {"fcsa": Ours(shim, q, k, v, causal, code, args.scale),
                  "raw": Ours(shim, qn, kn, v, causal, code, args.scale, raw=True)}
    configurations = {name: ours.configuration() for name, ours in contenders.items()}
    outputs = {name: ours.o for name, ours in contenders.items()}
    for name in names:
        contenders[name] = peer(name, qn, kn, v, causal, args.scale)
        outputs[name] = contenders[name]()
    if cuda:
        torch.cuda.synchronize()
    errors = {name: worst_row_error(q, k, v, o, causal, args.scale, generator) for name, o in outputs.items()}
    del outputs
    allowed = 1e-5 if args.dtype == "f32" else 1e-2 if d >= 64 else 2e-2
    for name, error in errors.items():
        if error < allowed:
            continue
        problem = f"{name} at n={n} causal={causal}: error {error:.2e} above {allowed:.0e}: not timed"
        if name not in names:
            sys.exit(problem)
        print(problem, flush=True)
        names = [other for other in names if other != name]
        del contenders[name]
    if not names:
        sys.exit("no peer is left to compare with")
    if args.norm:
        contenders["norm"] = normaliser(q, k)
    samples = race(contenders, args.rounds, timer(cuda))
    ms = {name: median(times) for name, times in samples.items()}
    flops = 4.0 * b * h * n * n * d * (0.5 if causal else 1.0)
    best = min(names, key=ms.get)
    row = {"dtype": args.dtype, "head_dim": d, "n": n, "batch": b, "heads": h, "causal": causal, "ms": ms,
           "tflops": {name: flops / time / 1e9 for name, time in ms.items() if name != "norm"}, "errors": errors,
           "configurations": configurations, "best_peer": best, "speedup": ms[best] / ms["fcsa"],
           "attention": ms[best] / ms["raw"], "normalising": ms["fcsa"] / ms["raw"] - 1, "samples_ms": samples}
    if args.norm:
        copy_ms = 4 * q.numel() * q.element_size() / 3.0e12 * 1e3
        row["whole"] = (min(ms["norm"], copy_ms) + ms[best]) / ms["fcsa"]
    return row


def print_row(row):
    rates = "  ".join(f"{name} {rate:6.1f}" for name, rate in row["tflops"].items())
    whole = f"  whole {row['whole']:4.2f}x" if "whole" in row else ""
    print(f"{row['dtype']} D{row['head_dim']} N{row['n']:6d} {'causal' if row['causal'] else 'full  '}  TFLOP/s: {rates}"
          f"  fcsa {row['speedup']:4.2f}x {row['best_peer']}  attention {row['attention']:4.2f}x"
          f"  normalising {row['normalising']:+5.1%}{whole}  {row['configurations']['fcsa']}", flush=True)


def main():
    args = arguments()
    cuda = "_sm_" in os.path.basename(args.header)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    names = args.peers.split(",") if args.peers else ["torch" if not cuda else "efficient" if args.dtype == "f32" else "fa2"]
    shim, build_command = build(args.header, cuda)
    generator = torch.Generator().manual_seed(7)
    rows = []
    for causal in {"yes": [True], "no": [False], "both": [False, True]}[args.causal]:
        for n in map(int, args.seq.split(",")):
            rows.append(measure(args, shim, names, cuda, causal, n, generator))
            print_row(rows[-1])
    for ratio in ("speedup", "attention", "whole"):
        if ratio in rows[0]:
            print(f"geometric mean of {ratio}: {geometric_mean([row[ratio] for row in rows]):.3f}")
    if args.out:
        with open(args.out + ".tmp", "w") as file:
            json.dump({"provenance": provenance(cuda, build_command), "rows": rows}, file, indent=1)
        os.replace(args.out + ".tmp", args.out)


if __name__ == "__main__":
    main()
