"""python -m flash_cosine_sim_attention.compare"""
import argparse
import os
import sys

import torch

from .. import __version__
from . import picture, problems, run, table


def _list(kind, allowed=None):
    def read(text):
        values = [kind(part) for part in text.split(",") if part]
        for value in values:
            if allowed and value not in allowed:
                raise argparse.ArgumentTypeError(f"{value} is none of {', '.join(allowed)}")
        if not values or (kind is int and min(values) < 1):
            raise argparse.ArgumentTypeError(f"{text!r}: it must be " + ("numbers from 1" if kind is int else "names") + ", with commas in between")
        return values
    return read


def arguments(given):
    p = argparse.ArgumentParser(
        prog="python -m flash_cosine_sim_attention.compare", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Time and peak memory of this package beside plain attention, PyTorch's scaled_dot_product_attention by\n"
                    "backends, FlexAttention, FlashAttention 2, 3 and 4, and the original, as far as they can be imported.\n\n"
                    "Normalisation included: of q and k as they come; peers take one fused kernel for it before. Excluded:\n"
                    "attention alone, of q and k that are normalised already.")
    p.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--dtype", type=_list(str, problems.DTYPES), help="f32, bf16, f16. f32 on the CPU, else bf16")
    p.add_argument("--seq", type=_list(int), help="lengths. 256,512,1024 on the CPU, else 512 to 16384")
    p.add_argument("--head-dim", type=_list(int), default=[64])
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--heads", type=int, default=8)
    p.add_argument("--kv-heads", type=int, default=0, help="as many as heads")
    p.add_argument("--causal", choices=("yes", "no", "both"), default="no")
    p.add_argument("--problems", metavar="FILE", help="a workload, a problem as JSON in each line, in place of a grid")
    p.add_argument("--pass", dest="directions", type=_list(str, run.PASSES), default=list(run.PASSES), help="forward,backward,both")
    p.add_argument("--normalisation", choices=("included", "excluded", "both"), default="both")
    p.add_argument("--peers", type=_list(str), help="names, as the table has them. All that there are")
    p.add_argument("--original", metavar="FOLDER", help="where the original is: pip install --no-deps --target FOLDER "
                   "flash-cosine-sim-attention; a process of its own measures it")
    p.add_argument("--cache", choices=("warm", "cold"), help="of a GPU: whether its second-level cache is flushed before every call. cold; "
                   "on the CPU nothing is flushed: warm")
    p.add_argument("--budget", type=float, default=0.5, metavar="SECONDS", help="for each measurement. 0.5")
    p.add_argument("--out", metavar="FOLDER", help="also compare.csv, compare-light.svg and compare-dark.svg there")
    options = p.parse_args(given)
    if options.device == "cpu" and options.cache == "cold":
        p.error("--cache cold: the caches of a CPU can't be flushed")
    options.cache = options.cache or ("cold" if options.device == "cuda" else "warm")
    return options


def chosen_problems(options):
    if options.problems:
        found, left_out = problems.workload(options.problems)
        for text in left_out:
            print(text, file=sys.stderr)
        return found
    gpu = options.device == "cuda"
    lengths = options.seq or ([512, 1024, 2048, 4096, 8192, 16384] if gpu else [256, 512, 1024])
    causal = {"yes": [True], "no": [False], "both": [False, True]}[options.causal]
    if options.kv_heads and options.heads % options.kv_heads:
        raise SystemExit(f"--kv-heads {options.kv_heads} doesn't divide --heads {options.heads}")
    return problems.grid(options.dtype or (["bf16"] if gpu else ["f32"]), lengths, options.head_dim, options.batch, options.heads,
                         options.kv_heads, causal)


def chosen_peers(options):
    there = [*run.peers.available(options.device), *([run.ORIGINAL] if options.original else [])]
    for name in options.peers or []:
        if name not in there:
            raise SystemExit(f"--peers {name}: there are {', '.join(there)}" + ("" if options.original else "; original with --original FOLDER"))
    return options.peers or there


def environment(device):
    threads = "" if device == "cuda" else f", {torch.get_num_threads()} threads"
    return f"{run.measure.device_name(device)}{threads}, torch {torch.__version__}, fcsa {__version__}"


def write(folder, rows, title):
    os.makedirs(folder, exist_ok=True)
    for name, text in (("compare.csv", table.csv_text(rows)), ("compare-light.svg", picture.svg(rows, title, picture.LIGHT)),
                       ("compare-dark.svg", picture.svg(rows, title, picture.DARK))):
        with open(os.path.join(folder, name), "w") as out:
            out.write(text)


def main(given=None):
    options = arguments(given)
    asked, names = chosen_problems(options), chosen_peers(options)
    if not asked:
        raise SystemExit("nothing to compare")
    normalisations = ["included", "excluded"] if options.normalisation == "both" else [options.normalisation]
    conditions = run.measure.Conditions(options.device, options.cache, options.budget)
    rows = run.compare(asked, names, normalisations, options.directions, conditions, options.original,
                       lambda text: print(text, file=sys.stderr, flush=True))
    title = environment(options.device)
    print(title + "\n\n" + table.text(rows))
    if options.out:
        write(options.out, rows, title)
    return 0 if any(row.peer == run.peers.OURS and row.median_ms is not None for row in rows) or run.peers.OURS not in names else 1


if __name__ == "__main__":
    sys.exit(main())
