"""`make conformance`: the conformance tests against our real server and against Dovecot, side by side in a document.

docs/conformance.md is written anew. A failure of ours, or one of Dovecot's that tests.conformance.dovecot does not
explain, is said at the end, and the exit code is 1.
"""

import ast
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import trustme

from tests.conformance import dovecot
from tests.dovecot import is_installed, version
from tests.e2e.running import ROOT, Platform

LOGIN, PASSWORD = "jules@maison.mrs", "correct  horse"
HERE = Path(__file__).parent
DOCUMENT = ROOT / "docs" / "conformance.md"
#: File of tests -> the heading of its table, and the RFC that its tests mean where they name none.
FILES = {
    "test_rfc1939": ("RFC 1939: POP3", "RFC 1939"),
    "test_rfc2449": ("RFC 2449 and RFC 3206: capabilities, response codes", "RFC 2449"),
    "test_tls": ("TLS", ""),
    "test_rfc5034": ("RFC 5034: AUTH", "RFC 5034"),
    "test_rfc6856": ("RFC 6856: UTF-8 and languages", "RFC 6856"),
}


@dataclass
class Requirement:
    """A test: what it shows, and what came of it."""

    name: str
    section: str
    text: str
    #: Server -> the error's text, or nothing where it passed.
    outcome: dict[str, str] = field(default_factory=dict)


def requirements(file: str) -> list[Requirement]:
    """The tests of a file, by the first line of their docstrings: section, colon, what is required."""
    found = []
    tree = ast.parse((HERE / f"{file}.py").read_text(encoding="utf-8"))
    for outer in tree.body:
        inside = outer.body if isinstance(outer, ast.ClassDef) else []
        for node in inside:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                section, _, text = (ast.get_docstring(node) or "").partition(": ")
                assert text, f"{node.name} does not say what is required"
                rfc = FILES[file][1]
                whole = section if section.startswith("RFC") else f"{rfc}, {section}"
                found.append(Requirement(f"{file}.{outer.name}.{node.name}", whole, text))
    return found


def run(server: str, listed: list[Requirement], folder: Path, *options: str) -> None:
    """Run all tests against a server, and note what came of each."""
    report = folder / f"{server}.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "--tb=line", f"--junitxml={report}", str(HERE), *options]
    subprocess.run(command, cwd=ROOT, check=False)
    by_name = {each.name: each for each in listed}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it a moment ago
        name = f"{case.get('classname', '')}.{case.get('name', '')}".removeprefix("tests.conformance.").partition("[")[
            0
        ]
        wrong = [each.get("message") or each.tag for each in case if each.tag in ("failure", "error", "skipped")]
        by_name[name].outcome[server] = by_name[name].outcome.get(server, "") or " ".join(wrong)


def ours(listed: list[Requirement], folder: Path, certificates: dict[str, Path]) -> None:
    platform = Platform(folder, f"sqlite:///{folder}/mail.sqlite3", **certificates)
    try:
        platform.manage("migrate", "--verbosity", "0")
        name, _, domain = LOGIN.partition("@")
        platform.manage("adddomain", domain)
        platform.add_account(name, domain, password=PASSWORD)
        ports = platform.start_pop3().ports
        environment = [
            f"{key}={value}" for key, value in platform.environment().items() if key in ("DATABASE_URL", "VAR_DIR")
        ]
        load = shlex.join(["env", *environment, sys.executable, "manage.py", "importmail", LOGIN, "-"])
        run("Mailplatform", listed, folder, *options(ports, certificates, load))
    finally:
        platform.stop()


def theirs(listed: list[Requirement], folder: Path, certificates: dict[str, Path]) -> None:
    files = {name: certificates[name] for name in ("certfile", "keyfile")}
    with dovecot.running(folder, **files, login=LOGIN, password=PASSWORD) as ports:
        run("Dovecot", listed, folder, *options(ports, certificates, f"maildir:{folder}/mail"))


