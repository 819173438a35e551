"""SPF, DKIM, ARC and DMARC with a name server of our own: what is found, what is refused, and where the DNS is silent."""

import asyncio
import base64
import time

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from smtpservice import replies
from smtpservice.authentication import (
    Arrived,
    Result,
    Verdict,
    authenticate,
    author_domains,
    organisational_domain,
)
from smtpservice.lookups import Lookups
from tests.smtpservice.relay.names import NameServer
from tests.smtpservice.serving import run

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
PUBLIC = base64.b64encode(KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
#: TXT records have strings of 255 octets.
DKIM_RECORD = f'"v=DKIM1; k=rsa; p={PUBLIC[:200]}" "{PUBLIC[200:]}"'
MESSAGE = b"From: Anna <anna@my-bank.example>\r\nSubject: hello\r\nTo: jules@maison.mrs\r\n\r\nhello\r\n"
SPF = {"my-bank.example TXT": ['"v=spf1 ip4:192.0.2.0/28 -all"'], "my-bank.example A": ["192.0.2.1"]}
REJECT = {"_dmarc.my-bank.example TXT": ['"v=DMARC1; p=reject"']}


def signed(message: bytes = MESSAGE, domain: bytes = b"my-bank.example") -> bytes:
    return dkim.sign(message, b"k1", domain, PRIVATE, include_headers=[b"from", b"subject"]) + message


def looked_at(
    message: bytes = MESSAGE,
    records: dict[str, list[str]] | None = None,
    *,
    sender: str = "anna@my-bank.example",
    client: str = "192.0.2.1",
    away: set[str] | None = None,
    whole: bool = True,
) -> tuple[dict[str, str], Verdict]:
    """What each method found, and the verdict."""

    async def main() -> Verdict:
        keys = {"k1._domainkey.my-bank.example TXT": [DKIM_RECORD]}
        async with NameServer(records=keys | (records or {}), away=away or set()).serving() as server:
            header = message.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            arrived = Arrived(client, "mail.my-bank.example", sender, message if whole else b"", header)
            return await asyncio.to_thread(authenticate, arrived, Lookups([server.address], 20))

    verdict = run(main())
    return {result.method: result.value for result in verdict.results}, verdict


# --- SPF (RFC 7208) ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "expected"),
    [("192.0.2.1", "pass"), ("192.0.2.77", "fail"), ("2001:db8::1", "fail"), ("unknown", "permerror")],
)
def test_rfc_7208_the_client_may_send_for_the_domain_or_not(client: str, expected: str) -> None:
    found, verdict = looked_at(records=SPF, client=client)
    assert found["spf"] == expected
    assert verdict.refusal is None  # for that alone nothing is refused


def test_rfc_7208_mechanisms_that_ask_the_dns() -> None:
    records = {
        "my-bank.example TXT": ['"other"', '"v=spf1 include:_spf.my-bank.example mx -all"'],
        "_spf.my-bank.example TXT": ['"v=spf1 a:out.my-bank.example ?all"'],
        "out.my-bank.example A": ["192.0.2.9"],
        "my-bank.example MX": ["10 in.my-bank.example."],
        "in.my-bank.example A": ["192.0.2.25"],
    }
    for client, expected in (("192.0.2.9", "pass"), ("192.0.2.25", "pass"), ("192.0.2.26", "fail")):
        assert looked_at(records=records, client=client)[0]["spf"] == expected


def test_rfc_7208_2_4_the_null_path_is_its_clients_name() -> None:
    records = {"mail.my-bank.example TXT": ['"v=spf1 ip4:192.0.2.1 -all"']}
    found, verdict = looked_at(records=records, sender="")
    assert found["spf"] == "pass"
    assert b"spf=pass smtp.helo=mail.my-bank.example" in verdict.field("here")


@pytest.mark.parametrize(
    "record", ['"v=spf1 include:my-bank.example -all"', '"v=spf1 foo -all"', '"v=spf1 ip4:1.2.3 -all"']
)
def test_rfc_7208_a_record_that_is_wrong(record: str) -> None:
    assert looked_at(records={"my-bank.example TXT": [record]})[0]["spf"] == "permerror"


# --- DKIM (RFC 6376) and ARC (RFC 8617) -------------------------------------------------------------------------------


