"""RFC 7672 and RFC 6698: keys of hosts in the DNS, and who is held to them."""

import hashlib
import ssl
from collections.abc import Sequence

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from smtpservice.relay.dane import Tlsa, find, verifier
from smtpservice.relay.routes import RouteError, Router
from tests.smtpservice.relay.authorities import DAY, NOW, Holder, connection_to, server
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


ROOT = Holder("root")
SERVER = server(ROOT, "mail.example.org", ends=NOW + DAY)


def verified(records: list[Tlsa], *shown: Holder, names: Sequence[str] = ("mail.example.org", "example.org")) -> bool:
    verify = verifier(records, names)
    assert verify is not None
    try:
        verify(connection_to(*shown))
    except ssl.SSLError as error:
        assert "DANE" in str(error)  # noqa: PT017 - and nothing else
        return False
    return True


def test_one_of_the_records_has_to_fit() -> None:
    good = Tlsa(3, 1, 1, hashlib.sha256(key_of(SERVER.der)).digest())
    other = Tlsa(3, 1, 1, bytes(32))
    assert verified([other, good], SERVER)
    assert not verified([other], SERVER)


def test_rfc_7672_3_1_1_of_the_servers_own_certificate_neither_names_nor_time_matter() -> None:
    late = server(ROOT, "elsewhere.example", ends=NOW - DAY)
    record = Tlsa(3, 0, 1, hashlib.sha256(late.der).digest())
    assert verified([record], late)
    assert not verified([record], SERVER, late)


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
def test_rfc_7672_3_1_2_an_authority_has_issued_it_for_one_of_the_names(selector: int, matching: int) -> None:
    octets = [ROOT.der, key_of(ROOT.der)][selector]
    data = [octets, hashlib.sha256(octets).digest(), hashlib.sha512(octets).digest()][matching]
    record = Tlsa(2, selector, matching, data)
    assert verified([record], SERVER, ROOT)
    assert not verified([record], SERVER, ROOT, names=["example.com"])
    assert not verified([record], server(Holder("root")), ROOT)
    # What is not shown is known from a record that has the whole of it, and from no other.
    assert verified([record], SERVER) is (selector == matching == 0)


def test_records_of_both_usages_count_alike() -> None:
    authority, own = (Tlsa(usage, 0, 1, hashlib.sha256(ROOT.der).digest()) for usage in (2, 3))
    assert verified([Tlsa(3, 1, 1, bytes(32)), authority], SERVER, ROOT)
    assert not verified([Tlsa(2, 1, 1, bytes(32)), own], SERVER, ROOT)


def test_an_authority_that_is_none_in_the_dns_verifies_nothing() -> None:
    assert not verified([Tlsa(2, 0, 0, b"no certificate")], SERVER, ROOT)


@pytest.mark.parametrize(
    "record", [Tlsa(0, 1, 1, bytes(32)), Tlsa(1, 1, 1, bytes(32)), Tlsa(3, 9, 1, bytes(32)), Tlsa(2, 1, 9, bytes(32))]
)
def test_records_that_cannot_be_looked_at_verify_nothing(record: Tlsa) -> None:
    assert verifier([record], ["mail.example.org"]) is None


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
