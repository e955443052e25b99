"""What is read from a file of benchmarks/results/, and the tables that are made of it."""
import json
import math
import pathlib
import sqlite3


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def cell(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def percent(value):
    return f"{round(value * 100):+d}%"


def table(columns, rows):
    return ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns),
            *("| " + " | ".join(map(cell, row)) + " |" for row in rows)]


class File:
    """One file of results: its rows, whatever wrote it."""

    def __init__(self, path: pathlib.Path):
        self.path, self.name = path, path.name
        self.rows, self.provenance, self.kind = [], {}, path.suffix[1:]
        if path.suffix == ".json":
            self.read_json(json.loads(path.read_text()))

    def read_json(self, content):
        facts = {key: value for key, value in content.items() if isinstance(value, str)}
        facts["note"] = facts.pop("what", facts.get("note", ""))
        self.provenance = content.get("provenance") or content.get("context") or facts
        self.rows = content.get("rows") or content.get("benchmarks") or []
        first = self.rows[0] if self.rows else {}
        if "benchmarks" in content:
            self.kind = "benchmark"
        elif "best_peer" in first:
            self.kind = "forward"
        elif "peer" in first:
            self.kind = "backward"
        elif "fcsa_tflops" in first:
            self.kind = "one peer"

    def database(self):
        connection = sqlite3.connect(f"file:{self.path}?mode=ro&immutable=1", uri=True)
        connection.row_factory = sqlite3.Row
        return connection


def provenance_line(file):
    if file.kind == "db":
        return database_provenance(file)
    facts = file.provenance
    if not facts:
        return "Its first lines say what it is."
    parts = [facts.get("device"), facts.get("date", "")[:10]]
    parts += [f"driver {facts['driver']}"] if "driver" in facts else []
    parts += [f"torch {facts['torch']}"] if "torch" in facts else []
    parts += [f"cuDNN {facts['cudnn']}"] if "cudnn" in facts else []
    compilers = facts.get("toolkit") or facts.get("compiler") or []
    parts += [compilers] if isinstance(compilers, str) else compilers
    parts += [f"{facts['threads']} thread" + "s" * (facts["threads"] != 1)] if "threads" in facts else []
    parts += [facts.get("note")]
    line = ", ".join(filter(None, parts)) + "."
    return line + (f"\n\n    {facts['command']}" if "command" in facts else "")


def database_provenance(file):
    with file.database() as database:
        lines = []
        for row in database.execute("SELECT name, driver, compiler, count(DISTINCT uuid) AS cards FROM devices GROUP BY 1, 2, 3"):
            cards = f", {row['cards']} cards" if row["cards"] > 1 else ""
            lines.append(f"{row['name']}{cards}, driver {row['driver']}, {row['compiler']}.")
        lines.append("")
        lines += [f"    {row['started_at'][:10]}  {row['command']}" for row in
                  database.execute("SELECT started_at, command FROM sessions ORDER BY started_at")]
        return "\n".join(lines)


class Sources:
    """The source hash of a kernel that a tuning run measured, by problem and configuration."""

    def __init__(self, trials):
        self.known = {}
        for file in trials:
            with file.database() as database:
                for row in database.execute(
                        "SELECT p.op, p.dtype, p.head_dim, p.nq, p.causal, p.l2norm_qk, c.text, t.source_hash FROM trials t"
                        " JOIN problems p ON p.id = t.problem_id JOIN configurations c ON c.id = t.configuration_id"
                        " WHERE t.status = 'ok' ORDER BY t.id"):
                    self.known[tuple(row)[:7]] = row["source_hash"][:8]

    def of(self, op, row, configuration, normalised=True):
        text = configuration.split(" (")[0]
        return self.known.get((op, row["dtype"], row["head_dim"], row["n"], int(row["causal"]), int(normalised), text), "")


def section_table(file, trials, only):
    makers = {"forward": forward_table, "backward": backward_table, "one peer": one_peer_table}
    if file.kind in makers:
        return makers[file.kind](file, Sources(trials))
    if file.kind == "benchmark":
        return benchmark_table(file)
    if file.kind == "db":
        return trials_table(file, only)
    if file.kind == "txt":
        return ["```", file.path.read_text().rstrip(), "```"]
    return plain_table(file)


def with_sources(columns, rows):
    """Without the last column where nothing is known of it."""
    if any(row[-1] for row in rows):
        return table(columns + ["source"], rows)
    return table(columns, [row[:-1] for row in rows])


def forward_table(file, sources):
    peers = [name for name in file.rows[0]["tflops"] if name not in ("fcsa", "raw")]
    rows = []
    for r in file.rows:
        speeds = [f"{r['tflops'][name]:.0f}" if name in r["tflops"] else "" for name in ["fcsa", "raw", *peers]]
        rows.append([r["head_dim"], r["n"], r["causal"], *speeds, f"{r['attention']:.2f}", f"{r['whole']:.2f}",
                     percent(r['normalising']), sources.of("forward", r, r["configurations"]["fcsa"])])
    return ["TFLOP/s; *raw* is attention only.", "",
            *with_sources(["D", "N", "causal", "fcsa", "raw", *peers, "attention", "whole", "normalising"], rows)]


