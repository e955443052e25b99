#!/usr/bin/env python3
"""Backward pass of libfcsa against other attention libraries, side by side in one process.

On every shape times, interleaved round by round:
  fcsa    dq, dk and dv, with the gradient of the normalisation of q and k inside
  raw     the same for q and k that were normalised beforehand (l2norm_qk off): attention only
  peers   the backward pass of attention only, on q and k that were normalised beforehand; --peers names them:
            fa2, efficient, cudnn   torch's scaled_dot_product_attention with that backend (TF32 off)
            torch                   the same, backend of torch's choice (CPU: all threads)
            fa3                     flash_attn_interface.flash_attn_func (FlashAttention-3)
  whole   with --forward: forward and backward of fcsa, against peer_whole: normalising, the first peer's forward,
          and backward through all of it
With --bias an additive bias [1, heads, n, n] in the dtype takes part, and its gradient is computed by all; a peer gets
it as attn_mask. Before timing, all gradients of one head are compared with fp64. Prints a table and writes JSON with the
provenance. FLOPs: 10 * batch * heads * n * n * head_dim, half of it when causal. `speedup` is the first peer's time over
fcsa's, `attention` over raw's; `normalising` is fcsa over raw. `memory` is the peak of forward and backward, and what
inputs, outputs, gradients and lse take.

Needs torch, and libfcsa with a database of `fcsa tune --op fwd,bwd` (--db; without, built-in defaults). Examples:
  python3 benchmarks/backward_vs_torch.py --library dist/fcsa/lib/libfcsa.so --db tuning.db --dtype bf16 --head-dim 128
  python3 benchmarks/backward_vs_torch.py --library dist/fcsa/lib/libfcsa.so --device cpu --dtype f32 --forward
"""
import argparse
import ctypes
import json
import os
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import sdpa_kernel

import forward_vs_torch as common

FORWARD, BACKWARD = 1, 2
DTYPES = {"f32": (1, torch.float32), "bf16": (2, torch.bfloat16), "f16": (3, torch.float16)}


class Strides(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "head", "row")]


class Problem(ctypes.Structure):
    _fields_ = ([("size", ctypes.c_size_t)] +
                [(name, ctypes.c_int32) for name in (
                    "op device dtype batch heads kv_heads nq nk head_dim layout causal key_mask lse bias bias_batch "
                    "bias_heads head_scale l2norm_qk groups allow_tf32 key_mask_batch").split()] +
                [(name, ctypes.c_float) for name in ("scale", "logit_bound", "eps")] +
                [(name + "_strides", Strides) for name in ("q", "k", "v", "o", "bias")] +
                [("key_mask_stride", ctypes.c_int64)] +
                [(name, ctypes.c_int32) for name in ("bias_gradient", "scale_gradient", "deterministic", "reserved")] +
                [(name + "_strides", Strides) for name in ("dout", "dq", "dk", "dv", "dbias")])


class Tensors(ctypes.Structure):
    _fields_ = ([("size", ctypes.c_size_t)] +
                [(name, ctypes.c_void_p) for name in "q k v o lse key_mask bias head_scale workspace".split()] +
                [("workspace_bytes", ctypes.c_size_t)] +
                [(name, ctypes.c_void_p) for name in "dout dq dk dv dbias dscale".split()])


class Library:
    def __init__(self, path, database):
        self.c = ctypes.CDLL(path)
        self.c.fcsa_last_error.restype = self.c.fcsa_describe.restype = ctypes.c_char_p
        self.c.fcsa_workspace_bytes.restype = ctypes.c_size_t
        self.c.fcsa_workspace_bytes.argtypes = self.c.fcsa_describe.argtypes = [ctypes.c_void_p]
        if database:
            os.environ["FCSA_DB"] = database
        self.handle = ctypes.c_void_p()
        self.check(self.c.fcsa_open(None, ctypes.byref(self.handle)))

    def check(self, status):
        if status != 0:
            sys.exit(self.c.fcsa_last_error().decode())


