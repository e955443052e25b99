#!/usr/bin/env python3
"""Makes docs/results.md, docs/results/ and the table of results in README.md from the files of benchmarks/results/.

    scripts/results.py            writes them
    scripts/results.py --check    writes nothing; exit status 1 when what is there doesn't match the data

benchmarks/results/index.json says which files belong together, in which order, and what README's rows are made of. A file
that it doesn't name gets a section of its own, so that a new measurement needs nothing but its file. Needs Python alone.
"""
import argparse
import json
import pathlib
import sys

from results_picture import picture
from results_tables import File, geometric_mean, provenance_line, section_table, summary_line

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- made by scripts/results.py: begin -->", "<!-- made by scripts/results.py: end -->"


def load_index():
    index = json.loads((DATA / "index.json").read_text())
    named = {name for section in index["sections"] for name in section["files"] + section.get("trials", [])}
    present = {path.name for path in DATA.iterdir()} - {"index.json", "README.md"}
    for name in sorted(named - present):
        sys.exit(f"benchmarks/results/index.json names {name}, which is not there")
    for name in sorted(present - named):
        index["sections"].append({"id": pathlib.Path(name).stem, "title": pathlib.Path(name).stem.replace("_", " "),
                                  "files": [name]})
    return index


def read(names):
    return [File(DATA / name) for name in names]


def link(name, depth):
    return f"[`{name}`]({'../' * depth}benchmarks/results/{name})"


def section_page(section):
    """The page of a section, and its picture or None."""
    files = read(section["files"])
    trials = read(section.get("trials", []))
    drawing = picture(section["title"], files)
    lines = [f"# {section['title']}", "", "Made by `scripts/results.py` from the files named below: edit those, not this page.", ""]
    lines += [section["note"], ""] if "note" in section else []
    lines += [f"![Speed against sequence length]({section['id']}.svg)", ""] if drawing else []
    for file in files:
        lines += [f"## {link(file.name, 2)}", "", provenance_line(file), ""]
        lines += section_table(file, trials, section.get("only", {})) + [""]
    for file in trials:
        lines += [f"## {link(file.name, 2)}: the tuning runs", "", provenance_line(file), ""]
    return "\n".join(lines).rstrip() + "\n", drawing


def selected_rows(row):
    """Rows of the files of one of README's rows that its conditions let through."""
    rows = [r for file in read(row["files"]) for r in file.rows]
    for key, wanted in row.get("where", {}).items():
        rows = [r for r in rows if r[key] in (wanted if isinstance(wanted, list) else [wanted])]
    if not rows:
        sys.exit(f"benchmarks/results/index.json: no row for '{row['what']}'")
    return rows


def headline(row, depth):
    rows = selected_rows(row)
    if row["value"] == "memory":
        extra = [r["memory"]["peak_bytes"] / r["memory"]["tensors_bytes"] - 1 for r in rows]
        result = f"+{max(extra):.0%} at most"
    else:
        values = [r[row["value"]] for r in rows]
        result = f"**{geometric_mean(values):.2f}×** ({min(values):.2f} to {max(values):.2f})"
    data = ", ".join(f"[{i + 1}]({'../' * depth}benchmarks/results/{name})" for i, name in enumerate(row["files"]))
    return f"| {row['what']} | {row['device']} | {row['against']} | {result} | {data} |"


def headlines(index, depth):
    return ["| what | on | against | times as fast | data |", "|---|---|---|---|---|",
            *(headline(row, depth) for row in index["readme"])]


def overview(index):
    lines = ["# Results", "",
             "Made by `scripts/results.py` from [`benchmarks/results/`](../benchmarks/results/README.md), where every "
             "number of README and of these pages is from; CI fails when they don't match. Every kernel's output was compared "
             "with fp64 before it was timed, what training steps and models give with each other. Contenders of a table were "
             "timed in turn. A source is the hash of a kernel's text and options, as the database of its tuning run has it: what was measured with another "
             "source than that of your build says nothing about your build, and `fcsa report` says which is which.", "",
             *headlines(index, 1), "",
             "*Attention* is the kernel on q and k that are normalised already, over the best peer on the same. *Whole* is "
             "fcsa with its normalisation, over normalising and then the best peer. Geometric means, with the range.", "",
             "## Pages", ""]
    for section in index["sections"]:
        files = read(section["files"])
        lines.append(f"- [{section['title']}](results/{section['id']}.md)" + "".join(map(summary_line, files)))
    lines += ["", "What bounds these kernels, and what was tried and didn't help, is in [notes](notes/README.md).", ""]
    return "\n".join(lines)


def readme(index):
    text = (ROOT / "README.md").read_text()
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return before + BEGIN + "\n" + "\n".join(headlines(index, 0)) + "\n" + END + after


def wanted_files():
    index = load_index()
    files = {}
    for section in index["sections"]:
        page, drawing = section_page(section)
        files[ROOT / "docs" / "results" / f"{section['id']}.md"] = page
        if drawing:
            files[ROOT / "docs" / "results" / f"{section['id']}.svg"] = drawing
    files[ROOT / "docs" / "results" / "readme.svg"] = picture(index["picture"]["title"], read(index["picture"]["files"]))
    files[ROOT / "docs" / "results.md"] = overview(index)
    files[ROOT / "README.md"] = readme(index)
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare with what is there")
    args = parser.parse_args()
    files = wanted_files()
    folder = ROOT / "docs" / "results"
    stale = [path for path in (folder.iterdir() if folder.is_dir() else []) if path not in files]
    wrong = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if args.check:
        for path in wrong + stale:
            print(f"{path.relative_to(ROOT)} doesn't match benchmarks/results/: run scripts/results.py", file=sys.stderr)
        sys.exit(1 if wrong or stale else 0)
    folder.mkdir(exist_ok=True)
    for path in stale:
        path.unlink()
    for path in wrong:
        path.write_text(files[path])
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
