#!/usr/bin/env python3
"""Search strategies of fcsa beside those of Kernel Tuner, on the same recorded spaces.

  benchmarks/search_vs_kernel_tuner.py FILE.json.gz... [--fcsa build/release/cli/fcsa] [--seeds 50] [--out result.json]

Kernel Tuner 1.5.0 is installed in a virtual environment (--venv) and runs in its simulation mode, with its
defaults; fcsa runs as `fcsa replay`. Both choose from all recorded configurations, those that failed included;
each new configuration counts as one evaluation. A run that never gets within 5% of the optimum counts as the
most evaluations. Prints tables in Markdown; --out keeps every run.
"""
import argparse
import gzip
import json
import math
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

KERNEL_TUNER = "kernel-tuner==1.5.0"
STRATEGIES = ["genetic_algorithm", "adaptive_tabu_greywolf", "hybrid_vndx", "diff_evo", "simulated_annealing",
              "random_sample"]
MARKS = [20, 50, 100, 200, 500]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--fcsa", default="build/release/cli/fcsa")
    parser.add_argument("--strategies", default=",".join(STRATEGIES), help="of Kernel Tuner")
    parser.add_argument("--ours", default="auto", help="strategies of fcsa")
    parser.add_argument("--pending", default="1,16", help="of fcsa; Kernel Tuner has one at a time")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--evals", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--venv", type=Path, default=Path.home() / ".cache/fcsa/kernel_tuner")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def run_in_environment(options):
    """Starts this script again with the interpreter of the virtual environment, unless it is that."""
    python = options.venv / "bin/python"
    if Path(sys.prefix).resolve() == options.venv.resolve():
        return
    if not python.exists():
        venv.create(options.venv, with_pip=True)
    if subprocess.run([python, "-c", "import kernel_tuner"], capture_output=True).returncode != 0:
        subprocess.run([python, "-m", "pip", "install", "-q", KERNEL_TUNER], check=True)
    os.execv(python, [str(python), *sys.argv])


def read(file):
    data = file.read_bytes()
    return json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)["results"]


def time_of(result):
    """None when it failed."""
    if result.get("invalidity", "correct") != "correct":
        return None
    value = next((m["value"] for m in result["measurements"] if m["name"] == "time"), None)
    return value if isinstance(value, (int, float)) and value > 0 and math.isfinite(value) else None


def as_cache(results, name):
    """What Kernel Tuner's simulation mode reads."""
    keys = list(results[0]["configuration"])
    values = {key: sorted({result["configuration"][key] for result in results}) for key in keys}
    cache = {}
    for result in results:
        configuration = result["configuration"]
        time = time_of(result)
        entry = dict(configuration, time=time if time is not None else "RuntimeFailedConfig", compile_time=0,
                     verification_time=0, benchmark_time=0, strategy_time=0, framework_time=0, timestamp="")
        cache[",".join(str(configuration[key]) for key in keys)] = entry
    return {"device_name": "recorded", "kernel_name": name, "problem_size": [1], "tune_params_keys": keys,
            "tune_params": values, "objective": "time", "cache": cache}


def kernel_tuner_run(job):
    """The times of the configurations in the order that the strategy measured them."""
    cache_file, strategy, seed, evaluations = job
    import contextlib
    import io
    import warnings

    import kernel_tuner
    import numpy
    from kernel_tuner.searchspace import FunctionConstraint  # noqa: F401  (fails early with another version)

    cache = json.loads(Path(cache_file).read_text())
    keys = cache["tune_params_keys"]
    recorded = {tuple(entry[key] for key in keys) for entry in cache["cache"].values()}
    random.seed(seed)
    numpy.random.seed(seed)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        results, _ = kernel_tuner.tune_kernel(
            cache["kernel_name"], "", tuple(cache["problem_size"]), [], cache["tune_params"], cache=cache_file,
            simulation_mode=True, strategy=strategy, strategy_options={"max_fevals": evaluations}, quiet=True,
            restrictions=[FunctionConstraint(lambda *values: values in recorded, keys)])
    seen, times = set(), []
    for result in results:
        key = tuple(result[name] for name in keys)
        if key in seen:
            continue
        seen.add(key)
        time = result.get("time")
        times.append(float(time) if isinstance(time, (int, float)) else None)
    return times[:evaluations]


def best_so_far(times):
    best, curve = math.inf, []
    for time in times:
        best = min(best, time if time is not None else math.inf)
        curve.append(best)
    return curve


