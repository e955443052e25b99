#!/usr/bin/env python3
"""Makes docs/cli.md of what the command says about itself.

    scripts/cli_reference.py PROGRAM            writes it
    scripts/cli_reference.py PROGRAM --check    writes nothing; exit status 1 when it doesn't match
"""
import os
import pathlib
import re
import subprocess
import sys

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "cli.md"


def help_of(program, *command):
    # The same text on every machine: nothing of its folders.
    environment = {**os.environ, "HOME": "/nonexistent", "COLUMNS": "100"}
    text = subprocess.run([program, *command, "--help"], text=True, capture_output=True, check=True, env=environment).stdout
    return "\n".join(line.rstrip() for line in text.replace(program, "fcsa").strip().splitlines())


def subcommands(text):
    match = re.search(r"^(?:SUB)?COMMANDS?:\n(.*)", text, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    return re.findall(r"^  ([a-z][\w-]*)", match[1], re.MULTILINE) if match else []


def sections(program, command=()):
    text = help_of(program, *command)
    title = " ".join(("fcsa", *command))
    out = [f"{'#' * (2 + max(0, len(command) - 1))} {title}", "", "```", text, "```", ""]
    for name in subcommands(text):
        out += sections(program, (*command, name))
    return out


def main():
    program = sys.argv[1]
    lines = ["# Every option", "", "Made by `scripts/cli_reference.py` of what `fcsa --help` and `fcsa COMMAND --help` say. Exit "
             "status: 0 done, 1 failed, 2 wrong usage. `--json` works on every command that prints a table.", ""]
    text = "\n".join(lines + sections(program)).rstrip() + "\n"
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit(f"docs/cli.md doesn't match the command: run scripts/cli_reference.py {program}")


if __name__ == "__main__":
    main()
