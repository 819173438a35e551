"""Reading the project's documents: tables, blocks, links, headings, and the names of tests that they give."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: the language it says it is in, and its text."""

    language: str
    text: str


def documents() -> list[Path]:
    """Every document of the project."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """The fenced blocks, those within lists too."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE)
    return [
        Block(language, "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True)))
        for indent, language, body in found
    ]


def without_blocks(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The tables: their head, and their rows of cells."""
    for part in re.findall(r"(?:^\|.*\n)+", without_blocks(text), re.MULTILINE):
        head, _, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in part.splitlines()]
        yield head, rows


def rows_of(text: str, head: str) -> list[list[str]]:
    """The rows of every table whose first column is called `head`."""
    return [row for columns, rows in tables(text) if columns[0] == head for row in rows]


def codes(text: str) -> list[str]:
    """What stands between single backticks."""
    return _CODE.findall(text)


def links(text: str) -> list[str]:
    return _LINK.findall(without_blocks(text))


def anchors(text: str) -> set[str]:
    """What a link into a document can name: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text: str) -> Iterator[str]:
    """The command lines that a reader is told to type: lines of blocks without a language, or behind a $."""
    for block in blocks(text):
        joined = block.text.replace("\\\n", " ")
        for line in joined.splitlines():
            if block.language == "console" and line.startswith("$ "):
                yield line[2:]
            elif block.language == "" and not line.startswith("#"):
                yield line


def names_in(path: Path) -> set[str]:
    """The names under which a test file's tests are known: test, Class, Class::test."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {node.name} | {f"{node.name}::{each.name}" for each in node.body if hasattr(each, "name")}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return found