def test_rfc_6376_a_signature_that_holds_and_one_that_does_not() -> None:
    assert looked_at(signed())[0]["dkim"] == "pass"
    assert looked_at(signed().replace(b"hello\r\n", b"hullo\r\n"))[0]["dkim"] == "fail"
    assert looked_at(MESSAGE)[0]["dkim"] == "none"
    assert looked_at(signed(), away={"k1._domainkey.my-bank.example"})[0]["dkim"] == "temperror"
    assert looked_at(signed(domain=b"other.example"))[0]["dkim"] == "fail"  # there is no key
    assert looked_at(b"DKIM-Signature: v=1; a=what\r\n" + MESSAGE)[0]["dkim"] == "permerror"


def test_many_signatures_are_not_all_checked() -> None:
    _, verdict = looked_at(b"DKIM-Signature: v=1\r\n" * 50 + MESSAGE)
    assert len([result for result in verdict.results if result.method == "dkim"]) == 5


def test_rfc_8617_a_chain_that_is_whole() -> None:
    results = b"Authentication-Results: lists.example; spf=pass smtp.mailfrom=my-bank.example\r\n"
    message = results + MESSAGE
    seal = dkim.arc_sign(message, b"k1", b"my-bank.example", PRIVATE, b"lists.example", include_headers=[b"from"])
    assert looked_at(b"".join(seal) + message)[0]["arc"] == "pass"
    assert looked_at(b"".join(seal) + message.replace(b"hello\r\n", b"x\r\n"))[0]["arc"] == "fail"
    assert "arc" not in looked_at(MESSAGE)[0]


# --- DMARC (RFC 7489) -------------------------------------------------------------------------------------------------


def test_rfc_7489_what_passes_nothing_is_refused_by_the_domains_policy() -> None:
    found, verdict = looked_at(records=SPF | REJECT, client="192.0.2.77")
    assert (found["dmarc"], verdict.refusal) == ("fail", replies.NOT_AUTHENTIC)
    found, verdict = looked_at(records=SPF | REJECT)
    assert (found["dmarc"], verdict.refusal) == ("pass", None)
    found, verdict = looked_at(signed(), SPF | REJECT, client="192.0.2.77")
    assert (found["dmarc"], verdict.refusal) == ("pass", None)


@pytest.mark.parametrize(
    ("record", "refused"),
    [
        ("v=DMARC1; p=reject", True),
        ("v=DMARC1;p=REJECT;pct=100", True),
        ("v=DMARC1; p=reject; t=y", False),
        ("v=DMARC1; p=reject; pct=0", False),
        ("v=DMARC1; p=quarantine", False),
        ("v=DMARC1; p=none", False),
        ("v=DMARC1; sp=reject", False),
        ("v=DMARC2; p=reject", False),
        ("p=reject", False),
    ],
)
def test_rfc_7489_6_3_policies(record: str, refused: bool) -> None:
    _, verdict = looked_at(records={"_dmarc.my-bank.example TXT": [f'"{record}"']})
    assert (verdict.refusal is not None) is refused


def test_a_policy_that_is_none_puts_nothing_into_the_header() -> None:
    record = r"v=DMARC1; p=x)\013\010Authentication-Results: mail.maison.mrs"
    _, verdict = looked_at(records={"_dmarc.my-bank.example TXT": [f'"{record}"']}, client="192.0.2.77")
    assert b"dmarc=fail (p=none) header.from=my-bank.example\r\n" in verdict.field("mail.maison.mrs")


def test_rfc_7489_3_1_what_passed_for_another_domain_says_nothing() -> None:
    records = SPF | REJECT | {"evil.example TXT": ['"v=spf1 +all"']}
    _, verdict = looked_at(records=records, sender="x@evil.example", client="198.51.100.1")
    assert verdict.refusal == replies.NOT_AUTHENTIC


@pytest.mark.parametrize(("mode", "expected"), [("", "pass"), ("; aspf=s", "fail")])
def test_rfc_7489_3_1_2_a_domain_below_is_of_the_same_owner_unless_it_is_to_be_the_same(
    mode: str, expected: str
) -> None:
    records = {
        "out.my-bank.example TXT": ['"v=spf1 ip4:192.0.2.1 -all"'],
        "_dmarc.my-bank.example TXT": [f'"v=DMARC1; p=reject{mode}"'],
    }
    assert looked_at(records=records, sender="x@out.my-bank.example")[0]["dmarc"] == expected


