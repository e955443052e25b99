#!/usr/bin/env python3
"""run_blocks.py fails where a block doesn't do what it should.   run_blocks_test.py --build DIR"""
import pathlib
import subprocess
import sys
import tempfile

WRONG = {
    "an option that the command doesn't have": "<!-- test: gpu -->\n```sh\nfcsa tune --device cuda --sequence 4\n```\n",
    "a command in the middle that fails": "```sh\nfalse\ntrue\n```\n",
    "a variable that no block before set": "```sh\necho $NOT_SET_BY_ANYBODY\n```\n",
    "a part that calls what fcsa.h doesn't have": "<!-- test: part -->\n```c\nfcsa_wrong(plan);\n```\n",
    "a preset that there isn't": "```sh\ncmake --preset fast\n```\n",
    "Python that isn't": "```python\ndef f(:\n```\n",
    "C++ of which nothing says how to test it": "```cpp\nint x;\n```\n",
    "a block that is never closed": "```sh\ntrue\n",
}


def main():
    script = pathlib.Path(__file__).with_name("run_blocks.py")
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "page.md"
        page.write_text("```sh\nexport A=1\n```\n\n```sh\ntest $A = 1\n```\n")
        right = subprocess.run([sys.executable, script, *sys.argv[1:], page], capture_output=True, text=True)
        if right.returncode != 0:
            sys.exit(f"a page that is right: {right.stdout}{right.stderr}")
        for what, text in WRONG.items():
            page.write_text(text)
            run = subprocess.run([sys.executable, script, *sys.argv[1:], page], capture_output=True, text=True)
            if run.returncode == 0 or not run.stderr.startswith("page.md:"):
                sys.exit(f"{what}: exit status {run.returncode}\n{run.stdout}{run.stderr}")


if __name__ == "__main__":
    main()