def options(ports: dict[str, int], certificates: dict[str, Path], load: str) -> list[str]:
    server = ["--pop3", f"127.0.0.1:{ports['plain']}", "--pop3-tls", f"127.0.0.1:{ports['tls']}"]
    account = ["--pop3-user", LOGIN, "--pop3-password", PASSWORD, "--pop3-ca", str(certificates["authority"])]
    return [*server, *account, "--pop3-load", load]


def main() -> int:
    if not is_installed():
        print("Dovecot is not installed. On Debian: apt install dovecot-pop3d")
        return 1
    tables = {file: requirements(file) for file in FILES if (HERE / f"{file}.py").exists()}
    listed = [each for rows in tables.values() for each in rows]
    with tempfile.TemporaryDirectory(prefix="mailplatform-conformance-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        certificates = make_certificates(folder)
        for server, go in (("ours", ours), ("dovecot", theirs)):
            (folder / server).mkdir()
            go(listed, folder / server, certificates)
    DOCUMENT.write_text(document(tables), encoding="utf-8")
    wrong = unexplained(listed)
    print("\n".join(wrong))
    return int(bool(wrong))


def unexplained(listed: list[Requirement]) -> list[str]:
    """What fails and should not, and what passes and should not."""
    wrong = []
    for each in listed:
        if each.outcome["Mailplatform"]:
            wrong.append(f"Ours fails {each.name}: {each.outcome['Mailplatform']}")
        if bool(each.outcome["Dovecot"]) != (each.name in dovecot.WHY):
            wrong.append(f"Dovecot, see WHY: {each.name}: {each.outcome['Dovecot'] or 'passes'}")
    return wrong


def document(tables: dict[str, list[Requirement]]) -> str:
    """docs/conformance.md."""
    listed = [each for rows in tables.values() for each in rows]
    passed = {server: sum(not each.outcome[server] for each in listed) for server in ("Mailplatform", "Dovecot")}
    parts = [_HEAD.format(count=len(listed), version=version(), **passed)]
    for file, rows in tables.items():
        parts.append(f"\n## {FILES[file][0]}\n\n| Section | Required | Mailplatform | Dovecot |\n|---|---|---|---|\n")
        parts += [
            f"| {each.section} | {each.text} | {verdict(each, 'Mailplatform')} | {verdict(each, 'Dovecot')} |\n"
            for each in rows
        ]
    return "".join(parts)


def verdict(requirement: Requirement, server: str) -> str:
    if not requirement.outcome[server]:
        return "yes"
    return f"no: {dovecot.WHY.get(requirement.name, '?')}" if server == "Dovecot" else "no"


_HEAD = """# Conformance

What a POP3 server has to do, one requirement a row, each with its section of the RFCs. Each row is a test in
`tests/conformance`, which speaks to a server by a raw socket and knows nothing of it but host, ports, an account and a
way to load mail. `make conformance` (`apt install dovecot-pop3d`) writes this page: it runs the tests against our server
and against Dovecot {version} from Debian's packages, whose lock and SCRAM are switched on for it.

Of {count} requirements, Mailplatform meets {Mailplatform} and Dovecot {Dovecot}.

Any other server can be held against them. Its account's mailbox is emptied again and again:

```
.venv/bin/python -m pytest tests/conformance --pop3 HOST:110 --pop3-tls HOST:995 \\
    --pop3-user NAME --pop3-password 'two  blanks' --pop3-load HOW
```

HOW is `lmtp://HOST:PORT/ADDRESS`, `maildir:FOLDER` or a command that takes a message on its standard input;
`--pop3-ca FILE` and `--pop3-name HOST` are for a certificate that the system does not trust. Without these options the
tests are part of `make test`, against ours.
"""


def make_certificates(folder: Path) -> dict[str, Path]:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", common_name="localhost")
    paths = {name: folder / f"{name}.pem" for name in ("certfile", "keyfile", "authority")}
    issued.cert_chain_pems[0].write_to_path(str(paths["certfile"]))
    issued.private_key_pem.write_to_path(str(paths["keyfile"]))
    paths["keyfile"].chmod(0o644)  # of a server that lives for minutes and may be another user's
    authority.cert_pem.write_to_path(str(paths["authority"]))
    return paths


if __name__ == "__main__":
    sys.exit(main())
