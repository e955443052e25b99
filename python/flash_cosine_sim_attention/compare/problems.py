"""What is compared: problems of a grid, or of a workload file. Imports nothing of this package: the process that measures the
original, whose import name is the same, loads this file too."""
import json
from typing import NamedTuple

DTYPES = ("f32", "bf16", "f16")


class Problem(NamedTuple):
    dtype: str
    batch: int
    heads: int
    kv_heads: int
    nq: int
    nk: int
    head_dim: int
    causal: bool
    scale: float = 8.0
    l2norm_qk: bool = True
    name: str = ""

    def text(self):
        heads = f"H{self.heads}" if self.kv_heads == self.heads else f"H{self.heads}/{self.kv_heads}"
        length = f"N{self.nq}" if self.nq == self.nk else f"N{self.nq}x{self.nk}"
        return f"{self.dtype} B{self.batch} {heads} {length} D{self.head_dim}" + (" causal" if self.causal else "")

    def flops(self):
        """Of the forward pass: 4 for each visible query-key pair and channel."""
        pairs = self.nq * self.nk
        if self.causal:  # aligned to the bottom right
            rows = min(self.nq, self.nk)
            pairs = rows * self.nk - rows * (rows - 1) // 2
        return 4 * self.batch * self.heads * pairs * self.head_dim


def grid(dtypes, lengths, head_dims, batch, heads, kv_heads, causal):
    return [Problem(dtype, batch, heads, kv_heads or heads, n, n, d, masked)
            for dtype in dtypes for d in head_dims for masked in causal for n in lengths]


# What a line of a workload may have that isn't compared, with the values that mean that it hasn't.
_ABSENT = {"key_mask": (False, None), "bias": ("none", None), "head_scale": (False, None), "groups": (1, None)}
_KNOWN = {*Problem._fields, *_ABSENT, "op", "layout", "count", "device", "process", "bias_batch", "bias_heads", "bias_gradient",
          "scale_gradient", "deterministic", "allow_tf32", "key_mask_batch", "logit_bound", "l2norm_qk"}


def _of_line(line):
    """(problem, None), or (None, why it isn't compared)."""
    unknown = sorted(set(line) - _KNOWN)
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}")
    for name in ("dtype", "head_dim", "heads", "nq", "nk"):
        if name not in line:
            raise ValueError(f"{name} is missing")
    if line["dtype"] not in DTYPES:
        raise ValueError(f"dtype is {line['dtype']!r}: it must be " + ", ".join(DTYPES))
    for name, absent in _ABSENT.items():
        if line.get(name) not in absent:
            return None, f"{name} isn't compared"
    return Problem(line["dtype"], line.get("batch") or 1, line["heads"], line.get("kv_heads") or line["heads"], line["nq"],
                   line["nk"], line["head_dim"], bool(line.get("causal")), float(line.get("scale", 8.0)),
                   bool(line.get("l2norm_qk", True)), line.get("name", "")), None


def workload(path):
    """(problems, [what was left out and why]) of a file that has a problem as JSON in each line, its fields as those of Problem.
    Lines that differ only in name, direction or count are one problem."""
    problems, left_out = {}, []
    with open(path) as lines:
        for number, text in enumerate(lines, 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise ValueError("it must be a JSON object")
                if "format" in line:
                    continue
                problem, why = _of_line(line)
            except ValueError as error:
                raise SystemExit(f"{path}:{number}: {error}") from None
            if problem is None:
                left_out.append(f"{path}:{number}: {why}")
            else:
                problems.setdefault(problem._replace(name=""), problem)
    return list(problems.values()), left_out
