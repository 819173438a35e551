"""A claim is carried out: host after host, message after message, and every recipient has an outcome in the end."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import uuid4

import pytest

from smtpservice.relay import sending
from smtpservice.relay.claims import Claim, ClaimedMessage, ClaimedRecipient
from smtpservice.relay.destinations import Attempt
from smtpservice.relay.outcomes import Outcome, PeerReply
from smtpservice.relay.peer import Peer
from smtpservice.relay.routes import RouteError
from smtpservice.relay.sending import carry_out
from tests.smtpservice.relay.peers import DROP, ScriptedPeer
from tests.smtpservice.relay.relaying import HOST, SHORT, run

GONE = RouteError(PeerReply(550, "5.1.2", "no such domain"))
AWAY = RouteError(PeerReply(451, "4.4.3", "the DNS is away"))
REFUSED = {"greeting": "554 5.7.1 not you"}


def message(number: int) -> ClaimedMessage:
    recipient = ClaimedRecipient(number, f"r{number}@example.org", "", "")
    return ClaimedMessage(number, str(number), "jules@maison.mrs", "", "", False, False, 10, 10, (recipient,))


def claim(*numbers: int) -> Claim:
    return Claim(uuid4(), "example.org", tuple(message(number) for number in numbers))


async def pieces(message: ClaimedMessage) -> AsyncIterator[bytes]:
    yield b"Subject: x\r\n\r\n"


class Hosts:
    """These hosts, in this order, then `error`."""

    together = False

    def __init__(self, servers: Sequence[ScriptedPeer], error: RouteError | None = None) -> None:
        self._servers, self._error = servers, error
        self.asked = 0

    async def attempts(self, domain: str) -> AsyncGenerator[Attempt, None]:
        for number, server in enumerate(self._servers):
            self.asked += 1
            yield Attempt(f"h{number}.example", "127.0.0.1", self._connecting(number, server))
        if self._error is not None:
            raise self._error

    def _connecting(self, number: int, server: ScriptedPeer) -> Callable[[], Awaitable[Peer]]:
        return lambda: Peer.connect(
            "127.0.0.1", server.port, name=f"h{number}.example", hostname=HOST, security=None, timeouts=SHORT
        )


class Notes:
    """The Book of these tests: what was reported, and what more there is."""

    def __init__(self, *more: Claim) -> None:
        self.outcomes: dict[int, str] = {}
        self._more = list(more)
        self.is_ending = False
        self.end_after = 0
        self.unreachable_for: PeerReply | None = None

    async def report(self, message: ClaimedMessage, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            assert outcome.recipient_id not in self.outcomes
            self.outcomes[outcome.recipient_id] = f"{outcome.result.value} {outcome.reply.code} {outcome.peer}".strip()
        if self.end_after and len(self.outcomes) >= self.end_after:
            self.is_ending = True

    async def more(self) -> Claim | None:
        return self._more.pop(0) if self._more else None

    async def unreachable(self, reply: PeerReply) -> None:
        assert not self.outcomes, "with the outcomes the claim ends, and another connection may begin"
        self.unreachable_for = reply


def send(
    claimed: Claim, *servers: ScriptedPeer, notes: Notes | None = None, error: RouteError | None = None
) -> tuple[dict[int, str], PeerReply | None]:
    notes = notes or Notes()

    async def main() -> None:
        async with AsyncExitStack() as stack:
            for server in servers:
                await stack.enter_async_context(server.serving())
            await carry_out(claimed, notes, Hosts(servers, error), pieces)

    run(main())
    return notes.outcomes, notes.unreachable_for


def test_all_that_was_claimed_goes_over_one_connection_and_more_of_the_same() -> None:
    server = ScriptedPeer()
    outcomes, failure = send(claim(1, 2), server, notes=Notes(claim(3), claim(4)))
    assert outcomes == dict.fromkeys([1, 2, 3, 4], "sent 250 h0.example")
    assert failure is None
    assert server.connections == 1


def test_a_connection_carries_a_bounded_number_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MESSAGES", 3)
    notes = Notes(claim(3, 4), claim(5))
    outcomes, _ = send(claim(1, 2), ScriptedPeer(), notes=notes)
    assert sorted(outcomes) == [1, 2, 3, 4]


@pytest.mark.parametrize("script", [REFUSED, {"greeting": DROP}, {"greeting": "421 busy"}, {"EHLO": "421 busy"}])
def test_rfc_5321_5_1_the_next_host_is_tried(script: dict[str, str]) -> None:
    outcomes, failure = send(claim(1), ScriptedPeer(dict(script)), ScriptedPeer())
    assert (outcomes, failure) == ({1: "sent 250 h1.example"}, None)


def test_where_a_connection_is_lost_the_next_host_gets_what_is_left() -> None:
    outcomes, failure = send(claim(1, 2), ScriptedPeer({"end": DROP}), ScriptedPeer())
    assert (outcomes, failure) == ({1: "deferred 451 h0.example", 2: "sent 250 h1.example"}, None)


def test_a_refusal_of_the_message_is_not_taken_to_the_next_host() -> None:
    second = ScriptedPeer()
    outcomes, _ = send(claim(1), ScriptedPeer({"RCPT": "550 5.1.1 who?"}), second)
    assert outcomes == {1: "failed 550 h0.example"}
    assert second.connections == 0


@pytest.mark.parametrize(
    ("scripts", "error", "expected"),
    [
        ([REFUSED], None, "deferred 454"),
        ([{"greeting": "521 5.3.2 no mail here"}], None, "failed 521"),
        ([{"greeting": "521 5.3.2 no mail here"}, REFUSED], None, "deferred 454"),
        ([], None, "failed 550"),
        ([], GONE, "failed 550"),
        ([], AWAY, "deferred 451"),
        ([{"greeting": "521 5.3.2 no mail here"}], AWAY, "deferred 451"),
    ],
)
def test_what_no_host_takes_waits_unless_it_never_will(
    scripts: list[dict[str, str]], error: RouteError | None, expected: str
) -> None:
    outcomes, failure = send(claim(1, 2), *(ScriptedPeer(dict(script)) for script in scripts), error=error)
    assert outcomes == dict.fromkeys([1, 2], expected)
    assert (failure is not None) == (expected.startswith("deferred"))


def test_what_there_is_more_of_has_the_outcome_of_the_first_where_there_is_no_connection() -> None:
    outcomes, _ = send(claim(1), notes=Notes(claim(2), claim(3)), error=AWAY)
    assert outcomes == dict.fromkeys([1, 2, 3], "deferred 451")
    outcomes, _ = send(claim(1), notes=Notes(claim(2)), error=GONE)
    assert outcomes == {1: "failed 550"}


def test_attempts_are_bounded() -> None:
    servers = [ScriptedPeer(dict(REFUSED)) for _ in range(sending.ATTEMPTS + 3)]
    send(claim(1), *servers)
    assert sum(server.connections for server in servers) == sending.ATTEMPTS


def test_what_was_not_begun_when_the_end_came_was_no_attempt() -> None:
    notes = Notes(claim(9))
    notes.end_after = 1
    outcomes, failure = send(claim(1, 2, 3), ScriptedPeer(), notes=notes)
    assert outcomes == {1: "sent 250 h0.example", 2: "untried 451", 3: "untried 451"}
    assert failure is None


def test_every_recipient_of_a_message_has_the_outcome_that_holds_for_all() -> None:
    many = replace(message(1), recipients=tuple(ClaimedRecipient(n, f"{n}@example.org", "", "") for n in range(3)))
    outcomes, _ = send(Claim(uuid4(), "example.org", (many,)), error=AWAY)
    assert outcomes == dict.fromkeys(range(3), "deferred 451")


def test_an_error_of_ours_closes_the_connection() -> None:
    async def broken(message: ClaimedMessage) -> AsyncIterator[bytes]:
        yield b"x"
        raise RuntimeError("a bug")

    server = ScriptedPeer()

    async def main() -> None:
        async with server.serving():
            with pytest.raises(RuntimeError):
                await carry_out(claim(1), Notes(), Hosts([server]), broken)

    run(main())
    assert server.taken == []