class Plan:
    """One direction of one problem, with its tensors, ready to launch."""

    def __init__(self, library, op, tensors, causal, dtype, scale, raw, deterministic):
        q, k = tensors["q"], tensors["k"]
        b, h, n, d = q.shape
        self.library, self.op, self.kept = library, op, tensors
        bias = tensors.get("bias")
        problem = Problem(size=ctypes.sizeof(Problem), op=op, device=2 if q.is_cuda else 1, dtype=dtype, batch=b, heads=h,
                          kv_heads=k.shape[1], nq=n, nk=k.shape[2], head_dim=d, causal=int(causal), lse=1,
                          bias=2 if bias is not None else 0, bias_batch=1 if bias is not None else 0,
                          l2norm_qk=int(not raw), groups=1, scale=scale,
                          logit_bound=scale if raw and bias is None else 0.0, eps=1e-12)
        if op == BACKWARD:
            problem.bias_gradient = int(bias is not None)
            problem.deterministic = int(deterministic)
        self.plan = ctypes.c_void_p()
        library.check(library.c.fcsa_plan_create(library.handle, ctypes.byref(problem), ctypes.byref(self.plan)))
        library.check(library.c.fcsa_prepare(self.plan))
        self.workspace_bytes = library.c.fcsa_workspace_bytes(self.plan)
        self.workspace = torch.empty(self.workspace_bytes + 256, dtype=torch.uint8, device=q.device)
        self.tensors = Tensors(size=ctypes.sizeof(Tensors), workspace_bytes=self.workspace_bytes,
                               workspace=-(-self.workspace.data_ptr() // 256) * 256)
        names = ["q", "k", "v", "o", "lse", "bias"]
        names += ["dout", "dq", "dk", "dv", "dbias"] if op == BACKWARD else []
        for name in names:
            if tensors.get(name) is not None:
                setattr(self.tensors, name, tensors[name].data_ptr())
        self.stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream if q.is_cuda else None)

    def configuration(self):
        """What runs, and why it was chosen."""
        lines = dict(line.split(": ", 1) for line in self.library.c.fcsa_describe(self.plan).decode().splitlines())
        return f"{lines['configuration']} ({lines['chosen']})"

    def __call__(self):
        run = self.library.c.fcsa_forward if self.op == FORWARD else self.library.c.fcsa_backward
        self.library.check(run(self.plan, ctypes.byref(self.tensors), self.stream))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", required=True, help="libfcsa.so")
    parser.add_argument("--db", help="database of fcsa tune")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--dtype", default="bf16", choices=DTYPES)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--seq", default="1024,2048,4096,8192,16384")
    parser.add_argument("--tokens", type=int, default=16384, help="batch * n")
    parser.add_argument("--hidden", type=int, default=2048, help="heads * head_dim")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved samples of each contender")
    parser.add_argument("--scale", type=float, default=8.0)
    parser.add_argument("--causal", default="both", choices=["yes", "no", "both"])
    parser.add_argument("--peers", help="comma-separated [CUDA: fa2; with --bias or f32: efficient; CPU: torch]")
    parser.add_argument("--bias", action="store_true", help="with a bias and its gradient")
    parser.add_argument("--forward", action="store_true", help="time forward and backward together as well")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--out", help="JSON file to write")
    return parser.parse_args()


def sdpa(name, q, k, v, bias, causal, scale):
    backend = common.SDPA_BACKENDS[name]
    run = lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=causal, scale=scale)
    if backend is None:
        return run()
    with sdpa_kernel(backend):
        return run()


def attention(name, q, k, v, bias, causal, scale):
    if name == "fa3":
        from flash_attn_interface import flash_attn_func
        out = flash_attn_func(*(t.transpose(1, 2) for t in (q, k, v)), softmax_scale=scale, causal=causal)
        return (out[0] if isinstance(out, tuple) else out).transpose(1, 2)
    if name not in common.SDPA_BACKENDS:
        sys.exit(f"--peers: '{name}' is not one of {', '.join(common.SDPA_BACKENDS)}, fa3")
    return sdpa(name, q, k, v, bias, causal, scale)


def normalised(t):
    return F.normalize(t.float(), dim=-1).to(t.dtype)


def peer(name, q, k, v, bias, dout, causal, scale):
    """The peer's backward pass, and the gradients that it gives."""
    leaves = [t.detach().clone().requires_grad_() for t in (q, k, v)]
    if name == "fa3":  # takes rows before heads
        leaves = [t.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for t in (q, k, v)]
    leaf_bias = bias.detach().clone().requires_grad_() if bias is not None else None
    out = attention(name, *leaves, leaf_bias, causal, scale)
    wanted = leaves + ([leaf_bias] if bias is not None else [])
    return lambda: torch.autograd.grad(out, wanted, dout, retain_graph=True)


