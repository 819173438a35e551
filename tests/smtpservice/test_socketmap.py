"""Postfix asks for its tables: what each map answers, to its own postmap too, and requests that are none."""

import asyncio
import contextlib
import subprocess
from collections.abc import Awaitable, Callable

import pytest

from accounts.models import Domain, Mailbox
from accounts.services import create_alias, set_forwarding
from mailplatform.bridge import Bridge
from smtpservice.socketmap import REQUEST_OCTETS, AddressTables
from tests.smtpservice.local import make_mailbox
from tests.smtpservice.serving import PATIENCE, run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def addresses() -> None:
    for name in ("jules", "alfred", "gone"):
        make_mailbox(f"{name}@maison.mrs")
    domain = Domain.objects.get()
    create_alias(domain=domain, local_part="team", targets="jules@maison.mrs\nX@elsewhere.org")
    create_alias(domain=domain, local_part="shop-*", targets="jules+*@maison.mrs")
    set_forwarding(mailbox=Mailbox.objects.get(local_part="alfred"), forward_to="a@elsewhere.org")
    Mailbox.objects.filter(local_part="gone").update(is_active=False)


def served(use: Callable[[AddressTables, int], Awaitable[None]]) -> None:
    """Serve the tables on a port meanwhile."""

    async def main() -> None:
        bridge = Bridge(threads=1)
        tables = AddressTables(bridge)
        server = await asyncio.get_running_loop().create_server(tables.connected, "127.0.0.1", 0)
        try:
            await use(tables, server.sockets[0].getsockname()[1])
        finally:
            server.close()
            tables.close()
            await bridge.close()

    run(main())


ANSWERS = {
    "domains maison.mrs": "OK maison.mrs",
    "domains MAISON.mrs": "OK MAISON.mrs",
    "domains elsewhere.org": "NOTFOUND ",
    "mailboxes Jules@maison.mrs": "OK jules@maison.mrs",
    "mailboxes gone@maison.mrs": "NOTFOUND ",
    "mailboxes team@maison.mrs": "NOTFOUND ",
    "aliases team@maison.mrs": "OK jules@maison.mrs,X@elsewhere.org",
    "aliases shop-a@maison.mrs": "OK jules@maison.mrs",
    "aliases jules+x@maison.mrs": "OK jules@maison.mrs",
    "aliases alfred@maison.mrs": "OK alfred@maison.mrs,a@elsewhere.org",
    "aliases jules@maison.mrs": "NOTFOUND ",
    "aliases gone@maison.mrs": "NOTFOUND ",
    "aliases x@elsewhere.org": "NOTFOUND ",
    "aliases @maison.mrs": "NOTFOUND ",
    "aliases jules": "NOTFOUND ",
    "aliases": "NOTFOUND ",
    "nothing x": "PERM no such map",
    "": "PERM no such map",
}


def test_what_each_map_answers_on_one_connection() -> None:
    async def use(tables: AddressTables, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(PATIENCE):
            for request, expected in ANSWERS.items():
                writer.write(b"%d:%s," % (len(request), request.encode()))
                assert await reader.readexactly(len(expected) + len(str(len(expected))) + 2) == (
                    f"{len(expected)}:{expected},".encode()
                )
        writer.close()

    served(use)


@pytest.mark.parametrize(
    "request_", [b"GET / HTTP/1.1\r\n\r\n:", b"-1:", b":,", b"5:abcde.", b"99999:", b"x" * 10 * REQUEST_OCTETS]
)
def test_a_request_that_is_none_ends_the_connection(request_: bytes) -> None:
    async def use(tables: AddressTables, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_)
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()

    served(use)


def test_a_database_that_is_away_is_temporary(caplog: pytest.LogCaptureFixture) -> None:
    async def use(tables: AddressTables, port: int) -> None:
        await tables._bridge.close()
        assert await tables.answer("domains maison.mrs") == "TEMP the database does not answer"
        assert "was not looked up" in caplog.text

    served(use)


def test_postfix_itself_asks(require_program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/bin")
    postmap = require_program("postmap")

    async def use(tables: AddressTables, port: int) -> None:
        def asked(name: str, key: str) -> str:
            command = [postmap, "-q", key, f"socketmap:inet:127.0.0.1:{port}:{name}"]
            return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()

        assert await asyncio.to_thread(asked, "domains", "maison.mrs") == "maison.mrs"
        assert await asyncio.to_thread(asked, "mailboxes", "jules@maison.mrs") == "jules@maison.mrs"
        assert await asyncio.to_thread(asked, "aliases", "team@maison.mrs") == "jules@maison.mrs,X@elsewhere.org"
        assert await asyncio.to_thread(asked, "aliases", "nobody@maison.mrs") == ""

    served(use)
