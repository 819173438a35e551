"""RFC 7672 and RFC 6698: keys of hosts in the DNS, and who is held to them."""

import hashlib
import ssl
from types import SimpleNamespace

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from smtpservice.relay.dane import Tlsa, find, verifier
from smtpservice.relay.routes import RouteError, Router
from tests.smtpservice.relay.names import NameServer
from tests.smtpservice.relay.relaying import HOST, run


@pytest.fixture(scope="module")
def certificate() -> bytes:
    issued = trustme.CA().issue_cert("mail.example.org")
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


def key_of(certificate: bytes) -> bytes:
    return (
        x509.load_der_x509_certificate(certificate)
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
def test_rfc_6698_2_1_selectors_and_matching_types(certificate: bytes, selector: int, matching: int) -> None:
    octets = [certificate, key_of(certificate)][selector]
    data = [octets, hashlib.sha256(octets).digest(), hashlib.sha512(octets).digest()][matching]
    assert Tlsa(3, selector, matching, data).fits(certificate)
    assert not Tlsa(3, selector, matching, data[:-1] + b"\0").fits(certificate)


def connection(certificate: bytes) -> ssl.SSLObject:
    return SimpleNamespace(getpeercert=lambda binary_form: certificate)  # type: ignore[return-value]


def test_one_of_the_records_has_to_fit(certificate: bytes) -> None:
    good = Tlsa(3, 1, 1, hashlib.sha256(key_of(certificate)).digest())
    other = Tlsa(3, 1, 1, bytes(32))
    verify = verifier([other, good])
    assert verify is not None
    verify(connection(certificate))
    verify = verifier([other])
    assert verify is not None
    with pytest.raises(ssl.SSLError, match="DANE"):
        verify(connection(certificate))


@pytest.mark.parametrize("record", [Tlsa(2, 1, 1, bytes(32)), Tlsa(3, 9, 1, bytes(32)), Tlsa(3, 1, 9, bytes(32))])
def test_records_that_cannot_be_looked_at_verify_nothing(record: Tlsa) -> None:
    assert verifier([record]) is None


RECORDS = {"_25._tcp.mail.example.org TLSA": ["3 1 1 " + "ab" * 32]}


def found(records: dict[str, list[str]], **more: object) -> list[Tlsa]:
    answers: list[Tlsa] = []

    async def main() -> None:
        async with NameServer(records, **more).serving() as names:
            answers.extend(await find(Router(name_servers=[names.address], ourselves=HOST), "mail.example.org", 25))

    run(main())
    return answers


def test_signed_records_count_and_no_others() -> None:
    assert found(RECORDS, signed=True) == [Tlsa(3, 1, 1, b"\xab" * 32)]
    assert found(RECORDS) == []
    assert found({}, signed=True) == []


def test_rfc_7672_2_1_what_the_dns_does_not_tell_may_be_hidden() -> None:
    with pytest.raises(RouteError):
        found(RECORDS, away={"_25._tcp.mail.example.org"})