def fcsa_runs(options, file, strategy, pending):
    command = [options.fcsa, "replay", str(file), "--strategy", strategy, "--seeds", str(options.seeds),
               "--evals", str(options.evals), "--pending", str(pending), "--json"]
    output = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)[0]
    return [[math.inf if best is None else best for best in run["best_ms"]] for run in output["runs"]]


def kernel_tuner_runs(options, file, results, pool, folder):
    cache_file = Path(folder) / f"{file.name}.cache.json"
    cache_file.write_text(json.dumps(as_cache(results, file.name.split(".")[0])))
    strategies = options.strategies.split(",")
    jobs = [(str(cache_file), strategy, seed, options.evals)
            for strategy in strategies for seed in range(1, options.seeds + 1)]
    curves = [best_so_far(times) for times in pool.map(kernel_tuner_run, jobs, chunksize=1)]
    return {strategy: curves[i * options.seeds:(i + 1) * options.seeds] for i, strategy in enumerate(strategies)}


def median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def interval(values, draws=1000):
    """95% of the median, by the bootstrap."""
    source = random.Random(1)
    medians = sorted(median(source.choices(values, k=len(values))) for _ in range(draws))
    return medians[draws // 40], medians[-1 - draws // 40]


def summary(curves, optimum, evaluations):
    found = [next((i + 1 for i, best in enumerate(curve) if best <= 1.05 * optimum), None) for curve in curves]
    counts = [count if count is not None else evaluations for count in found]
    marks = {}
    for mark in MARKS:
        at = [curve[min(mark, len(curve)) - 1] / optimum for curve in curves]
        marks[mark] = {"median": median(at), "interval": interval(at)}
    return {"median": median(counts), "interval": interval(counts), "missed": found.count(None), "best_at": marks}


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def print_tables(table, files):
    names = list(table)
    print("Evaluations to 5% of the optimum: median (95% interval), missed\n")
    print("| | " + " | ".join(file.name.split(".")[0] for file in files) + " | geometric mean |")
    print("|---|" + "---|" * (len(files) + 1))
    means = {}
    for name in names:
        rows = [table[name][file.name] for file in files]
        means[name] = geometric_mean([row["median"] for row in rows])
        cells = [f"{r['median']:.0f} ({r['interval'][0]:.0f}-{r['interval'][1]:.0f}), {r['missed']}" for r in rows]
        print(f"| {name} | " + " | ".join(cells) + f" | {means[name]:.0f} |")
    print("\nBest found over the optimum: median (95% interval)\n")
    print("| | space | " + " | ".join(f"after {mark}" for mark in MARKS) + " |")
    print("|---|---|" + "---|" * len(MARKS))
    for name in names:
        for file in files:
            at = table[name][file.name]["best_at"]
            cells = [f"{at[m]['median']:.3f} ({at[m]['interval'][0]:.3f}-{at[m]['interval'][1]:.3f})" for m in MARKS]
            print(f"| {name} | {file.name.split('.')[0]} | " + " | ".join(cells) + " |")
    peers = {name: mean for name, mean in means.items() if name.startswith("Kernel Tuner")}
    best = min(peers, key=peers.get)
    print()
    for name, mean in means.items():
        if name not in peers:
            print(f"{name}: {mean / peers[best]:.2f} of the geometric mean of {best}")


def main():
    options = arguments()
    run_in_environment(options)
    table, runs = {}, {}

    def add(name, file, curves, optimum):
        table.setdefault(name, {})[file.name] = summary(curves, optimum, options.evals)
        runs.setdefault(name, {})[file.name] = curves

    with tempfile.TemporaryDirectory() as folder, multiprocessing.Pool(options.jobs) as pool:
        for file in options.files:
            results = read(file)
            optimum = min(time for time in map(time_of, results) if time is not None)
            for strategy in options.ours.split(","):
                for pending in options.pending.split(","):
                    add(f"fcsa {strategy}, {pending} pending", file,
                        fcsa_runs(options, file, strategy, pending), optimum)
            for strategy, curves in kernel_tuner_runs(options, file, results, pool, folder).items():
                add(f"Kernel Tuner {strategy}", file, curves, optimum)
    print_tables(table, options.files)
    if options.out:
        options.out.write_text(json.dumps({"command": sys.argv, "summary": table, "runs": runs}))


if __name__ == "__main__":
    main()