def reference(q, k, v, bias, dout, causal, scale, raw):
    """Gradients of one head in fp64."""
    leaves = [t.double().requires_grad_() for t in (q, k, v)]
    leaf_bias = bias.double().requires_grad_() if bias is not None else None
    a, b = leaves[:2] if raw else (F.normalize(t, dim=-1, eps=1e-12) for t in leaves[:2])
    s = a @ b.mT * scale
    if bias is not None:
        s = s + leaf_bias
    if causal:
        n = s.shape[-1]
        s = s.masked_fill(torch.ones(n, n, dtype=torch.bool, device=s.device).triu(1), float("-inf"))
    out = s.softmax(-1) @ leaves[2]
    return torch.autograd.grad(out, leaves + ([leaf_bias] if bias is not None else []), dout.double())


def worst(gradients, expected):
    """max over rows of ||gradient - reference|| / max(||reference||, rms row norm), of each gradient."""
    errors = []
    for actual, wanted in zip(gradients, expected):
        size = wanted.norm(dim=-1)
        difference = (actual.double() - wanted).norm(dim=-1)
        error = difference / torch.maximum(size, size.square().mean().sqrt())
        errors.append(error.nan_to_num(float("inf")).max().item())
    return max(errors)


def error_of(gradients, inputs, causal, scale, raw, one_batch):
    """Of the last head of the last batch; of a bias that batches share only where there is one batch."""
    q, k, v, bias, dout = inputs
    last = [t[-1, -1] for t in gradients[:3]]
    head_bias = bias[-1, -1] if bias is not None else None
    expected = reference(q[-1, -1], k[-1, -1], v[-1, -1], head_bias, dout[-1, -1], causal, scale, raw)
    if bias is not None and one_batch:
        last.append(gradients[3][-1, -1])
    error = worst(last, expected)
    return error


def require_exact(errors, peer_name, dtype, causal, n):
    """Rows that see few keys may cancel to nothing, for everybody: so no worse than three times the peer."""
    allowed = max(1e-4 if dtype == "f32" else 2e-2, 3 * errors[peer_name])
    for name, error in errors.items():
        if not error < allowed:
            sys.exit(f"{name} at n={n} causal={causal}: error {error:.2e} above {allowed:.1e}: not timed")


