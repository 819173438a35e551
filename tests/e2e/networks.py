"""Hosts with addresses of their own: network namespaces where this machine lets us make them, else loopback addresses.

A namespace has its own interfaces and ports, so each host serves port 25. Its processes are started with `ip netns
exec`; code of the tests goes into one with a thread of its own.
"""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_NEWNET = 0x40000000  # CLONE_NEWNET of sched.h, for setns(2)


class Network(ABC):
    """Some hosts that reach one another, and a name server's place among them."""

    #: How it is made, for the report.
    kind: str
    #: Where names are asked for.
    name_server: str
    #: The ports that each host serves.
    ports: dict[str, int]
    has_ipv6: bool

    @abstractmethod
    def addresses(self, host: str) -> list[str]:
        """Of a host, IPv4 first."""

    @abstractmethod
    def prefix(self, host: str) -> tuple[str, ...]:
        """What runs a command on a host."""

    @abstractmethod
    def on(self, host: str, function: Callable[[], T]) -> T:
        """What a function answers that runs on a host."""


class Namespaces(Network):
    """A network namespace for each host, and one with the bridge that they are connected to."""

    kind = "network namespaces"
    name_server = "10.77.0.53"
    ports = {"smtp": 25, "submission": 587, "pop3": 110, "pop3s": 995}
    has_ipv6 = True

    def __init__(self, hosts: list[str]) -> None:
        self._names = {host: f"mailplatform-{os.getpid()}-{host}" for host in [*hosts, "switch"]}
        self._numbers = {host: number for number, host in enumerate(hosts, 1)}

    def open(self) -> None:
        for host in self._names:
            _ip("netns", "add", self._names[host])
            _ip("-n", self._names[host], "link", "set", "lo", "up")
        switch = self._names["switch"]
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "addr", "add", f"{self.name_server}/24", "dev", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for host, number in self._numbers.items():
            there = self._names[host]
            _ip("-n", switch, "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns", there)
            _ip("-n", switch, "link", "set", f"to{number}", "master", "bridge", "up")
            for address in self.addresses(host):
                length = ("64", "nodad") if ":" in address else ("24",)
                _ip("-n", there, "addr", "add", f"{address}/{length[0]}", "dev", "eth0", *length[1:])
            _ip("-n", there, "link", "set", "eth0", "up")

    def close(self) -> None:
        for name in self._names.values():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    def addresses(self, host: str) -> list[str]:
        return [f"10.77.0.{self._numbers[host]}", f"fd77::{self._numbers[host]}"]

    def prefix(self, host: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self._names[host])

    def on(self, host: str, function: Callable[[], T]) -> T:
        answer: Future[T] = Future()

        def run() -> None:
            try:
                with Path(f"/run/netns/{self._names[host]}").open() as namespace:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                answer.set_result(function())
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return answer.result()


class Loopback(Network):
    """An address of 127.0.0.0/8 for each host, and ports that all of them have free."""

    kind = "loopback addresses"
    has_ipv6 = False

    def __init__(self, hosts: list[str]) -> None:
        self._numbers = {host: number for number, host in enumerate(hosts, 1)}
        self.ports = {name: _free_on_all(len(hosts)) for name in Namespaces.ports}
        self.name_server = f"127.0.77.53#{_free_on_all(1)}"

    def addresses(self, host: str) -> list[str]:
        return [f"127.0.77.{self._numbers[host]}"]

    def prefix(self, host: str) -> tuple[str, ...]:
        return ()

    def on(self, host: str, function: Callable[[], T]) -> T:
        return function()


@contextlib.contextmanager
def network(*hosts: str) -> Iterator[Network]:
    """Hosts with these names that reach one another."""
    namespaces = Namespaces(list(hosts))
    try:
        try:
            if shutil.which("ip") is None:
                raise PermissionError("the program ip is not installed")
            namespaces.open()
        except (PermissionError, subprocess.CalledProcessError) as error:
            print(f"No network namespaces here ({error}): the hosts are loopback addresses.", flush=True)
            yield Loopback(list(hosts))
        else:
            yield namespaces
    finally:
        namespaces.close()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _free_on_all(hosts: int) -> int:
    """A port that is free on the first so many addresses."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            port = 0
            for number in range(1, hosts + 1):
                listener = stack.enter_context(socket.socket())
                listener.bind((f"127.0.77.{number}", port))
                port = listener.getsockname()[1]
            return port