def test_rfc_7489_6_6_3_a_domain_without_a_record_has_that_above_it() -> None:
    message = MESSAGE.replace(b"anna@my-bank", b"anna@news.my-bank")
    assert looked_at(message, REJECT)[1].refusal == replies.NOT_AUTHENTIC
    softer = {"_dmarc.my-bank.example TXT": ['"v=DMARC1; p=reject; sp=none"']}
    found, verdict = looked_at(message, softer)
    assert (found["dmarc"], verdict.refusal) == ("fail", None)


def test_a_second_from_is_judged_too() -> None:
    message = b"From: x@free.example\r\n" + MESSAGE
    assert looked_at(message, REJECT)[1].refusal == replies.NOT_AUTHENTIC
    assert author_domains(b"From: a@x.org, b@Y.org\r\nfrom:\r\n <c@z.org>\r\nTo: d@w.org\r\n") == [
        "x.org",
        "y.org",
        "z.org",
    ]
    assert author_domains(b"From: nobody\r\n\r\n") == []


@pytest.mark.parametrize(
    "author",
    [b"From: My Bank\r\n", b"From: my-bank.example <>\r\n", b"From: Bank:;\r\n", b"From: a@[192.0.2.1]\r\n", b""],
)
def test_rfc_7489_6_6_1_that_there_is_no_author_is_told(author: bytes) -> None:
    """No domain has a policy for it, and notices of failure come so."""
    _found, verdict = looked_at(author + b"Subject: hello\r\n\r\nhello\r\n", REJECT, client="192.0.2.77")
    assert verdict.refusal is None
    assert verdict.field("here").endswith(b";\r\n\tdmarc=permerror (no author domain)\r\n")


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ({}, "a.b.example"),
        ({"a.b.example": {}, "b.example": {}}, "b.example"),
        ({"a.b.example": {"psd": "n"}, "b.example": {}}, "a.b.example"),
        ({"b.example": {"psd": "y"}}, "a.b.example"),
        ({"example": {"psd": "y"}}, "b.example"),
    ],
)
def test_the_domain_that_speaks_for_others_is_found_on_the_way_up(
    records: dict[str, dict[str, str]], expected: str
) -> None:
    assert organisational_domain("a.b.example", records) == expected


# --- The DNS is away --------------------------------------------------------------------------------------------------


def test_where_the_dns_does_not_say_whether_there_is_a_policy_the_client_comes_again() -> None:
    found, verdict = looked_at(records=SPF, away={"_dmarc.my-bank.example"})
    assert (found["dmarc"], verdict.refusal) == ("temperror", replies.NOT_AUTHENTICATED_YET)


def test_where_it_does_not_say_whether_it_passes_either() -> None:
    found, verdict = looked_at(records=REJECT, away={"my-bank.example"})
    assert (found["spf"], verdict.refusal) == ("temperror", replies.NOT_AUTHENTICATED_YET)
    # what passes another way, or has no policy that matters, is taken
    assert looked_at(signed(), REJECT, away={"my-bank.example"})[1].refusal is None
    none = {"_dmarc.my-bank.example TXT": ['"v=DMARC1; p=none"']}
    assert looked_at(records=none, away={"my-bank.example"})[1].refusal is None


def test_a_message_too_large_for_its_signatures_is_not_refused_for_that() -> None:
    found, verdict = looked_at(signed(), REJECT, whole=False, client="192.0.2.77")
    assert (found["dkim"], verdict.refusal) == ("temperror", replies.NOT_AUTHENTICATED_YET)
    assert looked_at(signed(), SPF | REJECT, whole=False)[1].refusal is None


# --- Authentication-Results (RFC 8601) --------------------------------------------------------------------------------


def test_rfc_8601_2_2_the_field() -> None:
    results = [
        Result("spf", "pass", (("smtp.mailfrom", "x.org"),)),
        Result("dkim", "permerror", (("header.d", "x y;\r\nevil: z"), ("header.s", "k1"))),
        Result("dmarc", "fail", (("header.from", "x.org"),), comment="p=none"),
    ]
    assert Verdict(results).field("mail.maison.mrs") == (
        b"Authentication-Results: mail.maison.mrs;\r\n\tspf=pass smtp.mailfrom=x.org;\r\n\tdkim=permerror header.s=k1;"
        b"\r\n\tdmarc=fail (p=none) header.from=x.org\r\n"
    )
    assert Verdict([]).field("mail.maison.mrs") == b"Authentication-Results: mail.maison.mrs; none\r\n"


