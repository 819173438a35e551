"""A connection to another server: what is said on it, octet for octet, and what each answer means for whom."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import trustme

from smtpservice.relay import peer as peers
from smtpservice.relay.claims import ClaimedMessage, ClaimedRecipient
from smtpservice.relay.outcomes import Outcome, PeerReply, Result
from smtpservice.relay.peer import Peer, PeerError, Security, TlsError
from tests.smtpservice.relay.peers import DROP, SILENCE, ScriptedPeer
from tests.smtpservice.relay.relaying import HOST, SHORT, run

WIRE = b"Subject: hello\r\n\r\n..hello\r\n"
MAIL = ClaimedMessage(
    id=1,
    identity="1",
    sender="jules@maison.mrs",
    envelope_id="",
    returned="",
    smtputf8=False,
    eight_bit=False,
    octets=1000,
    wire_octets=1001,
    recipients=tuple(ClaimedRecipient(number, f"{name}@example.org", "", "") for number, name in enumerate("abc")),
)
A = MAIL.recipients[0]
PLAIN_EHLO = "250-peer.example\r\n250 HELP"


async def pieces(message: ClaimedMessage) -> AsyncIterator[bytes]:
    yield WIRE[:5]
    yield WIRE[5:]


async def dial(server: ScriptedPeer, security: Security | None = None) -> Peer:
    return await Peer.connect(
        "127.0.0.1", server.port, name="peer.example", hostname=HOST, security=security, timeouts=SHORT
    )


def talk(server: ScriptedPeer, *messages: ClaimedMessage) -> list[Outcome]:
    """Send these over one connection; the outcomes in the order of the recipients."""
    found: list[Outcome] = []

    async def main() -> None:
        async with server.serving():
            peer = await dial(server)
            for message in messages:
                async for outcomes in peer.send(message, pieces):
                    found.extend(outcomes)
            await peer.close()
            assert not peer.is_open

    run(main())
    return sorted(found, key=lambda outcome: outcome.recipient_id)


def results(outcomes: list[Outcome]) -> list[str]:
    return [f"{outcome.result.value} {outcome.reply.code} {outcome.reply.status}" for outcome in outcomes]


def with_peer(server: ScriptedPeer, use: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with server.serving():
            await use()

    run(main())


def test_rfc_5321_3_3_a_message() -> None:
    server = ScriptedPeer()
    assert results(talk(server, MAIL)) == ["sent 250 2.0.0"] * 3
    assert server.commands == [
        f"EHLO {HOST}",
        "MAIL FROM:<jules@maison.mrs> SIZE=1000",
        "RCPT TO:<a@example.org>",
        "RCPT TO:<b@example.org>",
        "RCPT TO:<c@example.org>",
        "DATA",
        "QUIT",
    ]
    assert server.taken[0].data == WIRE


def test_several_messages_go_over_one_connection() -> None:
    server = ScriptedPeer()
    talk(server, MAIL, replace(MAIL, id=2, sender=""))
    assert server.connections == 1
    assert [taken.mail for taken in server.taken] == [
        "MAIL FROM:<jules@maison.mrs> SIZE=1000",
        "MAIL FROM:<> SIZE=1000",
    ]


def test_rfc_5321_3_2_a_server_that_knows_no_ehlo() -> None:
    server = ScriptedPeer({"EHLO": "500 what?"})
    assert results(talk(server, MAIL))[0] == "sent 250 2.0.0"
    assert server.commands[:3] == [f"EHLO {HOST}", f"HELO {HOST}", "MAIL FROM:<jules@maison.mrs>"]


@pytest.mark.parametrize(
    ("step", "answer", "expected"),
    [
        ("MAIL", "451 4.7.1 later", "deferred 451 4.7.1"),
        ("MAIL", "550 5.7.1 not you", "failed 550 5.7.1"),
        ("MAIL", "354 what?", "deferred 451 4.5.0"),
        ("MAIL", "421 4.3.2 closing", "deferred 421 4.3.2"),
        ("MAIL", DROP, "deferred 451 4.4.2"),
        ("MAIL", SILENCE, "deferred 451 4.4.2"),
        ("MAIL", "nonsense", "deferred 451 4.5.0"),
        ("RCPT", "451 4.7.1 later", "deferred 451 4.7.1"),
        ("RCPT", "550 5.1.1 who?", "failed 550 5.1.1"),
        ("RCPT", DROP, "deferred 451 4.4.2"),
        ("DATA", "451 4.3.0 later", "deferred 451 4.3.0"),
        ("DATA", "554 5.7.1 no", "failed 554 5.7.1"),
        ("DATA", "250 what?", "deferred 451 4.5.0"),
        ("DATA", DROP, "deferred 451 4.4.2"),
        ("end", "451 4.3.0 later", "deferred 451 4.3.0"),
        ("end", "552 5.3.4 too large", "failed 552 5.3.4"),
        ("end", DROP, "deferred 451 4.4.2"),
        ("end", SILENCE, "deferred 451 4.4.2"),
        ("end", "354 what?", "deferred 354 3.0.0"),
        ("end", "2x0 ok", "deferred 451 4.5.0"),
    ],
)
def test_rfc_5321_4_2_what_a_failure_at_each_stage_means(step: str, answer: str, expected: str) -> None:
    assert results(talk(ScriptedPeer({step: answer}), MAIL)) == [expected] * 3


def test_each_recipient_has_an_outcome_of_its_own() -> None:
    def rcpt(line: str) -> str:
        return {"a": "550 5.1.1 who?", "b": "250 ok", "c": "450 4.2.1 busy"}[line[9]]

    server = ScriptedPeer({"RCPT": rcpt})
    assert results(talk(server, MAIL)) == ["failed 550 5.1.1", "sent 250 2.0.0", "deferred 450 4.2.1"]


def test_after_a_refused_message_the_connection_takes_the_next() -> None:
    server = ScriptedPeer({"MAIL": lambda line: "550 5.7.1 not you" if "jules" in line else "250 ok"})
    other = replace(MAIL, id=2, sender="charles@maison.mrs", recipients=(ClaimedRecipient(9, "d@example.org", "", ""),))
    assert results(talk(server, MAIL, other))[-1] == "sent 250 2.0.0"
    assert server.commands.count("RSET") == 1


@pytest.mark.parametrize("refusal", ["452 4.5.3 too many", "552 too many"])
def test_rfc_5321_4_5_3_1_10_a_peer_that_takes_few_recipients_gets_several_transactions(refusal: str) -> None:
    asked: list[str] = []

    def rcpt(line: str) -> str:
        asked.append(line)
        return "250 ok" if len(asked) != 2 else refusal

    server = ScriptedPeer({"RCPT": rcpt, "MAIL": "250 ok"})
    outcomes = talk(server, MAIL)
    assert results(outcomes) == ["sent 250 2.0.0"] * 3
    assert sum(len(taken.rcpt) for taken in server.taken) == 3
    assert [len(taken.rcpt) for taken in server.taken] == [2, 1]


def test_a_first_recipient_that_is_too_many_waits() -> None:
    assert results(talk(ScriptedPeer({"RCPT": "452 4.5.3 too many"}), MAIL)) == ["deferred 452 4.5.3"] * 3


def test_rfc_5321_4_5_3_1_8_a_transaction_has_a_hundred_recipients_at_most() -> None:
    many = tuple(ClaimedRecipient(number, f"r{number}@example.org", "", "") for number in range(150))
    server = ScriptedPeer()
    assert results(talk(server, replace(MAIL, recipients=many))) == ["sent 250 2.0.0"] * 150
    assert [len(taken.rcpt) for taken in server.taken] == [100, 50]


def test_rfc_3461_a_peer_that_knows_it_is_told_all_of_it() -> None:
    message = replace(
        MAIL,
        envelope_id="QQ1",
        returned="HDRS",
        recipients=(replace(A, notify="SUCCESS,DELAY", original="rfc822;x@y"),),
    )
    server = ScriptedPeer()
    (outcome,) = talk(server, message)
    assert outcome.dsn
    assert server.commands[1:3] == [
        "MAIL FROM:<jules@maison.mrs> SIZE=1000 RET=HDRS ENVID=QQ1",
        "RCPT TO:<a@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@y",
    ]
    server = ScriptedPeer({"EHLO": PLAIN_EHLO})
    (outcome,) = talk(server, message)
    assert not outcome.dsn
    assert server.commands[1:3] == ["MAIL FROM:<jules@maison.mrs>", "RCPT TO:<a@example.org>"]


def test_rfc_6152_and_6531_what_the_peer_knows_is_said() -> None:
    server = ScriptedPeer()
    talk(server, replace(MAIL, eight_bit=True, smtputf8=True, recipients=(replace(A, address="é@example.org"),)))
    assert server.commands[1:3] == [
        "MAIL FROM:<jules@maison.mrs> SIZE=1000 BODY=8BITMIME SMTPUTF8",
        "RCPT TO:<é@example.org>",
    ]


@pytest.mark.parametrize(
    ("message", "ehlo", "expected", "text"),
    [
        (replace(MAIL, eight_bit=True), PLAIN_EHLO, "failed 554 5.6.3", "8BITMIME"),
        (replace(MAIL, smtputf8=True), PLAIN_EHLO, "failed 550 5.6.7", "SMTPUTF8"),
        (MAIL, "250-peer.example\r\n250 SIZE 999", "failed 552 5.3.4", "takes 999"),
    ],
)
def test_what_the_peer_does_not_take_is_not_sent(message: ClaimedMessage, ehlo: str, expected: str, text: str) -> None:
    server = ScriptedPeer({"EHLO": ehlo})
    outcomes = talk(server, message)
    assert results(outcomes) == [expected] * 3
    assert text in outcomes[0].reply.text
    assert server.commands == [f"EHLO {HOST}", "QUIT"]


def test_rfc_1870_a_size_of_0_is_no_limit() -> None:
    assert results(talk(ScriptedPeer({"EHLO": "250-peer.example\r\n250 SIZE 0"}), MAIL))[0] == "sent 250 2.0.0"


def test_a_peer_that_takes_no_octets_is_waited_for_in_vain_and_memory_is_bounded() -> None:
    """Only so much is read of the message as the peer takes, but for the buffers on the way."""
    read: list[int] = []

    async def large(message: ClaimedMessage) -> AsyncIterator[bytes]:
        for number in range(200):
            read.append(number)
            yield b"x" * 1024 * 1024

    async def use() -> None:
        peer = await dial(server)
        (outcomes,) = [found async for found in peer.send(MAIL, large)]
        assert {outcome.result for outcome in outcomes} == {Result.DEFERRED}
        assert not peer.is_open

    import asyncio

    server = ScriptedPeer()
    server.slow = asyncio.Event()
    with_peer(server, use)
    assert len(read) < 20


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ({"greeting": "421 4.3.2 busy"}, "4.3.2"),
        ({"greeting": "554 5.7.1 not you"}, "5.7.1"),
        ({"greeting": DROP}, "4.4.1"),
        ({"greeting": SILENCE}, "4.4.1"),
        ({"greeting": "nonsense"}, "4.0.0"),
        ({"EHLO": "421 4.3.2 busy"}, "4.3.2"),
        ({"EHLO": "500 what?", "HELO": "500 what?"}, "5.0.0"),
        ({"EHLO": DROP}, "4.4.1"),
    ],
)
def test_a_connection_that_comes_to_nothing(script: dict[str, str], status: str) -> None:
    server = ScriptedPeer(dict(script))

    async def use() -> None:
        with pytest.raises(PeerError) as raised:
            await dial(server)
        assert raised.value.reply.status == status

    with_peer(server, use)


def test_nobody_listens() -> None:
    async def main() -> None:
        server = ScriptedPeer()
        async with server.serving():
            pass
        with pytest.raises(PeerError) as raised:
            await dial(server)
        assert raised.value.reply.status == "4.4.1"
        assert "127.0.0.1" in raised.value.reply.text

    run(main())


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str = "peer.example") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_rfc_3207_tls_where_it_is_offered_and_ehlo_again_behind_it(authority: trustme.CA) -> None:
    server = ScriptedPeer(tls=server_context(authority))

    async def use() -> None:
        peer = await dial(server, Security(client_context(authority), "peer.example"))
        assert peer.is_encrypted
        async for _ in peer.send(MAIL, pieces):
            pass
        await peer.close()

    with_peer(server, use)
    assert server.taken[0].encrypted
    assert server.commands[:3] == [f"EHLO {HOST}", "STARTTLS", f"EHLO {HOST}"]


def test_a_certificate_of_another_name_is_no_tls(authority: trustme.CA) -> None:
    server = ScriptedPeer(tls=server_context(authority, "other.example"))

    async def use() -> None:
        with pytest.raises(TlsError) as raised:
            await dial(server, Security(client_context(authority), "peer.example"))
        assert raised.value.reply.status == "4.7.5"

    with_peer(server, use)


def test_who_is_at_the_other_end_can_be_looked_at(authority: trustme.CA) -> None:
    def refuse(tls: ssl.SSLObject) -> None:
        assert tls.getpeercert(binary_form=True)
        raise ssl.SSLError("not the key that was announced")

    async def use() -> None:
        with pytest.raises(TlsError, match="not the key"):
            await dial(server, Security(client_context(authority), "peer.example", verify=refuse))

    server = ScriptedPeer(tls=server_context(authority))
    with_peer(server, use)


def test_tls_that_has_to_be_and_is_not_offered() -> None:
    async def use() -> None:
        with pytest.raises(TlsError):
            await dial(server, Security(ssl.create_default_context(), "peer.example", required=True))
        peer = await dial(server, Security(ssl.create_default_context(), "peer.example"))
        assert not peer.is_encrypted
        await peer.close()

    server = ScriptedPeer()
    with_peer(server, use)


def test_a_refused_login_waits_for_the_operator() -> None:
    async def use() -> None:
        peer = await dial(server)
        with pytest.raises(PeerError) as raised:
            await peer.login("us", "wrong")
        assert (raised.value.reply.code, raised.value.reply.status) == (454, "4.7.8")
        assert "wrong" not in raised.value.reply.text
        peer.abort()

    server = ScriptedPeer({"AUTH": "535 5.7.8 no", "EHLO": "250-peer.example\r\n250 AUTH PLAIN"})
    with_peer(server, use)


def test_recipients_of_one_transaction_are_those_of_the_rfc() -> None:
    assert peers.RECIPIENTS == 100


@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "end"])
def test_whatever_a_peer_says_is_one_line_that_can_be_shown(step: str) -> None:
    async def main() -> None:
        async with server.serving():
            try:
                peer = await dial(server)
            except PeerError as error:
                said.append(error.reply)
                return
            async for outcomes in peer.send(MAIL, pieces):
                said.extend(outcome.reply for outcome in outcomes)

    for answer in ("no\x1b[1m reply\rAction: delivered", "550 5.1.1 who\rAction: delivered\x00", "x" * 2000):
        said: list[PeerReply] = []
        server = ScriptedPeer({step: answer})
        run(main())
        assert said
        assert all(str(reply).isprintable() for reply in said)


@pytest.mark.parametrize("size", ["\u00b2", "9" * 5000, "\u0663", "-1", "1 2", "0x1"])
def test_rfc_1870_a_size_that_is_none_limits_nothing(size: str) -> None:
    server = ScriptedPeer({"EHLO": f"250-peer.example\r\n250 SIZE {size}"})
    assert results(talk(server, MAIL)) == ["sent 250 2.0.0"] * 3
