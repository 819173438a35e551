"""RFC 8617: what is passed on is sealed, so that dkimpy verifies the chain, whoever has sealed it before."""

import re

import dkim
import pytest

from accounts.models import Domain
from accounts.services import create_alias, create_domain
from mailstore.wire import unstuff
from smtpservice.authenticator import Looked
from smtpservice.dkim_keys import _make_rsa, record_of
from smtpservice.intake import LocalIntake
from smtpservice.models import DkimKey, QueuedMessage
from smtpservice.queue import Recipient, enqueue, read_pieces
from smtpservice.requests import Service
from smtpservice.sealing import seal
from tests.mailstore.mailboxes import body_of
from tests.smtpservice.local import ask, make_mailbox, send, with_intake

pytestmark = pytest.mark.django_db(transaction=True)
MESSAGE = (
    b"Authentication-Results: mail.maison.mrs; spf=pass\r\n"
    b"DKIM-Signature: v=1; a=rsa-sha256; d=x.example; s=1; h=from; bh=xx; b=xx\r\n"
    b"From: Anna <anna@x.example>\r\nTo: team@maison.mrs\r\nSubject: hello\r\n\r\n.hello  there\r\n\r\n\r\n"
)
RESULTS = b"mail.maison.mrs;\r\n\tspf=pass smtp.mailfrom=x.example;\r\n\tdkim=fail header.d=x.example"


@pytest.fixture(scope="module")
def secret() -> str:
    """A private key, made once."""
    return _make_rsa()


@pytest.fixture
def domain(secret: str) -> Domain:
    return with_key("maison.mrs", secret)


def with_key(name: str, secret: str, algorithm: str = DkimKey.Algorithm.RSA) -> Domain:
    made = create_domain(name=name)
    DkimKey.objects.create(domain=made, selector="s1", algorithm=algorithm, private_key=secret, signs=True)
    return made


def passed_on(message: bytes = MESSAGE, *, by: str = "maison.mrs", results: bytes = RESULTS) -> bytes:
    """A message as it leaves, without stuffed dots."""
    with body_of(message) as body:
        top = seal(domain=by, results=results, body=body) + b"Received: by here\r\n"
        queued = enqueue(sender="anna@x.example", recipients=[Recipient("a@example.org")], body=body, top=top)
    return b"".join(unstuff(read_pieces(queued.pk)))


def verified(message: bytes) -> bytes | None:
    """What dkimpy says of the chain, with the records as they are published; None: it had ended before."""
    records = {f"{record_of(key).name}.".encode(): record_of(key).text.encode() for key in DkimKey.objects.all()}
    found: bytes | None = dkim.ARC(message).verify(dnsfunc=lambda name, timeout=5: records.get(name))[0]
    return found


