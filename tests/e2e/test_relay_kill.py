"""`kill -9` of all workers of smtpserve while they take mail in and send it: some rounds of tests/e2e/soak_relay.py."""

from collections.abc import Iterator

import pytest

from tests.e2e.relay_kill import HERE, Sink, kill_rounds, start
from tests.e2e.running import PASSWORD, Platform

ROUNDS = 8
SECONDS = 60.0


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink().running() as made:
        yield made


def test_nothing_is_lost_and_nothing_comes_twice_but_what_was_not_written_down(platform: Platform, sink: Sink) -> None:
    make = f"from accounts.services import *; create_domain(name={HERE!r}); create_account(username='jules', password={PASSWORD!r})"
    platform.manage("shell", "-c", make)
    server = start(platform, sink)
    outcome = kill_rounds(platform, server, sink, ROUNDS, "suite", SECONDS)
    assert outcome.kills > 0
    assert server.stop() == 0
