"""Whatever comes in: no exception, one reply for each line, and neither packets nor slow answers change a thing."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from smtpservice import protocol, replies
from smtpservice.replies import Reply
from smtpservice.requests import Service
from tests.smtpservice.driving import MAX_OCTETS, Talk

RECIPIENT = b"RCPT TO:<jules@maison.mrs>"
GROUP = [
    *(b"MAIL FROM:<>", b"MAIL FROM:<a@b.c> SIZE=10", b"MAIL FROM:<a@b.c> SIZE=99999", b"MAIL FROM:<a", b"MAIL"),
    *(RECIPIENT, b"rcpt to:<nobody@maison.mrs>", b"RCPT TO:<x@y.z>", b"RCPT TO:<>", b"RCPT", b"RCPT x"),
]
COMMANDS = [
    *(
        b"EHLO me",
        b"HELO me",
        b"LHLO me",
        b"EHLO",
        b"EHLO <>",
        b"NOOP",
        b"NOOP x",
        b"RSET",
        b"RSET x",
        b"HELP",
        b"EXPN x",
    ),
    *(
        b"VRFY jules",
        b"AUTH PLAIN",
        b"STARTTLS",
        b"BDAT 0",
        b"BDAT 0 LAST",
        b"",
        b" ",
        b".",
        b"..",
        b"\0",
        b"\xff\xfe",
        b"x" * 3000,
    ),
]
ENDS = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r\r\n", b" \r\n", b"\t\r\n"])
#: What ends a session, and so would be the last line that is answered.
LAST = (b"QUIT", b"PROXY", *(name.encode() for name in protocol._HTTP))
BINARY = (
    st.binary(max_size=40)
    .map(lambda line: line.replace(b"\n", b""))
    .filter(lambda line: line.partition(b" ")[0].strip().upper() not in LAST)
)
LINES = st.builds(bytes.__add__, st.sampled_from(COMMANDS + GROUP) | BINARY, ENDS)
CONTENT = st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"..", b"text", b"\0", b"x" * 3000]), max_size=12)
TRANSACTIONS = st.builds(
    lambda hello, group, content: b"\r\n".join(
        [hello, b"MAIL FROM:<a@b.c>", RECIPIENT, *group, b"DATA", content, b".", b""]
    ),
    st.sampled_from([b"EHLO me", b"LHLO me", b"RSET"]),
    st.lists(st.sampled_from(GROUP), max_size=5),
    CONTENT.map(b"".join),
)
CHUNKED = st.builds(
    lambda chunks: (
        b"EHLO me\r\nMAIL FROM:<a@b.c>\r\n"
        + RECIPIENT
        + b"\r\n"
        + b"".join(b"BDAT %d\r\n%s" % (len(chunk), chunk) for chunk in chunks)
        + b"BDAT 0 LAST\r\n"
    ),
    st.lists(CONTENT.map(b"".join), max_size=4),
)
INPUT = st.lists(LINES | TRANSACTIONS | CHUNKED | st.sampled_from([b"QUIT\r\n", b"GET / HTTP/1.1\r\n"]), max_size=12)


class SlowTalk(Talk):
    """Requests are carried out when `patience` says so, and all of them by `finish`."""

    def __init__(self, service: Service, patience: Sequence[bool]) -> None:
        self._patience = list(patience)
        super().__init__(service, greeted=False)

    def take(self) -> list[str]:
        return [] if self._patience and self._patience.pop() else super().take()

    def finish(self) -> list[str]:
        self._patience.clear()
        return self.take()


def packets(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def some_refused(recipients: Sequence[str]) -> list[Reply]:
    return [replies.OVER_QUOTA if name.startswith("jules") else replies.stored("1") for name in recipients]


@settings(max_examples=200, deadline=None)
@given(
    INPUT, st.lists(st.integers(0, 10**6), max_size=10), st.lists(st.booleans(), max_size=20), st.sampled_from(Service)
)
def test_neither_packets_nor_the_time_of_answers_change_a_reply(
    lines: list[bytes], places: list[int], patience: list[bool], service: Service
) -> None:
    data = b"".join(lines)
    at_once, slow = Talk(service, greeted=False), SlowTalk(service, patience)
    for talk in (at_once, slow):
        if service is Service.LMTP:
            talk.outcome = some_refused
    assert slow.greeting + slow.say(*packets(data, places)) + slow.finish() == at_once.greeting + at_once.say(data)
    assert slow.delivered == at_once.delivered
    assert slow.closed is at_once.closed
    assert all(request.recipients and len(content) <= MAX_OCTETS for request, content in slow.delivered)


@settings(max_examples=200, deadline=None)
@given(st.lists(LINES, max_size=protocol.MAX_ERRORS), st.sampled_from(Service))
def test_each_line_is_answered_once_and_the_next_command_is_understood(lines: list[bytes], service: Service) -> None:
    """Lines that are too long, binary, in the wrong state or of another protocol do not bring it out of step."""
    talk = Talk(service, greeted=False)
    data = b"".join(lines)
    said = talk.say(data)
    assert len([line for line in said if line[3] == " "]) == data.count(b"\n")
    assert not talk.closed
    rest = b"\r\n" if data and not data.endswith(b"\n") else b""
    assert talk.say(rest + b"NOOP\r\n")[-1] == replies.NOTHING_DONE.encode().decode().strip()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=5000), max_size=10), st.sampled_from(Service), st.booleans())
def test_octets_at_random_are_answered_and_kept_nowhere(
    chunks: list[bytes], service: Service, tls_offered: bool
) -> None:
    talk = Talk(service, tls_offered=tls_offered, greeted=False)
    for line in talk.say(*chunks):
        assert line[:3].isdigit()
        assert line[3] in " -"
    assert talk.session.buffered <= protocol.LINE_OCTETS
