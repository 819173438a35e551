"""A session that is talked to without a socket: its requests are carried out on plain lists."""

from collections.abc import Callable, Sequence
from typing import Any

from smtpservice import replies
from smtpservice.commands import Address
from smtpservice.protocol import Session
from smtpservice.replies import Reply
from smtpservice.requests import Ask, CheckSender, Close, Deliver, Discard, FindRecipients, Service, StartTls, Write

HOST = "mail.maison.mrs"
MAX_OCTETS = 10_000
ENVELOPE = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<jules@maison.mrs>\r\n"


class Talk:
    """A client's side: `say` octets, get reply lines. Recipients with a local part of `known` exist."""

    def __init__(
        self,
        service: Service = Service.SMTP,
        *,
        tls_offered: bool = False,
        greeted: bool = True,
        known: str = "",
        **options: Any,
    ) -> None:
        self.session = Session[str](service, hostname=HOST, max_octets=MAX_OCTETS, tls_offered=tls_offered, **options)
        self.questions: list[Any] = []
        #: What the door answers, one after the other.
        self.answers: list[Any] = []
        self.sender_refusal: Reply | None = None
        self.known = known.split() or ["jules", "alfred", "charles"]
        self.delivered: list[tuple[Deliver[str], bytes]] = []
        self.lookups: list[list[str]] = []
        self.closed = self.handshaken = False
        self.write_failure: Reply | None = None
        self.outcome: Callable[[Sequence[str]], list[Reply]] = self.all_stored
        self._service = service
        self._content = b""
        self.greeting = self.take()
        if greeted:
            self.say(b"EHLO me\r\n" if service is not Service.LMTP else b"LHLO me\r\n")

    def all_stored(self, recipients: Sequence[str]) -> list[Reply]:
        return [replies.stored("1")] * (len(recipients) if self._service is Service.LMTP else 1)

    def say(self, *chunks: bytes) -> list[str]:
        """Send these packets; the reply lines that came."""
        lines = []
        for chunk in chunks:
            self.session.receive(chunk)
            lines += self.take()
        return lines

    def codes(self, *chunks: bytes) -> list[str]:
        """Of each reply line the code and, where there is one, the enhanced status code."""
        words = (line.replace("-", " ", 1).split(" ") for line in self.say(*chunks))
        return [" ".join(word for word in found[:2] if word[:1].isdigit()) for found in words]

    def take(self) -> list[str]:
        output = self.session.take_output()
        while request := self.session.take_request():
            self._carry_out(request)
            output += self.session.take_output()
        return output.decode().removesuffix("\r\n").split("\r\n") if output else []

    def _carry_out(self, request: object) -> None:
        match request:
            case Ask():
                self.questions.append(request.question)
                self.session.answered(self.answers.pop(0))
            case CheckSender():
                self.session.sender_checked(self.sender_refusal)
            case FindRecipients():
                self.lookups.append([str(address) for address in request.addresses])
                self.session.recipients_found([self._found(address) for address in request.addresses])
            case Write():
                if self.write_failure is None:
                    self._content += request.content
                self.session.written(self.write_failure)
            case Discard():
                self._content = b""
                self.session.written()
            case Deliver():
                self.delivered.append((request, self._content))
                self._content = b""
                self.session.delivered(self.outcome(request.recipients))
            case StartTls():
                self.handshaken = True
                self.session.tls_started()
            case Close():
                self.closed = True

    def _found(self, address: Address) -> str | Reply:
        if address.domain not in {"maison.mrs", ""}:
            return str(address) if self.session.submitter else replies.RELAYING_DENIED
        return str(address) if address.local_part in self.known else replies.UNKNOWN_RECIPIENT
