"""Whole connections of commands in any order, legal and illegal in their state, against a model of POP3's states.

Over the pure protocol and over sockets, in the clear, after STLS and within TLS; lines are cut anywhere.
"""

import itertools
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pop3service.languages import spoken
from pop3service.logins import MAX_LOGIN_FAILURES
from pop3service.states import Channel, Finish
from tests.pop3service.memory import LOGIN, PASSWORD, Dialogue, MemoryMaildrop, cut
from tests.pop3service.serving import Client, MemoryServed, Tls
from tests.pop3service.test_random_sessions import COMMAND, Model, fits, written
from tests.pop3service.test_transfer import RAW


def in_plain(password: str) -> bytes:
    return b64encode(f"\0{LOGIN}\0{password}".encode())


GOOD, BAD = in_plain(PASSWORD), in_plain("wrong")
TRANSACTION = COMMAND.map(lambda command: written(*command)[:-2])
LINES = st.one_of(
    TRANSACTION,
    st.sampled_from(
        [
            *(b"USER mrose", b"user mrose", b"USER nobody", b"USER", b"PASS secret", b"PASS wrong", b"PASS"),
            *(b"AUTH PLAIN " + GOOD, b"auth plain " + BAD, b"AUTH PLAIN", b"AUTH PLAIN !", b"AUTH FROB", b"AUTH"),
            *(GOOD, GOOD, BAD, b"*", b"UTF8", b"UTF8 x", b"CAPA", b"CAPA 1", b"STLS", b"STLS", b"STLS x"),
            *(b"LANG", b"LANG fr", b"lang en", b"LANG *", b"LANG tlh", b"LANG fr en"),
            *(b"QUIT now", b"QUIT", b"", b"FROB", b"x" * 300, b"\xff\0\r", b"LIST x", b"TOP 1", b"RETR 99999999999"),
        ]
    ),
)


class Wanted(NamedTuple):
    """An answer: what it begins with, and whether lines follow; of what a model knows to the octet, the octets."""

    status: bytes
    lines: bool = False
    octets: bytes | None = None


OK, ERR, LIST = Wanted(b"+OK"), Wanted(b"-ERR"), Wanted(b"+OK", lines=True)
CHALLENGE = Wanted(b"+ ", octets=b"+ \r\n")


@dataclass
class Connection(Model):
    """What RFC 1939, 2595, 5034 and 6856 say of a connection, in a few lines."""

    starttls: bool = False
    state: str = "before"
    user: str = ""
    utf8: bool = False
    failures: int = 0
    finished: Finish | None = None

    def hear(self, line: bytes) -> Wanted:
        if self.state == "challenged":
            self.state = "before"
            return self._proof(line)
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        if verb == b"CAPA":
            return ERR if rest else LIST
        if verb == b"LANG":
            return LIST if not rest else OK if rest in (b"fr", b"en", b"*") else ERR
        if verb == b"QUIT" and not rest:
            return self._quit()
        return self._before(verb, rest) if self.state == "before" else self._after(line)

    def _before(self, verb: bytes, rest: bytes) -> Wanted:
        if verb == b"USER" and rest:
            self.user = rest.decode()
            return OK
        if verb == b"PASS" and rest and self.user:
            user, self.user = self.user, ""
            return self._login(user == LOGIN and rest == PASSWORD.encode())
        if verb == b"UTF8" and not rest:
            self.utf8 = True
            return OK
        if verb == b"STLS" and not rest and self.starttls and not self.utf8:
            self.starttls, self.user = False, ""
            return OK
        if verb == b"AUTH":
            return self._auth(rest)
        return ERR

    def _auth(self, rest: bytes) -> Wanted:
        if not rest:
            return LIST
        self.user = ""
        mechanism, _, initial = rest.partition(b" ")
        if mechanism.upper() != b"PLAIN":
            return ERR
        if not initial:
            self.state = "challenged"
            return CHALLENGE
        return self._proof(initial)

    def _proof(self, response: bytes) -> Wanted:
        return self._login(response == GOOD) if response in (GOOD, BAD) else ERR

    def _login(self, fits: bool) -> Wanted:
        if fits:
            self.state = "after"
            return OK
        self.failures += 1
        if self.failures == MAX_LOGIN_FAILURES:
            self.state = "closed"
        return ERR

    def _after(self, line: bytes) -> Wanted:
        words = line.decode("latin-1").split()
        if not words or words[0] not in ("STAT", "NOOP", "RSET", "LIST", "UIDL", "RETR", "DELE", "TOP"):
            return ERR
        if not all(word.isdigit() for word in words[1:]) or (words[0], len(words)) in (("TOP", 2), ("RETR", 1)):
            return ERR
        answer = self.answer(words[0], [int(word) for word in words[1:]])
        if answer is None:
            return ERR
        return Wanted(b"+OK", lines=answer.endswith(b".\r\n"), octets=answer)

    def _quit(self) -> Wanted:
        if self.state == "after":
            self.finished = Finish(
                deleted=[number + 10 for number in sorted(self.deleted)],
                retrieved=[number + 10 for number in sorted(self.retrieved)],
            )
        self.state = "closed"
        return OK