# --- Odd input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        b"DKIM-Signature: v=1\r\nno field\r\nFrom: anna@my-bank.example\r\n",
        b"ARC-Seal: i=1; cv=none\r\nno field\r\nFrom: anna@my-bank.example\r\n",
        b"From: " + b"(" * 2000 + b")" * 2000 + b" <anna@my-bank.example>\r\n",
        b"From: " + b"a:" * 2000 + b"\r\nFrom: anna@my-bank.example\r\n",
        b"From: " + b", ".join(b"a@x%d.example" % number for number in range(30)) + b", anna@my-bank.example\r\n",
        b"From: x@elsewhere.example (\r\nFrom: anna@my-bank.example\r\n",
        "From: anna@b\u00e4nk.example\r\n".encode(),
    ],
)
def test_no_header_is_too_odd_for_the_policy_of_its_author(header: bytes) -> None:
    records = REJECT | {"_dmarc.xn--bnk-qla.example TXT": ['"v=DMARC1; p=reject"']}
    _found, verdict = looked_at(header + b"\r\nhello\r\n", records, sender="x@elsewhere.example")
    assert verdict.refusal == replies.NOT_AUTHENTIC


def test_rfc_8616_a_domain_in_another_script_passes_as_any_other() -> None:
    records = {
        "xn--bnk-qla.example TXT": ['"v=spf1 ip4:192.0.2.1 -all"'],
        "_dmarc.xn--bnk-qla.example TXT": ['"v=DMARC1; p=reject"'],
    }
    for sender in ("anna@b\u00e4nk.example", "anna@xn--bnk-qla.example", "\u00e4nna@B\u00c4NK.example"):
        message = f"From: <{sender}>\r\n\r\nhello\r\n".encode()
        found, verdict = looked_at(message, records, sender="anna@b\u00e4nk.example")
        assert (found["spf"], found["dmarc"], verdict.refusal) == ("pass", "pass", None)
        for domain in ("b\u00e4nk.example", "xn--bnk-qla.example"):
            keyed = records | {"k1._domainkey.xn--bnk-qla.example TXT": [DKIM_RECORD]}
            found, verdict = looked_at(signed(message, domain.encode()), keyed, sender="x@elsewhere.example")
            assert (found["dkim"], found["dmarc"], verdict.refusal) == ("pass", "pass", None)


def test_a_policy_by_the_page_takes_no_longer_than_one_of_a_line() -> None:
    for macros in (".-" * 15_000 + "}", "}" + "%{s}.%{d}" * 3_000):
        record = f"v=spf1 exists:%{{l1r{macros}.x.example -all"
        strings = " ".join(f'"{record[start : start + 200]}"' for start in range(0, len(record), 200))
        begun = time.monotonic()
        found, _verdict = looked_at(records={"my-bank.example TXT": [strings]})
        assert time.monotonic() - begun < 5
        assert found["spf"] == "permerror"


def test_blanks_by_the_megabyte_take_no_longer_than_text() -> None:
    """A worker that looks at a message does little else meanwhile."""
    records = {"k1._domainkey.my-bank.example TXT": [DKIM_RECORD]}
    for body in (b" " * 1_000_000, b" \t" * 500_000):
        message = b"From: anna@my-bank.example\r\n\r\n" + body + b"x \r\n"
        for canonical in (b"relaxed", b"simple"):
            short = dkim.sign(MESSAGE, b"k1", b"my-bank.example", PRIVATE, canonicalize=(b"relaxed", canonical))
            begun = time.monotonic()
            found, _verdict = looked_at(short + message, records)
            assert time.monotonic() - begun < 5
            assert found["dkim"] == "fail"


@pytest.mark.parametrize("canonical", [b"relaxed", b"simple"])
def test_blanks_are_canonicalized_as_others_do(canonical: bytes) -> None:
    message = MESSAGE + b"a  b\t \tc \t\r\n\t\r\n  d\r\n \r\n\r\n"
    signature = dkim.sign(message, b"k1", b"my-bank.example", PRIVATE, canonicalize=(b"relaxed", canonical))
    assert looked_at(signature + message)[0]["dkim"] == "pass"
    changed = message.replace(b"a  b", b"a b")
    assert looked_at(signature + changed)[0]["dkim"] == ("pass" if canonical == b"relaxed" else "fail")
    assert looked_at(signature + message.replace(b"a  b", b"ab"))[0]["dkim"] == "fail"
