"""The load generator (benchmarks.load) from outside: one process of it on each processor that it gets."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.load import CLIENTS
from benchmarks.servers import ROOT, Server

#: Seconds for its warm-up, and for the last sessions to end.
_BESIDES = 120


@dataclass(frozen=True)
class Load:
    """How many a second; processors that the server used; the share of its core that the busiest of the load used, and
    that on average nobody used of the load's cores."""

    rate: float
    server_busy: float
    client_busy: float
    idle: float


def generate(
    server: Server, scenario: str, *, seconds: float, cores: Sequence[int], tls: bool = False, clients: int = CLIENTS
) -> Load:
    """One measurement. The parts start together when all of them are warm. Raises CalledProcessError."""
    cores = cores[:clients]
    command = [sys.executable, "-m", "benchmarks.load", "--port", str(server.tls_port if tls else server.port)]
    command += [
        "--scenario",
        scenario,
        "--seconds",
        str(seconds),
        "--clients",
        str(clients),
        *(["--tls"] if tls else []),
    ]
    pipes: dict[str, Any] = {"cwd": ROOT, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        parts = []
        for number, core in enumerate(cores):
            mine = ["--core", str(core), "--part", f"{number}/{len(cores)}", "--server", *map(str, server.processes)]
            parts.append(stack.enter_context(subprocess.Popen([*command, *mine], **pipes)))
            stack.callback(parts[-1].kill)  # one that failed takes the others along
        results = [json.loads(said) for said in _outputs(parts, seconds + _BESIDES)]
    return Load(
        rate=sum(each["rate"] for each in results),
        server_busy=sum(each["server_busy"] for each in results) / len(results),
        client_busy=max(each["client_busy"] for each in results),
        idle=sum(each["idle"] for each in results) / len(results),
    )


def _outputs(parts: "list[subprocess.Popen[str]]", seconds: float) -> list[str]:
    """Let all begin as soon as the last is warm; what each of them prints at its end."""
    for part in parts:
        if part.stdout is not None:
            part.stdout.readline()
    for part in parts:
        if part.stdin is not None and part.poll() is None:
            part.stdin.write("begin\n")
            part.stdin.flush()
    said = []
    for part in parts:
        output, _ = part.communicate(timeout=seconds)
        if part.returncode:
            raise subprocess.CalledProcessError(part.returncode, part.args)
        said.append(output)
    return said