def test_rfc_8617_5_1_the_first_seal_of_a_chain(domain: Domain) -> None:
    message = passed_on()
    assert [line.partition(b":")[0] for line in re.split(rb"\r\n(?![ \t])", message)[:4]] == [
        *(b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results", b"Received")
    ]
    assert b"ARC-Authentication-Results: i=1; " + RESULTS + b"\r\n" in message
    assert verified(message) == dkim.CV_Pass
    assert max(map(len, message.split(b"\r\n"))) < 100


@pytest.mark.parametrize(
    ("original", "other"),
    [
        (b".hello  there", b"hello there"),
        (b"Subject: hello", b"Subject: hallo"),
        (b"spf=pass smtp", b"spf=fail smtp"),
        (b"d=x.example; s=1", b"d=y.example; s=1"),
        (b"To: team", b"From: b@example.org\r\nTo: team"),
    ],
)
def test_nothing_that_is_sealed_can_be_changed(domain: Domain, original: bytes, other: bytes) -> None:
    message = passed_on()
    assert original in message
    assert verified(message.replace(original, other)) == dkim.CV_Fail


def test_rfc_8617_5_1_1_a_chain_goes_on_and_every_seal_holds(domain: Domain, secret: str) -> None:
    with_key("other.example", secret)
    second = passed_on(passed_on(), by="other.example", results=RESULTS + b";\r\n\tarc=pass")
    third = passed_on(second, results=RESULTS + b";\r\n\tarc=pass")
    assert re.findall(rb"ARC-Seal: i=(\d); cv=(\w+)", third) == [(b"3", b"pass"), (b"2", b"pass"), (b"1", b"none")]
    assert (verified(second), verified(third)) == (dkim.CV_Pass, dkim.CV_Pass)
    assert verified(third.replace(b"i=2; mail.maison.mrs", b"i=2; mail.elsewhere")) == dkim.CV_Fail


def test_rfc_8617_5_1_2_a_chain_that_fails_is_said_to_and_ends(domain: Domain) -> None:
    broken = passed_on().replace(b"hello  there", b"bye")
    assert verified(broken) == dkim.CV_Fail
    ended = passed_on(broken, results=RESULTS + b";\r\n\tarc=fail")
    assert b"ARC-Seal: i=2; cv=fail;" in ended
    assert verified(ended) is None  # its last seal holds, and says that the chain is broken
    assert passed_on(ended) == b"Received: by here\r\n" + ended  # there is no result of ARC for it
    changed = ended.replace(b"Subject: hello", b"Subject: hallo")
    assert verified(changed) == dkim.CV_Fail  # its last signature does not hold; it has ended all the same
    assert passed_on(changed, results=RESULTS + b";\r\n\tarc=fail") == b"Received: by here\r\n" + changed


@pytest.mark.parametrize("header", [b"no field\r\nFrom: a@x.example\r\n", b" folded\r\nFrom: a@x.example\r\n"])
def test_a_header_that_is_none_goes_unsealed(domain: Domain, header: bytes) -> None:
    message = header + b"\r\nhello\r\n"
    assert passed_on(message) == b"Received: by here\r\n" + message


def test_it_is_sealed_where_the_results_fit_and_there_is_a_key_alone(domain: Domain, secret: str) -> None:
    create_domain(name="keyless.example")
    with_key("ed.example", "x", DkimKey.Algorithm.ED25519)
    many = MESSAGE.replace(b"From:", b"ARC-Seal: i=50; cv=pass\r\nFrom:")
    unsealed = [
        ("keyless.example", RESULTS, MESSAGE),
        ("ed.example", RESULTS, MESSAGE),
        ("maison.mrs", RESULTS + b";\r\n\tarc=pass", MESSAGE),
        ("maison.mrs", RESULTS + b";\r\n\tarc=temperror", passed_on()),
        ("maison.mrs", RESULTS + b";\r\n\tarc=pass", many),
        ("maison.mrs", RESULTS, b"X: y\r\n" * 50_000 + MESSAGE),
    ]
    for by, results, message in unsealed:
        assert passed_on(message, by=by, results=results) == b"Received: by here\r\n" + message


def test_a_message_of_many_pieces_is_sealed(domain: Domain) -> None:
    assert verified(passed_on(MESSAGE + b"line of text\r\n" * 60_000)) == dkim.CV_Pass
    with body_of(b"From: a@x.example\r\n") as body:  # a header alone
        assert verified(seal(domain="maison.mrs", results=RESULTS, body=body) + b"From: a@x.example\r\n\r\n")


class Found:
    """In the place of the Authenticator."""

    async def look_at(self, *_: object, **__: object) -> Looked:
        return Looked(None, RESULTS)


@pytest.mark.parametrize("service", [Service.SMTP, Service.LMTP])
def test_what_is_forwarded_is_sealed_by_the_domain_of_its_alias(domain: Domain, service: Service) -> None:
    make_mailbox("jules@maison.mrs")
    create_alias(domain=domain, local_part="team", targets="jules@maison.mrs\nx@elsewhere.org")

    async def deliver(intake: LocalIntake) -> None:
        intake._authenticator = Found()  # type: ignore[assignment]
        found = await ask(intake, ["<team@maison.mrs>"])
        await send(intake, MESSAGE, found, service=service, sender="anna@x.example")

    with_intake(deliver)
    queued = b"".join(unstuff(read_pieces(QueuedMessage.objects.get().pk)))
    assert queued.count(b"ARC-Seal") == (1 if service is Service.SMTP else 0)
    assert service is Service.LMTP or verified(queued) == dkim.CV_Pass
