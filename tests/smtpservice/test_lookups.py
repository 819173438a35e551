"""Questions to the DNS: answers, names that are not there, silence, and an end to how long it all takes."""

import asyncio

import pytest

from smtpservice.lookups import Lookups, UnansweredError
from tests.smtpservice.relay.names import NameServer
from tests.smtpservice.serving import run

RECORDS = {"x.org TXT": ['"one " "and two"', '"three"'], "x.org A": ["192.0.2.1"]}


def test_answers_are_remembered_and_what_is_not_there_is_an_answer() -> None:
    async def main() -> None:
        async with NameServer(records=RECORDS).serving() as server:
            lookups = Lookups([server.address], 20)

            def use() -> None:
                for _ in range(2):
                    assert sorted(lookups.texts("X.org.")) == [b"one and two", b"three"]
                    assert lookups.records("x.org", "MX") == []
                    assert lookups.records("nobody.org", "A") == []
                for name in ("", "a..b", "x" * 64 + ".org", "é" * 80, ".".join(["x" * 60] * 6)):
                    assert lookups.texts(name) == []

            await asyncio.to_thread(use)
            assert [asked for asked in server.asked if asked.startswith("x.org")] == ["x.org TXT", "x.org MX"]

    run(main())


def test_a_failure_of_the_server_is_no_answer() -> None:
    async def main() -> None:
        async with NameServer(records=RECORDS, away={"x.org"}).serving() as server:
            with pytest.raises(UnansweredError):
                await asyncio.to_thread(Lookups([server.address], 20).texts, "x.org")

    run(main())


def test_silence_is_no_answer_and_has_an_end() -> None:
    async def main() -> None:
        async with NameServer(silent=True).serving() as server:
            with pytest.raises(UnansweredError):
                await asyncio.to_thread(Lookups([server.address], 0.05).texts, "x.org")

    run(main())


def test_when_the_time_is_over_nothing_more_is_asked() -> None:
    async def main() -> None:
        now = [0.0]
        async with NameServer(records=RECORDS).serving() as server:
            lookups = Lookups([server.address], 20, clock=lambda: now[0])
            await asyncio.to_thread(lookups.texts, "x.org")
            now[0] = 20.0
            assert len(lookups.texts("x.org")) == 2  # that is known
            with pytest.raises(UnansweredError):
                lookups.records("x.org", "A")
            assert len(server.asked) == 1

    run(main())
