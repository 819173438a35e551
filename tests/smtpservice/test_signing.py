"""RFC 6376: what is ours is signed, so that dkimpy verifies it, and nobody else's mail is."""

from collections.abc import Callable

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Domain
from accounts.services import create_domain
from mailstore.wire import unstuff
from smtpservice.dkim_keys import make_key, record_of, sign_with
from smtpservice.models import DkimKey
from smtpservice.queue import Recipient, enqueue, read_pieces
from smtpservice.signing import author_domain, body_hash, sign
from tests.mailstore.mailboxes import body_of

pytestmark = pytest.mark.django_db
MESSAGE = b"From: Jules <jules@Maison.mrs>\r\nTo: a@example.org\r\nSubject: hello\r\n\r\n.hello  there\r\n\r\n\r\n"
RSA, ED25519 = DkimKey.Algorithm.RSA, DkimKey.Algorithm.ED25519


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    """Private keys, made once."""
    from smtpservice import dkim_keys

    return {RSA: dkim_keys._make_rsa(), ED25519: dkim_keys._make_ed25519()}


@pytest.fixture
def domain(secrets: dict[str, str]) -> Domain:
    """A domain that signs with both kinds of keys."""
    made = create_domain(name="maison.mrs")
    for algorithm, secret in secrets.items():
        DkimKey.objects.create(domain=made, selector=algorithm[:3], algorithm=algorithm, private_key=secret, signs=True)
    return made


def sent(message: bytes = MESSAGE, *, sender: str = "jules@maison.mrs", top: bytes = b"", signed: bool = True) -> bytes:
    """A message as it leaves, without stuffed dots."""
    with body_of(message) as body:
        queued = enqueue(sender=sender, recipients=[Recipient("a@example.org")], body=body, top=top, signed=signed)
    return b"".join(unstuff(read_pieces(queued.pk)))


def verify(message: bytes, domain: Domain) -> list[bool]:
    """What dkimpy finds of each signature, with the records as they are published."""
    records = {f"{record_of(key).name}.".encode(): record_of(key).text.encode() for key in domain.dkim_keys.all()}

    def texts(name: bytes, timeout: int = 5) -> bytes | None:
        return records.get(name)

    signatures = message.lower().count(b"dkim-signature:")
    return [holds(dkim.DKIM(message), number, texts) for number in range(signatures)]


def holds(signed: dkim.DKIM, number: int, texts: Callable[..., bytes | None]) -> bool:
    try:
        return bool(signed.verify(number, dnsfunc=texts))
    except dkim.ValidationError:  # what dkimpy says where the body is another
        return False


def test_both_signatures_verify(domain: Domain) -> None:
    message = sent(top=b"Received: by here\r\n")
    assert message.startswith(b"DKIM-Signature: ")
    assert verify(message, domain) == [True, True]
    assert verify(message.replace(b"hello  there", b"hello there"), domain) == [False, False]
    assert verify(message.replace(b"Subject: hello", b"Subject: hallo"), domain) == [False, False]


@pytest.mark.parametrize("added", [b"From: b@example.org", b"Subject: other", b"To: b@example.org"])
def test_rfc_6376_8_15_nobody_adds_a_field(domain: Domain, added: bytes) -> None:
    message = sent()
    head, _, body = message.partition(b"\r\n\r\n")
    assert verify(head + b"\r\n" + added + b"\r\n\r\n" + body, domain) == [False, False]


def test_fields_that_are_put_on_top_are_signed(domain: Domain) -> None:
    message = sent(top=b"Received: by here\r\nMessage-ID: <1@maison.mrs>\r\n")
    assert verify(message, domain) == [True, True]
    assert verify(message.replace(b"<1@", b"<2@"), domain) == [False, False]


@pytest.mark.parametrize(
    "message",
    [
        b"From: jules@maison.mrs\r\n\r\n",
        b"From: jules@maison.mrs\r\n\r\n\r\n\r\n",
        b"From: jules@maison.mrs\r\n\r\n" + b".dots\r\n" * 100_000,
        b"From:\r\n\t=?utf-8?q?J=C3=BCl?=\r\n <jules@maison.mrs>\r\n\r\n8 bit: \xe9\xff\r\n",
        b"From: jules@maison.mrs\r\n.odd: field\r\n\r\nx",
    ],
    ids=["empty", "empty lines", "large", "folded", "dot in header"],
)
def test_messages_of_all_kinds_verify(domain: Domain, message: bytes) -> None:
    assert verify(sent(message), domain) == [True, True]


@pytest.mark.parametrize(
    ("message", "sender"),
    [
        (MESSAGE, "jules@example.org"),
        (MESSAGE, ""),
        (MESSAGE.replace(b"Maison.mrs", b"example.org"), "jules@maison.mrs"),
        (MESSAGE.replace(b"From:", b"X-From:"), "jules@maison.mrs"),
        (b"From: b@example.org\r\n" + MESSAGE, "jules@maison.mrs"),
        (MESSAGE.replace(b"<jules", b"<b@example.org>, <jules"), "jules@maison.mrs"),
    ],
)
def test_what_is_not_ours_alone_is_not_signed(domain: Domain, message: bytes, sender: str) -> None:
    assert b"DKIM-Signature" not in sent(message, sender=sender)


def test_only_what_is_said_to_be_ours_is_signed_by_keys_that_sign(domain: Domain) -> None:
    assert b"DKIM-Signature" not in sent(signed=False)
    domain.dkim_keys.update(signs=False)
    assert b"DKIM-Signature" not in sent()


@pytest.mark.parametrize("more", [b"X: y\r\n" * 60_000, b"no field\r\n", "X-é: y\r\n".encode()])
def test_a_header_of_any_length_and_kind_is_no_error(domain: Domain, more: bytes) -> None:
    message = b"From: jules@maison.mrs\r\n" + more + b"\r\nbody\r\n"
    with body_of(message) as body:
        assert sign(sender="jules@maison.mrs", body=body, top=b"") == b""


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"From: a@B.example\r\n\r\n", "b.example"),
        (b'From: "x@y" <a@b.example>\r\n\r\n', "b.example"),
        (b"From: a@b.example, c@b.example\r\n\r\n", "b.example"),
        (b"From: nobody\r\n\r\n", ""),
        (b"From: \xff\xfe <>\r\n\r\n", ""),
        (b"\r\n", ""),
    ],
)
def test_author_domain(header: bytes, found: str) -> None:
    assert author_domain(header) == found


@given(
    st.lists(st.sampled_from([b"a", b" ", b"\r\n", b"..", b"x\r\ny"]), max_size=12),
    st.integers(min_value=1, max_value=9),
)
def test_rfc_6376_3_4_3_the_hash_is_that_of_dkimpy_however_the_message_is_cut(parts: list[bytes], size: int) -> None:
    import hashlib

    from dkim.canonicalization import Simple

    body = b"".join(parts)
    message = b"A: b\r\n\r\n" + body + (b"" if body.endswith(b"\r\n") or not body else b"\r\n")
    pieces = [message[start : start + size] for start in range(0, len(message), size)]
    expected = Simple.canonicalize_body(message.partition(b"\r\n\r\n")[2])
    assert body_hash(pieces) == hashlib.sha256(expected).digest()


def test_a_key_that_was_made_signs(domain: Domain) -> None:
    domain.dkim_keys.all().delete()
    sign_with(key=make_key(domain=domain, algorithm=ED25519))
    assert verify(sent(), domain) == [True]