def assert_fits(answer: bytes, wanted: Wanted, line: bytes) -> None:
    assert answer.startswith(wanted.status), (line, answer)
    if wanted.octets is not None and wanted is not CHALLENGE:
        assert fits(answer, wanted.octets), (line, answer)
    elif wanted.lines:
        assert answer.endswith(b"\r\n.\r\n"), (line, answer)
    else:
        assert answer.endswith(b"\r\n"), (line, answer)
        assert answer.count(b"\r\n") == 1, (line, answer)


RAWS = st.lists(RAW, max_size=4)
#: Ways in, one of which stands in the middle of most scripts: lines drawn one by one seldom make one.
LOGINS = [
    [b"USER mrose", b"PASS secret"],
    [b"AUTH PLAIN " + GOOD],
    [b"AUTH PLAIN", GOOD],
    [b"UTF8", b"USER mrose", b"PASS wrong", b"USER mrose", b"PASS secret"],
    [b"USER mrose", b"STLS", b"PASS secret", b"USER mrose", b"PASS secret"],
    [b"AUTH PLAIN", b"*", b"AUTH PLAIN", BAD, b"STLS", b"AUTH PLAIN " + GOOD],
    [b"PASS secret"],
]
SCRIPT = st.builds(
    lambda *parts: list(itertools.chain(*parts)),
    st.lists(LINES, max_size=4),
    st.sampled_from(LOGINS),
    st.lists(TRANSACTION | LINES, max_size=9),
    st.sampled_from([[], [b"QUIT"], [b"DELE 1", b"RETR 2", b"QUIT"], [b"*", b"RSET", b"QUIT"]]),
)
SIZES = st.lists(st.integers(1, 30), min_size=1)


@settings(max_examples=200)
@given(RAWS, SCRIPT, SIZES, st.booleans())
def test_over_the_pure_protocol(raws: list[bytes], script: list[bytes], sizes: list[int], starttls: bool) -> None:
    model = Connection(raws, starttls=starttls)
    dialogue = Dialogue(MemoryMaildrop(raws), Channel(hostname="dewey", starttls=starttls, languages=spoken()))
    for line in script:
        answer = b"".join(map(dialogue.say, cut(line + b"\r\n", sizes)))
        assert_fits(answer, model.hear(line), line)
        assert dialogue.session.closed == (model.state == "closed")
        if model.state == "closed":
            break
    assert dialogue.maildrop.finished == model.finished


def batches(script: list[bytes], model: Connection) -> Iterator[list[tuple[bytes, Wanted]]]:
    """Lines that may be sent together, with the answers; each batch but the last ends with an STLS that is taken."""
    batch: list[tuple[bytes, Wanted]] = []
    for line in [*script, b"*", b"QUIT"]:  # QUIT alone could be taken for a response
        starttls = model.starttls
        batch.append((line, model.hear(line)))
        if starttls != model.starttls:
            yield batch
            batch = []
        if model.state == "closed":
            break
    yield batch


def read(client: Client, wanted: Wanted) -> bytes:
    status = client.hear() + b"\r\n"
    if wanted.lines and status.startswith(b"+OK"):
        return status + client.hear_lines() + b".\r\n"
    return status


@pytest.mark.parametrize("with_tls", [False, True], ids=["in the clear", "within TLS"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raws=RAWS, script=SCRIPT, sizes=SIZES)
def test_over_sockets(
    serve: Callable[..., MemoryServed],
    tls: Tls,
    with_tls: bool,
    raws: list[bytes],
    script: list[bytes],
    sizes: list[int],
) -> None:
    served = serve(*raws, tls=tls.server, languages=spoken())
    model = Connection(raws, starttls=not with_tls)
    with served.connect(tls=tls.client if with_tls else None) as client:
        client.greet()
        for turn, batch in enumerate(batches(script, model)):
            if turn:
                client.start_tls(tls.client)
            for octets in cut(b"".join(line + b"\r\n" for line, _ in batch), sizes):
                client.send(octets)
            for line, wanted in batch:
                assert_fits(read(client, wanted), wanted, line)
        assert client.closed()
    served.close()
    assert served.finished == model.finished


@settings(max_examples=200)
@given(st.lists(st.one_of(st.binary(max_size=80), LINES.map(lambda line: line + b"\r\n")), max_size=20), st.booleans())
def test_no_octets_raise_in_any_state(received: list[bytes], starttls: bool) -> None:
    dialogue = Dialogue(
        MemoryMaildrop([b"a: b\n\n.\n"]), Channel(hostname="dewey", starttls=starttls, languages=spoken())
    )
    for octets in itertools.chain(received, [b"\r\n"]):
        dialogue.say(octets)
    assert dialogue.session.request is None
