"""The documents say what is true: settings, checks, commands, links, tests, tables and dependencies that they name."""

import argparse
import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import get_commands, load_command_class

from tests import markdown
from tests.conformance.__main__ import FILES
from tests.conformance.__main__ import requirements as requirements_of
from tests.markdown import ROOT, read

APPS = ("mailplatform", "accounts", "mailstore", "collecting", "smtpservice", "pop3service", "portal")


# --- docs/settings.md -----------------------------------------------------------------------------------------


def settings_in_code() -> dict[str, ast.expr | None]:
    """What settings.py reads from the environment, with the expression of its default."""
    found: dict[str, ast.expr | None] = {}
    for node in ast.walk(ast.parse(read("mailplatform/settings.py"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            reads = isinstance(node.func.value, ast.Name) and node.func.value.id == "env"
            if reads and node.args and isinstance(node.args[0], ast.Constant):
                default = node.args[1] if len(node.args) > 1 else None
                keyword = next((each.value for each in node.keywords if each.arg == "default"), default)
                found[node.args[0].value] = keyword
    return found


def settings_in_docs() -> dict[str, str]:
    """Setting -> what the document says its default is."""
    rows = markdown.rows_of(read("docs/settings.md"), "Setting")
    assert len({name for name, _, _ in rows}) == len(rows)
    return {markdown.codes(name)[0]: default for name, default, _ in rows}


def test_every_setting_is_documented_and_no_other() -> None:
    assert sorted(settings_in_docs()) == sorted(settings_in_code())


def written(default: ast.expr | None) -> str | None:
    """A default as one would write it in the environment; None where it is not a plain value."""
    match default:
        case ast.Constant(value=bool(value)):
            return str(int(value))
        case ast.Constant(value=value):
            return str(value)
        case ast.List(elts=elements):
            return ",".join(written(element) or "" for element in elements)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return str(int(written(left) or 0) * int(written(right) or 0))
    return None


def test_the_defaults_are_those_of_the_code() -> None:
    documented, compared = settings_in_docs(), 0
    for name, default in settings_in_code().items():
        if value := written(default):
            assert markdown.codes(documented[name])[:1] == [value], name
            compared += 1
    assert compared > 15


def test_settings_are_read_nowhere_else() -> None:
    readers = re.compile(r"os\.environ(\.get\(|\[)|os\.getenv|environ\.Env")
    allowed = {"mailplatform/settings.py"}
    for path in product_files():
        text = path.read_text(encoding="utf-8")
        # rundemo hands the environment on to the processes that it starts, with a PATH
        others = [found for found in readers.finditer(text) if "PATH" not in text[found.start() : found.end() + 10]]
        assert not others or path.relative_to(ROOT).as_posix() in allowed, path


def test_every_system_check_is_documented_with_its_remedy() -> None:
    used = {found for path in product_files() for found in re.findall(r'id="(mailplatform\.\w+)"', path.read_text())}
    rows = markdown.rows_of(read("docs/settings.md"), "Id")
    assert sorted(markdown.codes(row[0])[0] for row in rows) == sorted(used)
    assert all(cell for row in rows for cell in row)


@pytest.mark.parametrize("name", [".env.example", "deploy/env.example", "docs/settings.md"])
def test_examples_set_what_exists(name: str) -> None:
    text = read(name) if not name.endswith(".md") else markdown.blocks(read(name))[0].text
    names = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE))
    assert names
    assert names - {"POSTGRES_PASSWORD"} <= set(settings_in_code())


def test_compose_sets_what_exists() -> None:
    names = set(re.findall(r"^    ([A-Z][A-Z0-9_]+): ", read("compose.yaml"), re.MULTILINE))
    assert names
    assert names <= set(settings_in_code())


# --- Commands -------------------------------------------------------------------------------------------------


def typed() -> Iterator[tuple[str, str]]:
    """Every command line of every document, with the document's name."""
    for path in markdown.documents():
        for line in markdown.commands(path.read_text(encoding="utf-8")):
            yield path.name, line


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^(\w+):", read("Makefile"), re.MULTILINE))
    named = {found for _, line in typed() for found in re.findall(r"^(?:\w+=\S+ )*make (\w+)", line)}
    for path in markdown.documents():
        for code in markdown.codes(markdown.without_blocks(path.read_text(encoding="utf-8"))):
            named |= set(re.findall(r"^make (\w+)", code))
    assert {"run", "test", "bench"} <= named <= targets


def managed() -> list[tuple[str, str]]:
    """Command of manage.py and its arguments, wherever a document has one typed."""
    by_name = re.compile(r"(?:manage\.py|^(?:printf .* \| )?mailplatform|run --rm web) ([a-z]\w+)(.*)")
    return [found.groups() for _, line in typed() if (found := by_name.search(line))]


@pytest.mark.parametrize(("name", "arguments"), sorted(set(managed())))
def test_every_command_and_its_options_exist(name: str, arguments: str) -> None:
    known = get_commands()
    assert name in known
    module = known[name]
    command = load_command_class(module, name) if isinstance(module, str) else module
    parser: argparse.ArgumentParser = command.create_parser("manage.py", name)
    options = {option for action in parser._actions for option in action.option_strings}
    for word in shlex.split(arguments.partition("|")[0].partition("<")[0]):
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in options


def test_some_commands_were_found() -> None:
    assert {"adddomain", "addaccount", "importmail", "exportmail", "migrate"} <= {name for name, _ in managed()}


# --- Links ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", markdown.documents(), ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in markdown.links(path.read_text(encoding="utf-8")):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in markdown.anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("path", [*markdown.documents(), ROOT / ".ci/run"], ids=lambda path: path.name)
def test_every_file_of_the_project_that_is_named_exists(path: Path) -> None:
    folders = "|".join([*APPS, "tests", "docs", "deploy", "benchmarks"])
    for code in markdown.codes(markdown.without_blocks(path.read_text(encoding="utf-8"))):
        if re.fullmatch(rf"(?:{folders})/[\w./-]*", code):
            assert (ROOT / code).exists() or (ROOT / "tests" / code.partition("::")[0]).exists(), code


def test_what_to_look_for_in_the_log_is_what_is_logged() -> None:
    product = "".join(path.read_text(encoding="utf-8") for path in product_files())
    rows = markdown.rows_of(read("docs/operations.md"), "Look for")
    words = [words for row in rows for code in markdown.codes(row[0]) for words in re.split(r"\.\.\.|: ", code)]
    assert len(words) > 8
    for each in map(str.strip, words):
        known = each in product or (ROOT / f"{each.replace('.', '/')}.py").exists() or each == "250 2.0.0"
        assert known or not each or (ROOT / each.replace(".", "/")).is_dir(), each


def test_images_are_small() -> None:
    for path in (ROOT / "docs/images").iterdir():
        assert path.stat().st_size < 150_000, path


# --- Tests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", ["docs/rfc.md", "docs/design.md", "docs/performance.md"])
def test_every_test_that_is_named_exists(document: str) -> None:
    named = [code for code in markdown.codes(read(document)) if re.match(r"(tests/)?\w+/test_\w+\.py", code)]
    for code in named:
        name, _, test = code.removeprefix("tests/").partition("::")
        assert (ROOT / "tests" / name).is_file(), code
        assert not test or test in markdown.names_in(ROOT / "tests" / name), code
    assert named or document != "docs/rfc.md"


def test_what_is_done_of_an_rfc_has_a_place_and_a_test() -> None:
    counted = 0
    for head, rows in markdown.tables(read("docs/rfc.md")):
        assert head[1:] == ["What", "Done", "Where", "Test"]
        for row in rows:
            done = not row[2].startswith("No")
            counted += done
            assert not done or (row[3] and markdown.codes(row[4])), row
    assert counted > 40


def test_every_requirement_of_the_conformance_tests_is_shown_and_ours_are_met() -> None:
    shown = [(row[0], row[1]) for _, rows in markdown.tables(read("docs/conformance.md")) for row in rows]
    tested = [(each.section, each.text) for file in FILES for each in requirements_of(file)]
    assert shown == tested
    assert {row[2] for _, rows in markdown.tables(read("docs/conformance.md")) for row in rows} == {"yes"}


# --- docs/design.md -------------------------------------------------------------------------------------------


def requirements(name: str) -> set[str]:
    return {found.lower() for found in re.findall(r"^([\w-]+)[\[=]", read(name), re.MULTILINE)}


def test_every_dependency_has_its_reason() -> None:
    rows = markdown.rows_of(read("docs/design.md"), "Package")
    reasons = {name.lower(): reason for name, reason in rows}
    assert sorted(reasons) == sorted(requirements("requirements.txt") | requirements("requirements-dev.txt"))
    assert all(reasons.values())


def test_every_table_of_the_database_and_its_named_rules_are_described() -> None:
    described = {markdown.codes(row[0])[0]: row[-1] for row in markdown.rows_of(read("docs/design.md"), "Table")}
    models = [model for app in APPS for model in apps.get_app_config(app).get_models()]
    assert sorted(described) == sorted(model._meta.db_table for model in models)
    for model in models:
        rules = {rule.name for rule in model._meta.constraints}
        assert rules <= set(markdown.codes(described[model._meta.db_table])), model._meta.db_table


# --- README.md and its sisters --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", markdown.documents(), ids=lambda path: path.name)
def test_no_table_is_broken_off(path: Path) -> None:
    """Rows without a head, which an empty line makes of a table's end, are shown as text."""
    for part in re.findall(r"(?:^\|.*\n)+", markdown.without_blocks(path.read_text(encoding="utf-8")), re.MULTILINE):
        assert re.match(r"\|.*\|\n\|(?: ?:?-+:? ?\|)+\n", part), part


@pytest.mark.parametrize("path", markdown.documents(), ids=lambda path: path.name)
def test_python_in_documents_compiles(path: Path) -> None:
    for block in markdown.blocks(path.read_text(encoding="utf-8")):
        if block.language == "python":
            compile(block.text, str(path), "exec")


def test_the_pages_for_owners_say_the_same_in_both_languages() -> None:
    english, french = read("docs/users.md"), read("docs/users.fr.md")

    def shape(text: str) -> list[Any]:
        return [[len(row) for row in rows] for _, rows in markdown.tables(text)]

    assert shape(english) == shape(french)
    assert len(re.findall(r"^##", english, re.MULTILINE)) == len(re.findall(r"^##", french, re.MULTILINE))
    for code in (r"\[[A-Z/-]+\]", r"\*\*\d+\*\*", r"\b\d+ (?:days|jours)\b"):
        assert [re.sub(r"\D*$", "", each) for each in re.findall(code, english)] == [
            re.sub(r"\D*$", "", each) for each in re.findall(code, french)
        ]


def product_files() -> list[Path]:
    return [path for app in APPS for path in sorted((ROOT / app).rglob("*.py")) if "migrations" not in path.parts]
