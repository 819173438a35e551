"""Transcripts: files of C: and S: lines, read into what the client sends and what it has to get back."""

from dataclasses import dataclass
from pathlib import Path

from mailstore.wire import encode
from tests.pop3service.memory import message

FOLDER = Path(__file__).parent / "transcripts"
ALL = sorted(FOLDER.glob("*.txt"))


@dataclass
class Transcript:
    messages: list[bytes]
    #: What the client says, and the server's answer to it; the first is the greeting, to nothing.
    turns: list[tuple[bytes, bytes]]

    @property
    def said(self) -> bytes:
        return b"".join(said for said, _ in self.turns)

    @property
    def answered(self) -> bytes:
        return b"".join(answer for _, answer in self.turns)


def read(path: Path) -> Transcript:
    """A line `M: n` is a message of n octets in the maildrop; `S: <message n>` is that message, as it is sent."""
    messages: list[bytes] = []
    turns: list[tuple[bytes, bytes]] = [(b"", b"")]
    for line in path.read_text(encoding="ascii").splitlines():
        who, _, text = line.partition(":")
        text = text.removeprefix(" ")
        if who == "M":
            messages.append(message(int(text)))
        elif who == "C":
            turns.append((text.encode() + b"\r\n", b""))
        elif who == "S":
            said, answer = turns[-1]
            turns[-1] = (said, answer + _answer(text, messages))
        else:
            assert line.startswith("#"), f"{path.name}: {line!r}"
    return Transcript(messages, turns)


def _answer(text: str, messages: list[bytes]) -> bytes:
    if text.startswith("<message "):
        return encode(messages[int(text[9:-1]) - 1]).wire
    return text.encode() + b"\r\n"
