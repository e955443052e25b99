#!/usr/bin/env python3
"""Makes data/workloads/spread_grid.jsonl: shapes for `fcsa tune --problems` that cover what people run, not squares only.

    scripts/spread_grid.py [FILE]

bf16, forward, 64 and 128 channels, full and causal. Queries, keys, heads x batch and the ratio of query to key/value heads
are spread by a Halton sequence over their logarithms; beside it are corners: one token, one image, decoding of a batch, and
squares that fill a GPU.
"""
import json
import pathlib
import sys

FILE = pathlib.Path(__file__).resolve().parent.parent / "data" / "workloads" / "spread_grid.jsonl"
SHAPES = 30  # of each class, beside the corners
MOST_FLOPS = 4e12  # of a call: some 10 milliseconds on a large GPU
MOST_ROWS = 1 << 21  # batch x heads x the longer of queries and keys
# batch, heads, key/value heads, queries, keys
CORNERS = [(1, 8, 8, 1, 64), (1, 32, 8, 1, 8192), (32, 32, 8, 1, 4096), (1, 12, 12, 197, 197), (256, 12, 12, 197, 197),
           (16, 16, 16, 1024, 1024), (2, 16, 16, 8192, 8192), (1, 32, 8, 512, 8192)]


def halton(index, base):
    value, fraction = 0.0, 1.0
    while index > 0:
        fraction /= base
        value += fraction * (index % base)
        index //= base
    return value


def between(low, high, share):
    """Of a logarithmic scale, as a round number."""
    size = low * (high / low) ** share
    step = 64 if size >= 512 else 16 if size >= 64 else 1
    return max(1, round(size / step) * step)


def shape(index):
    queries = between(1, 16384, halton(index, 2))
    keys = between(64, 32768, halton(index, 3))
    ratio = (1, 1, 4, 8)[int(4 * halton(index, 7))]
    kv_heads = (1, 2, 4, 8, 16)[int(5 * halton(index, 11))]
    heads = ratio * kv_heads
    batch = max(1, round(between(1, 1024, halton(index, 5)) / heads))
    return batch, heads, kv_heads, queries, keys


def fits(shape, head_dim):
    batch, heads, _, queries, keys = shape
    return 4 * batch * heads * queries * keys * head_dim <= MOST_FLOPS and batch * heads * max(queries, keys) <= MOST_ROWS


def shapes(head_dim, causal):
    found, index = [s for s in CORNERS if not causal or s[3] > 1], 1
    wanted = len(found) + SHAPES
    while len(found) < wanted:
        candidate = shape(index)
        index += 1
        # A causal mask is for as many keys as queries, or more.
        if fits(candidate, head_dim) and candidate not in found and (not causal or 1 < candidate[3] <= candidate[4]):
            found.append(candidate)
    return found


def main():
    file = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    lines = [{"format": "fcsa workload", "version": 1, "name": "spread grid: bf16, forward",
              "source": "scripts/spread_grid.py: a Halton sequence over queries, keys, heads x batch and grouped heads, and corners"}]
    for head_dim in (64, 128):
        for causal in (False, True):
            for number, (batch, heads, kv_heads, queries, keys) in enumerate(shapes(head_dim, causal)):
                line = {"name": f"{'corner' if number < len(CORNERS) - 3 * causal else 'point'} {number + 1}", "dtype": "bf16",
                        "head_dim": head_dim, "batch": batch, "heads": heads, "kv_heads": kv_heads, "nq": queries, "nk": keys}
                lines.append({**line, "causal": True} if causal else line)
    file.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


if __name__ == "__main__":
    main()
