"""The code blocks of a Markdown page, and what the comment above each says about how to test it."""
import dataclasses
import pathlib
import re

LANGUAGES = {"sh", "c", "cpp", "python", "cmake"}
MARK = re.compile(r"^<!-- test: (\w+)(?:[ =](.*?))? -->$")


@dataclasses.dataclass
class Block:
    page: pathlib.Path
    line: int
    language: str
    text: str
    mark: str = ""      # gpu, file, part, needs, or nothing
    value: str = ""     # the name of a file, a path

    def __str__(self):
        return f"{self.page.name}:{self.line}"


def blocks_of(page):
    found, current, mark = [], None, ("", "")
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if current:
            if line == "```":
                found.append(current)
                current, mark = None, ("", "")
            else:
                current.text += line + "\n"
        elif line.startswith("```"):
            language = line[3:].strip()
            current = Block(page, number, language, "", *mark)
        elif match := MARK.match(line):
            mark = (match[1], match[2] or "")
        elif line.strip():
            mark = ("", "")
    if current:
        raise SystemExit(f"{current}: the block is not closed")
    return [block for block in found if block.language in LANGUAGES]
