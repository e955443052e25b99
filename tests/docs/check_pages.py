#!/usr/bin/env python3
"""README has at most 1,000 words, a page of docs/ 1,500, and every link to a file leads to one."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def broken_links(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    return [t for t in targets if "://" not in t and not (page.parent / t).exists()]


def words(page):
    """Words of prose and of code; the bars of tables are none."""
    return sum(1 for word in page.read_text().split() if word.strip("|-"))


def main():
    failed = False
    here = [p for p in ROOT.iterdir() if not p.name.startswith((".", "build", "dist", "fcsa-"))]
    pages = [p for part in here for p in ([part] if part.suffix == ".md" else part.rglob("*.md") if part.is_dir() else [])]
    for page in sorted(pages):
        name = page.relative_to(ROOT)
        for target in broken_links(page):
            print(f"{name}: there is no {target}", file=sys.stderr)
            failed = True
        limit = 1000 if name == pathlib.Path("README.md") else 1500
        made = name.parts[:2] in (("docs", "cli.md"), ("docs", "results"))
        if (name.parts[0] == "docs" or limit == 1000) and not made and words(page) > limit:
            print(f"{name}: {words(page)} words, more than {limit}", file=sys.stderr)
            failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