def measure(args, library, names, causal, n):
    code, dtype = DTYPES[args.dtype]
    cuda = args.device == "cuda"
    b, h, d = max(1, args.tokens // n), args.hidden // args.head_dim, args.head_dim
    torch.manual_seed(n)
    draw = lambda *shape: torch.randn(*shape, device=args.device, dtype=torch.float32).to(dtype)
    q, k, v, dout = (draw(b, h, n, d) for _ in range(4))
    bias = draw(1, h, n, n) if args.bias else None
    qn, kn = normalised(q), normalised(k)

    def ours(q, k, raw):
        tensors = {"q": q, "k": k, "v": v, "bias": bias, "dout": dout, "o": torch.full_like(q, float("nan")),
                   "lse": torch.full(q.shape[:3], float("nan"), device=q.device)}
        tensors |= {"dq": torch.full_like(q, float("nan")), "dk": torch.full_like(k, float("nan")),
                    "dv": torch.full_like(v, float("nan"))}
        if bias is not None:
            tensors["dbias"] = torch.full_like(bias, float("nan"))
        plans = [Plan(library, op, tensors, causal, code, args.scale, raw, args.deterministic) for op in (FORWARD, BACKWARD)]
        for plan in plans:
            plan()
        return plans, [tensors[name] for name in ("dq", "dk", "dv", "dbias") if name in tensors]

    whole, gradients = ours(q, k, False)
    raw, raw_gradients = ours(qn, kn, True)
    contenders = {"fcsa": whole[1], "raw": raw[1]}
    if cuda:
        torch.cuda.synchronize()
    inputs = (q, k, v, bias, dout)
    errors = {"fcsa": error_of(gradients, inputs, causal, args.scale, False, b == 1),
              "raw": error_of(raw_gradients, (qn, kn, v, bias, dout), causal, args.scale, True, b == 1)}
    for name in names:
        contenders[name] = peer(name, qn, kn, v, bias, dout, causal, args.scale)
        errors[name] = error_of(contenders[name](), (qn, kn, v, bias, dout), causal, args.scale, True, b == 1)
    require_exact(errors, names[0], args.dtype, causal, n)
    if args.forward:
        leaves = [t.detach().clone().requires_grad_() for t in (q, k, v)]
        leaf_bias = bias.detach().clone().requires_grad_() if bias is not None else None
        wanted = leaves + ([leaf_bias] if bias is not None else [])

        def peer_whole():
            out = attention(names[0], normalised(leaves[0]), normalised(leaves[1]), leaves[2], leaf_bias, causal, args.scale)
            return torch.autograd.grad(out, wanted, dout)

        def both():
            whole[0]()
            whole[1]()
        contenders |= {"whole": both, "peer_whole": peer_whole}
    torch.cuda.empty_cache() if cuda else None
    samples = common.race(contenders, args.rounds, common.timer(cuda))
    ms = {name: common.median(times) for name, times in samples.items()}
    flops = 10.0 * b * h * n * n * d * (0.5 if causal else 1.0)
    row = {"dtype": args.dtype, "head_dim": d, "n": n, "batch": b, "heads": h, "causal": causal, "bias": args.bias, "ms": ms,
           "tflops": {name: flops / time / 1e9 for name, time in ms.items() if "whole" not in name}, "errors": errors,
           "peer": names[0], "speedup": ms[names[0]] / ms["fcsa"], "attention": ms[names[0]] / ms["raw"],
           "normalising": ms["fcsa"] / ms["raw"] - 1, "workspace_bytes": whole[1].workspace_bytes,
           "configuration": whole[1].configuration(), "raw_configuration": raw[1].configuration(), "samples_ms": samples}
    tensors = [q, k, v, dout, whole[0].kept["o"], whole[0].kept["lse"]] + gradients + ([bias] if bias is not None else [])
    held = sum(t.numel() * t.element_size() for t in tensors)
    row["memory"] = {"tensors_bytes": held, "peak_bytes": held + max(plan.workspace_bytes for plan in whole)}
    if args.forward:
        row["whole"] = ms["peer_whole"] / ms["whole"]
    return row


def print_row(row):
    rates = "  ".join(f"{name} {rate:6.1f}" if rate > 10 else f"{name} {rate:6.3f}" for name, rate in row["tflops"].items())
    whole = f"  whole {row['whole']:4.2f}x" if "whole" in row else ""
    extra = row["memory"]["peak_bytes"] / row["memory"]["tensors_bytes"] - 1
    print(f"{row['dtype']} D{row['head_dim']} N{row['n']:6d} {'causal' if row['causal'] else 'full  '}  TFLOP/s: {rates}"
          f"  fcsa {row['speedup']:4.2f}x {row['peer']}  attention {row['attention']:4.2f}x  normalising "
          f"{row['normalising']:+5.1%}{whole}  workspace {extra:+4.0%}", flush=True)


def main():
    args = arguments()
    cuda = args.device == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if cuda:
        torch.zeros(1, device="cuda")  # makes the context current
    usual = "torch" if not cuda else "efficient" if args.bias or args.dtype == "f32" else "fa2"
    names = args.peers.split(",") if args.peers else [usual]
    library = Library(args.library, args.db)
    rows = []
    for causal in {"yes": [True], "no": [False], "both": [False, True]}[args.causal]:
        if causal and args.bias:
            continue  # torch takes one or the other
        for n in map(int, args.seq.split(",")):
            rows.append(measure(args, library, names, causal, n))
            print_row(rows[-1])
    for ratio in ("speedup", "attention", "whole"):
        if ratio in rows[0]:
            print(f"geometric mean of {ratio}: {common.geometric_mean([row[ratio] for row in rows]):.3f}")
    if args.out:
        facts = common.provenance(cuda, "")
        with open(args.out + ".tmp", "w") as file:
            json.dump({"provenance": facts, "rows": rows}, file, indent=1)
        os.replace(args.out + ".tmp", args.out)


if __name__ == "__main__":
    main()
