"""The shape of the code: sizes, docstrings, a test module for each module of the heart, nothing of one machine."""

import ast
import re
from pathlib import Path

import pytest

from tests.markdown import ROOT

PRODUCT = ("mailplatform", "accounts", "mailstore", "collecting", "smtpservice", "pop3service", "portal")
#: "About 400" and "about 40": what is a little longer passes, what is much longer is two things.
FILE_LINES = 420
FUNCTION_LINES = 45


def python_files(*folders: str) -> list[Path]:
    return [
        path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")) if "migrations" not in path.parts
    ]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", python_files(*PRODUCT, "benchmarks", "deploy"), ids=named)
def test_files_and_functions_are_short_and_say_what_they_are_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= FILE_LINES
    assert not tree.body or ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES, node.name


@pytest.mark.parametrize("app", ["mailstore", "collecting", "pop3service", "smtpservice"])
def test_each_module_has_its_test_module(app: str) -> None:
    modules = {path.stem for path in (ROOT / app).glob("*.py")} - {"__init__", "apps"}
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / app).glob("test_*.py")}
    assert modules - tested == set()


def test_tests_say_what_they_are_for() -> None:
    for path in python_files("tests"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not tree.body or ast.get_docstring(tree), path


def test_nothing_is_left_for_later() -> None:
    # Written apart, so that this file is none of those it looks for.
    marks = ["TO" + "DO", "FIX" + "ME", "xfail" + "(", "pragma: " + "no cover"]
    for path in python_files(*PRODUCT, "tests", "benchmarks", "deploy"):
        text = path.read_text(encoding="utf-8")
        assert [mark for mark in marks if mark in text] == [], path


def test_no_path_of_one_machine() -> None:
    machine = re.compile(r"(?<![\w.])/(?:work|root|home)/(?!marie/)\w")
    ours = [ROOT / name for name in (*PRODUCT, "tests", "benchmarks", "deploy", "docs", ".ci")]
    files = [path for folder in ours for path in folder.rglob("*") if path.suffix not in {".pyc", ".png", ".mo"}]
    files += [path for path in ROOT.iterdir() if path.suffix in {".md", ".txt", ".toml", ".yaml"}]
    files += [ROOT / name for name in ("Makefile", "Procfile", "Dockerfile", ".env.example")]
    for path in files:
        if path.is_file():
            found = machine.search(path.read_text(encoding="utf-8", errors="replace"))
            assert found is None, f"{path}: {found and found[0]}"
