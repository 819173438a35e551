"""RFC 7672, 3.1.2: a certificate is issued, by whatever way, by the authority that the DNS names, or it is not."""

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ExtendedKeyUsage, ExtendedKeyUsageOID, NameConstraints

from smtpservice.relay.chains import MOST_SHOWN, is_issued_by, shown_by
from tests.smtpservice.relay.authorities import DAY, NOW, Holder, connection_to, server

NAMES = ["mail.example.org", "example.org"]
ROOT = Holder("root")
MIDDLE = Holder("middle", ROOT)


def holds(anchor: Holder, *shown: Holder, names: list[str] = NAMES) -> bool:
    return is_issued_by(lambda der: der == anchor.der, [each.der for each in shown], names)


def test_what_a_server_shows_its_own_first() -> None:
    leaf = server(MIDDLE)
    assert shown_by(connection_to(leaf, MIDDLE, ROOT)) == [leaf.der, MIDDLE.der, ROOT.der]
    many = [leaf, *(Holder(f"{n}") for n in range(20))]
    assert shown_by(connection_to(*many)) == [each.der for each in many[:MOST_SHOWN]]


def test_the_authority_may_stand_anywhere_above() -> None:
    leaf = server(MIDDLE)
    assert holds(ROOT, leaf, MIDDLE, ROOT)
    assert holds(ROOT, leaf, ROOT, MIDDLE)
    assert holds(MIDDLE, leaf, MIDDLE)
    assert holds(ROOT, server(ROOT), ROOT)


def test_a_server_that_is_its_own_authority() -> None:
    """RFC 7671, 5.2.2: it may be."""
    own = server(None)
    assert holds(own, own)
    assert not holds(own, own, names=["mail.example.com"])
    late = server(None, ends=NOW - DAY)
    assert not holds(late, late)


def test_public_authorities() -> None:
    authority = trustme.CA()
    child = authority.create_child_ca()
    issued = child.issue_cert("mail.example.org")
    pems = [*issued.cert_chain_pems, authority.cert_pem]
    shown = [x509.load_pem_x509_certificate(pem.bytes()).public_bytes(Encoding.DER) for pem in pems]
    for anchor in shown[1:]:
        assert is_issued_by(anchor.__eq__, shown, NAMES)
        assert not is_issued_by(anchor.__eq__, shown, ["example.com"])


def test_rfc_7672_3_2_2_for_the_host_or_for_the_domain() -> None:
    assert holds(ROOT, server(ROOT, "example.org"), ROOT)
    assert holds(ROOT, server(ROOT, "*.example.org"), ROOT)
    for names in (("other.example.org",), ("example.com", "mail.example.org.evil.example")):
        assert not holds(ROOT, server(ROOT, *names), ROOT)
    assert not holds(ROOT, Holder("mail.example.org", ROOT, None), ROOT)  # a name of the subject is none
    assert not holds(ROOT, server(ROOT), ROOT, names=["_no_name_", "a b", "é"])
    assert holds(ROOT, server(ROOT), ROOT, names=["_no_name_", "mail.example.org"])


def test_names_with_an_underscore_are_names_too() -> None:
    for names in (
        ("mx_1.example.org",),
        ("MX_1.Example.org",),
        ("*.example.org",),
        ("_.example.com", "mx_1.example.org"),
    ):
        assert holds(ROOT, server(ROOT, *names), ROOT, names=["mx_1.example.org"])
    for name in ("mx_2.example.org", "a.mx_1.example.org", "example.org", "_1.example.org", ""):
        assert not holds(ROOT, server(ROOT, "mx_1.example.org"), ROOT, names=[name])


def test_a_star_is_one_label() -> None:
    for name in ("a.mail.example.org", "example.org", ".example.org.", "example.com"):
        assert not holds(ROOT, server(ROOT, "*.example.org"), ROOT, names=[name])
    for name in ("*", "m*.example.org", "*.org", "mail.*.org", "*.*.org"):
        assert not holds(ROOT, server(ROOT, name), ROOT, names=["mail.example.org"])


def test_nobody_else_issued_it() -> None:
    namesake = Holder("root")
    assert not holds(namesake, server(ROOT), namesake, ROOT)
    assert not holds(Holder("other"), server(ROOT), ROOT)
    assert not holds(ROOT, server(MIDDLE), ROOT)  # what is between them is not shown
    forged = Holder("middle", namesake)
    assert not holds(ROOT, server(forged), forged, ROOT)


def test_who_is_no_authority_issues_nothing() -> None:
    for is_authority in (False, None):
        thief = Holder("thief", ROOT, is_authority, ("thief.example.org",))
        assert not holds(ROOT, server(thief), thief, ROOT)
        assert not holds(thief, server(thief), thief)
    usage = x509.KeyUsage(True, *[False] * 8)
    without = Holder("middle", ROOT, extensions=((usage, True),))
    assert not holds(ROOT, server(without), without, ROOT)


def test_times_constraints_and_what_is_not_known_count() -> None:
    assert not holds(ROOT, server(ROOT, ends=NOW - DAY), ROOT)
    over = Holder("middle", ROOT, ends=NOW - DAY)
    assert not holds(ROOT, server(over), over, ROOT)
    elsewhere = NameConstraints([x509.DNSName("example.com")], None)
    held = Holder("middle", ROOT, extensions=((elsewhere, True),))
    assert not holds(ROOT, server(held), held, ROOT)
    short = Holder("short", ROOT, None, extensions=((x509.BasicConstraints(True, 0), True),))
    below = Holder("below", short)
    assert holds(ROOT, server(short), short, ROOT)
    assert not holds(ROOT, server(below), below, short, ROOT)
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x")
    assert not holds(ROOT, server(ROOT, extensions=((unknown, True),)), ROOT)


@pytest.mark.parametrize(
    ("usage", "good"),
    [
        (ExtendedKeyUsageOID.SERVER_AUTH, True),
        (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, True),
        (ExtendedKeyUsageOID.CLIENT_AUTH, False),
    ],
)
def test_what_the_certificate_is_for(usage: x509.ObjectIdentifier, *, good: bool) -> None:
    leaf = server(ROOT, extensions=((ExtendedKeyUsage([usage]), False),))
    assert holds(ROOT, leaf, ROOT) is good


def test_what_is_no_certificate_is_none() -> None:
    assert not is_issued_by(lambda der: True, [b"no certificate"], NAMES)
    assert not is_issued_by(lambda der: True, [], NAMES)