def backward_table(file, sources):
    peer = file.rows[0]["peer"]
    has_whole = "whole" in file.rows[0]
    rows = []
    for r in file.rows:
        speeds = [cell(float(f"{r['tflops'][name]:.3g}")) for name in ("fcsa", "raw", peer)]
        whole = [f"{r['ms']['whole']:.3g}", f"{r['ms']['peer_whole']:.3g}", f"{r['whole']:.2f}"] if has_whole else []
        extra = r["memory"]["peak_bytes"] / r["memory"]["tensors_bytes"] - 1
        rows.append([r["head_dim"], r["n"], r["causal"], *speeds, f"{r['speedup']:.2f}", f"{r['attention']:.2f}",
                     percent(r['normalising']), *whole, percent(extra), sources.of("backward", r, r["configuration"])])
    columns = ["D", "N", "causal", "fcsa", "raw", peer, f"fcsa / {peer}", f"raw / {peer}", "normalising"]
    columns += ["both passes, ms", f"{peer}, ms", "ratio"] if has_whole else []
    text = "TFLOP/s of the backward pass" + (", and both passes together" if has_whole else "") + (
        "; with a bias and its gradient" if file.rows[0].get("bias") else "") + ". *Memory*: workspace over all tensors."
    return [text, "", *with_sources(columns + ["memory"], rows)]


def one_peer_table(file, sources):
    rows = [[r["head_dim"], r["n"], r["causal"], f"{r['fcsa_ms']:.3g}", f"{r['fcsa_tflops']:.3g}", f"{r['torch_ms']:.3g}",
             f"{r['speedup']:.2f}", sources.of("forward", r, r["configuration"])] for r in file.rows]
    return with_sources(["D", "N", "causal", "fcsa, ms", "TFLOP/s", "torch, ms", "ratio"], rows)


def benchmark_table(file):
    rows = [[r["name"].removesuffix("/manual_time"), f"{r['real_time']:.4g} {r['time_unit']}", f"{r['FLOP/s'] / 1e12:.1f}",
             f"{r['extra_memory'] / 2**20:.0f}"] for r in file.rows if "FLOP/s" in r]
    return table(["benchmark", "time", "TFLOP/s", "MiB beyond tensors"], rows)


TRIALS = """SELECT p.*, c.text AS configuration, t.median_ms, t.ci_low_ms, t.ci_high_ms, t.source_hash,
  min(t.median_ms) FROM trials t JOIN problems p ON p.id = t.problem_id JOIN configurations c ON c.id = t.configuration_id
  WHERE t.phase = 'confirm' AND t.status = 'ok' AND c.kernel NOT LIKE 'unfused%' GROUP BY t.problem_id
  ORDER BY p.op, p.dtype, p.head_dim, p.causal, p.batch, p.nq, p.nk, p.l2norm_qk"""


def flops(problem):
    pairs = problem["nq"] * problem["nk"]
    if problem["causal"]:
        seen = min(problem["nq"], problem["nk"])
        pairs -= seen * (seen - 1) // 2 if problem["nq"] == problem["nk"] else 0
    return (4 if problem["op"] == "forward" else 10) * problem["batch"] * problem["heads"] * pairs * problem["head_dim"]


def trials_table(file, only):
    """The fastest of each problem's races, over the problems that `only` lets through."""
    with file.database() as database:
        problems = [p for p in database.execute(TRIALS) if all(p[key] == value for key, value in only.items())]
    rows = []
    for p in problems:
        moved = 2 * p["head_dim"] * p["batch"] * (2 * p["heads"] * p["nq"] + 2 * p["kv_heads"] * p["nk"])
        speed = f"{moved / p['median_ms'] / 1e9:.2f} TB/s" if p["nq"] == 1 else f"{flops(p) / p['median_ms'] / 1e9:.0f} TFLOP/s"
        rows.append([p["text"], f"{p['median_ms'] * 1e3:.4g} us", f"{p['ci_low_ms'] * 1e3:.4g} to {p['ci_high_ms'] * 1e3:.4g}",
                     speed, f"`{p['configuration']}`", p["source_hash"][:8]])
    return table(["problem", "median", "95%", "speed", "configuration", "source"], rows)


def plain_table(file):
    if not file.rows:
        return []
    columns = [key for key, value in file.rows[0].items() if not isinstance(value, (dict, list))][:12]
    return table(columns, [[row.get(column, "") for column in columns] for row in file.rows])


def span(values):
    return f"{geometric_mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def summary_line(file):
    """What a file says in a few words, as a line below its page in the overview; nothing where it can't be said so."""
    dims = ", ".join(str(d) for d in dict.fromkeys(r["head_dim"] for r in file.rows if "head_dim" in r))
    start = f"\n  - D = {dims}: "
    if file.kind == "forward":
        return f"{start}attention {span([r['attention'] for r in file.rows])}, whole {span([r['whole'] for r in file.rows])}"
    if file.kind == "backward":
        name, key = ("both passes", "whole") if "whole" in file.rows[0] else ("backward", "speedup")
        return f"{start}{name} {span([r[key] for r in file.rows])}, {file.provenance['device']}"
    if file.kind == "one peer":
        return f"{start}{span([r['speedup'] for r in file.rows])}"
    return ""
