"""Sessions of commands in any order, against a maildrop as RFC 1939 describes it, in a few lines."""

import re
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from pop3service.states import Finish
from tests.messages import canonical
from tests.pop3service.memory import after_login, cut
from tests.pop3service.test_transfer import RAW, top


@dataclass
class Model:
    """What the client may expect: for each command its answer, or None for one that refuses."""

    messages: list[bytes]
    deleted: set[int] = field(default_factory=set)
    retrieved: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.messages = [canonical(raw) for raw in self.messages]

    @property
    def left(self) -> dict[int, bytes]:
        return {n: raw for n, raw in enumerate(self.messages, 1) if n not in self.deleted}

    def answer(self, verb: str, numbers: list[int]) -> bytes | None:
        left = self.left
        octets = sum(map(len, left.values()))
        if verb in {"STAT", "NOOP", "RSET"}:
            if verb == "RSET":
                self.deleted = set()
            return b"+OK %d %d\r\n" % (len(left), octets) if verb == "STAT" else b"+OK"
        if not numbers:
            line = {"LIST": self.scan_line, "UIDL": self.unique_id_line}[verb]
            return b"+OK" + b"".join(map(line, left)) + b".\r\n"
        if numbers[0] not in left:
            return None
        return self.answer_of_one(verb, *numbers)

    def answer_of_one(self, verb: str, number: int, lines: int = 0) -> bytes:
        raw = self.messages[number - 1]
        if verb == "LIST":
            return b"+OK " + self.scan_line(number)
        if verb == "UIDL":
            return b"+OK " + self.unique_id_line(number)
        if verb == "DELE":
            self.deleted.add(number)
            return b"+OK"
        if verb == "RETR":
            self.retrieved.add(number)
        sent = raw if verb == "RETR" else top(raw, lines)
        return b"+OK" + re.sub(rb"(?m)^\.", b"..", sent) + b".\r\n"

    def scan_line(self, number: int) -> bytes:
        return b"%d %d\r\n" % (number, len(self.messages[number - 1]))

    def unique_id_line(self, number: int) -> bytes:
        return b"%d 7.%d\r\n" % (number, number + 10)


def fits(answer: bytes, wanted: bytes | None) -> bool:
    """Whether an answer is what was wanted; behind +OK of one line, and of many, a text may stand."""
    if wanted is None:
        return re.fullmatch(rb"-ERR [^\r\n]+\r\n", answer) is not None
    if wanted.startswith(b"+OK "):
        return answer == wanted
    status, _, rest = answer.partition(b"\r\n")
    return status.startswith(b"+OK") and rest == wanted.removeprefix(b"+OK")


NUMBER = st.integers(0, 5)
COMMAND = st.one_of(
    st.tuples(st.sampled_from(["STAT", "NOOP", "RSET", "LIST", "UIDL"]), st.just([])),
    st.tuples(st.sampled_from(["LIST", "UIDL", "RETR", "DELE", "DELE"]), st.lists(NUMBER, min_size=1, max_size=1)),
    st.tuples(st.just("TOP"), st.lists(NUMBER, min_size=2, max_size=2)),
)


def written(verb: str, numbers: list[int]) -> bytes:
    return " ".join([verb, *map(str, numbers)]).encode() + b"\r\n"


@settings(max_examples=200, deadline=None)
@given(st.lists(RAW, max_size=4), st.lists(COMMAND, max_size=19), st.integers(1, 40))
def test_every_answer_is_what_the_model_says(
    raws: list[bytes], commands: list[tuple[str, list[int]]], piece_octets: int
) -> None:
    model, dialogue = Model(raws), after_login(*raws, piece_octets=piece_octets)
    for verb, numbers in commands:
        answer = dialogue.say(written(verb, numbers))
        assert fits(answer, model.answer(verb, numbers)), (verb, numbers, answer)
    assert dialogue.line("QUIT").startswith(b"+OK")
    assert dialogue.maildrop.finished == Finish(
        deleted=[number + 10 for number in sorted(model.deleted)],
        retrieved=[number + 10 for number in sorted(model.retrieved)],
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(RAW, max_size=4), st.lists(COMMAND, max_size=19), st.lists(st.integers(1, 30), min_size=1))
def test_answers_do_not_depend_on_packets(
    raws: list[bytes], commands: list[tuple[str, list[int]]], sizes: list[int]
) -> None:
    said = b"".join(written(*command) for command in commands) + b"QUIT\r\n"
    one_by_one = after_login(*raws)
    wanted = b"".join(one_by_one.say(written(*command)) for command in commands) + one_by_one.say(b"QUIT\r\n")
    dialogue = after_login(*raws)
    assert b"".join(map(dialogue.say, cut(said, sizes))) == wanted
    assert dialogue.maildrop.finished == one_by_one.maildrop.finished
