"""What README.md and the pages of docs/ tell a reader to type: blocks, command lines, snippets."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from tests.conftest import ROOT

PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
INLINE = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
# Words that begin something to be typed into a shell.
SHELL = r"(?:\w+=\S+ )*(?:python |make |gradtune |tuner\.(?:run|measure) |results [a-z]+ )"


@dataclass(frozen=True)
class Block:
    """Lines that stand apart from the prose; kind is the fence's language, or nothing."""

    page: str
    line: int
    kind: str
    text: str


def blocks() -> list[Block]:
    """Every fenced and every indented block, dedented."""
    return [block for page in PAGES for block in _blocks(page, (ROOT / page).read_text())]


def _blocks(page: str, text: str) -> list[Block]:
    made: list[Block] = []
    lines, number, before = text.splitlines(), 0, ""
    while number < len(lines):
        line, start = lines[number], number
        if line.startswith("```"):
            number += 1
            while not lines[number].startswith("```"):
                number += 1
            inside = lines[start + 1 : number]
            made.append(Block(page, start + 1, line[3:].strip(), "\n".join(inside)))
            number += 1
        elif line.startswith("    ") and not before.strip():
            while number < len(lines) and (lines[number].startswith("    ")):
                number += 1
            inside = lines[start:number]
            made.append(Block(page, start + 1, "", textwrap.dedent("\n".join(inside))))
        else:
            number += 1
        before = lines[number - 1]
    return made


def shell_lines(text: str) -> list[str]:
    """The command lines of a block: continued lines joined, prompts and comments left out."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [re.sub(r"\s{2,}#.*$", "", line.removeprefix("$ ")) for line in joined.splitlines()]
    return [line.strip() for line in lines if re.match(SHELL, line)]


def inline_commands() -> list[str]:
    """Commands that stand in the prose and in tables, between backticks."""
    commands = []
    for page in PAGES:
        prose = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.S | re.M)
        for text in INLINE.findall(prose):
            command = " ".join(text.split())
            if re.match(SHELL, command):
                commands.append(command)
    return commands


def commands() -> list[str]:
    """All command lines of the pages, each once."""
    lines = [
        line for block in blocks() if block.kind != "python" for line in shell_lines(block.text)
    ]
    return list(dict.fromkeys([*lines, *inline_commands()]))
