"""Is mail from whom it says? SPF (RFC 7208), DKIM (RFC 6376), ARC (RFC 8617) and DMARC (RFC 7489), and what follows.

The results go into an Authentication-Results field (RFC 8601). Mail that fails the DMARC policy `reject` of its
author's domain is refused; where the DNS does not say whether it does, the client has to come again: nothing is lost
for an answer that did not come. SPF is pyspf's, signatures are dkimpy's; DMARC, which is short, is done here: the
domain that speaks for another is found by walking up the tree of names, so there is no list of suffixes to keep up to
date.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import dkim
import spf

from accounts.addresses import normal_domain
from smtpservice import replies
from smtpservice.authors import addresses_in, from_fields
from smtpservice.lookups import Lookups, UnansweredError
from smtpservice.replies import Reply
from smtpservice.verifiers import Arc, Dkim

#: dkimpy tells its log of everything that is wrong with what a stranger sent.
_QUIET = logging.getLogger(f"{__name__}.dkimpy")
_QUIET.setLevel(logging.CRITICAL)

#: Signatures of a message that are checked, domains of its authors, and octets that are looked at for signatures.
MAX_SIGNATURES = 5
MAX_AUTHORS = 5
SIGNED_OCTETS = 20 * 1024 * 1024
#: Octets of an SPF policy, which should fit into 512 (RFC 7208, 3.4): pyspf takes minutes for some that are huge.
POLICY_OCTETS = 4096
#: Labels of a name from which its tree is walked.
_MAX_LABELS = 8
_POLICIES = ("none", "quarantine", "reject")
_SIGNATURE = re.compile(rb"^DKIM-Signature[ \t]*:", re.IGNORECASE | re.MULTILINE)
_SAYABLE = re.compile(r"[A-Za-z0-9._@+=-]{1,255}")


@dataclass(frozen=True, slots=True)
class Result:
    """One method's result, such as `pass`, and properties that say of what."""

    method: str
    value: str
    properties: tuple[tuple[str, str], ...] = ()
    domain: str = ""
    comment: str = ""

    def __str__(self) -> str:
        comment = f" ({self.comment})" if self.comment else ""
        said = (f" {name}={value}" for name, value in self.properties if _SAYABLE.fullmatch(value))
        return f"{self.method}={self.value}{comment}{''.join(said)}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """All results, and the reply where mail is refused by them."""

    results: Sequence[Result]
    refusal: Reply | None = None

    def value(self, hostname: str) -> bytes:
        """The value of an Authentication-Results field, folded."""
        lines = "".join(f";\r\n\t{result}" for result in self.results) or "; none"
        return f"{hostname}{lines}".encode("ascii", "replace")

    def field(self, hostname: str) -> bytes:
        """The Authentication-Results field, with its line end."""
        return b"Authentication-Results: " + self.value(hostname) + b"\r\n"


@dataclass(slots=True)
class Arrived:
    """A message whose data has ended: from which address, under which name, with which reverse-path it came."""

    client_address: str
    helo: str
    sender: str
    #: As it was sent, CRLF at line ends; empty where it is too large to be looked at.
    message: bytes
    header: bytes
    results: list[Result] = field(default_factory=list)


def authenticate(arrived: Arrived, lookups: Lookups) -> Verdict:
    """Find out all of it. Takes as long as `lookups` allows."""
    arrived.results.append(_spf(arrived, lookups))
    if arrived.message:
        arrived.results += _dkim(arrived, lookups)
        arrived.results += _arc(arrived, lookups)
    else:
        arrived.results.append(Result("dkim", "temperror", comment="too large"))
    authors = author_domains(arrived.header)
    if not authors:  # so no policy is about it (RFC 7489, 6.6.1), and notices of failure come so
        arrived.results.append(Result("dmarc", "permerror", comment="no author domain"))
    # Nobody has so many authors, of whom the last might be somebody that he is not.
    refusal = replies.NOT_AUTHENTIC if len(authors) > MAX_AUTHORS else None
    for domain in authors[:MAX_AUTHORS]:
        result, refused = _dmarc(domain, arrived.results, lookups)
        arrived.results.append(result)
        refusal = refusal or refused
    return Verdict(arrived.results, refusal)


def author_domains(header: bytes) -> list[str]:
    """The domains of the From of a header, each once; a second From, which there must not be, counts too."""
    addresses = addresses_in(from_fields(header))
    domains = (normal_domain(address.rpartition("@")[2].rstrip(".")) for address in addresses if "@" in address)
    return list(dict.fromkeys(domain for domain in domains if _SAYABLE.fullmatch(domain)))


# --- The methods ------------------------------------------------------------------------------------------------------


def _spf(arrived: Arrived, lookups: Lookups) -> Result:
    """Whether the client may send for the domain of the reverse-path, or for its own name where that is null."""
    local_part, _, domain = (arrived.sender or f"postmaster@{arrived.helo}").rpartition("@")
    domain = normal_domain(domain)
    identity = ("smtp.mailfrom", domain) if arrived.sender else ("smtp.helo", domain)
    try:
        query = _Spf(arrived.client_address, f"{local_part}@{domain}", arrived.helo, lookups)
        value = str(query.check()[0])
    except (UnansweredError, spf.TempError):
        value = "temperror"
    except Exception:  # what pyspf makes of a name or an address that is none
        value = "permerror"
    return Result("spf", value, (identity,), domain)


class _Spf(spf.query):  # type: ignore[misc]
    """pyspf's query, which asks our lookups; `dns` is the one way in which it asks."""

    def __init__(self, address: str, sender: str, helo: str, lookups: Lookups) -> None:
        super().__init__(address, sender, helo, strict=True)
        self._lookups = lookups

    def dns(self, name: str, qtype: str, cnames: Any = None, ignore_void: bool = False) -> list[Any]:
        records: list[Any] = self._lookups.records(name, qtype)
        if not records and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError(f"Void lookup limit of {spf.MAX_VOID_LOOKUPS} exceeded")
        if qtype == "TXT" and any(_is_huge(b"".join(record.strings)) for record in records):
            raise spf.PermError("A policy that is longer than any in use")
        return [_as_pyspf_has_it(record, qtype) for record in records]


def _is_huge(text: bytes) -> bool:
    return text.lower().startswith(b"v=spf1") and len(text) > POLICY_OCTETS


def _as_pyspf_has_it(record: Any, kind: str) -> Any:
    if kind in ("A", "AAAA"):
        return record.address
    if kind == "MX":
        return record.preference, record.exchange.to_text(omit_final_dot=True)
    return record.target.to_text(omit_final_dot=True) if kind == "PTR" else record.strings


def _dkim(arrived: Arrived, lookups: Lookups) -> list[Result]:
    number = min(len(_SIGNATURE.findall(arrived.header)), MAX_SIGNATURES)
    return [_signature(arrived.message, index, lookups) for index in range(number)] or [Result("dkim", "none")]


def _signature(message: bytes, index: int, lookups: Lookups) -> Result:
    try:
        verifier = Dkim(message, _QUIET)
    except (dkim.MessageFormatError, IndexError):  # a line that is no field, for one
        return Result("dkim", "permerror")
    try:
        value = "pass" if verifier.verify(index, dnsfunc=_key_of(lookups)) else "fail"
    except UnansweredError:
        value = "temperror"
    except dkim.ValidationError as error:
        value = "fail" if "body hash mismatch" in str(error) else "permerror"
    except Exception:  # malformed in one of many ways
        value = "permerror"
    fields = {name: text.decode("utf-8", "replace") for name, text in verifier.signature_fields.items()}
    domain = normal_domain(fields.get(b"d", ""))  # of a message in UTF-8 it may be in another script (RFC 8616, 5)
    return Result("dkim", value, (("header.d", domain), ("header.s", fields.get(b"s", ""))), domain)


def _arc(arrived: Arrived, lookups: Lookups) -> list[Result]:
    """Whether the chain of those that passed the message on is whole (RFC 8617, 5.2)."""
    try:
        value = Arc(arrived.message, _QUIET).verify(dnsfunc=_key_of(lookups))[0]
    except UnansweredError:
        return [Result("arc", "temperror")]
    except Exception:
        return [Result("arc", "fail")]
    return [Result("arc", value.decode("ascii"))] if value in (dkim.CV_Pass, dkim.CV_Fail) else []


def _key_of(lookups: Lookups) -> Any:
    def texts(name: bytes, timeout: int = 5) -> bytes | None:
        lookups.time_left()  # a known key is no reason to go on: it is the octets that take long then
        found = lookups.texts(name.decode("utf-8", "replace"))
        return found[0] if found else None

    return texts


# --- DMARC ------------------------------------------------------------------------------------------------------------


def _dmarc(author: str, results: Sequence[Result], lookups: Lookups) -> tuple[Result, Reply | None]:
    """The result for one author's domain, and the reply where its policy, or our not knowing it, keeps the mail out."""
    said = (("header.from", author),)
    try:
        records = _records(author, lookups)
        if not records:
            return Result("dmarc", "none", said), None
        policy, tags = _policy(author, records)
        if _is_aligned(author, tags, results, lookups):
            return Result("dmarc", "pass", said, comment=f"p={policy}"), None
    except UnansweredError:
        return Result("dmarc", "temperror", said), replies.NOT_AUTHENTICATED_YET
    if any(result.value == "temperror" for result in results):
        # It may be all right; where the policy does not matter that is not worth a second visit.
        return Result("dmarc", "temperror", said), replies.NOT_AUTHENTICATED_YET if policy == "reject" else None
    return Result("dmarc", "fail", said, comment=f"p={policy}"), replies.NOT_AUTHENTIC if policy == "reject" else None


def _records(domain: str, lookups: Lookups) -> dict[str, dict[str, str]]:
    """The DMARC records of a name and of those above it, the nearest first."""
    labels = domain.split(".")
    names = [domain] if len(labels) > _MAX_LABELS else []
    labels = labels[-_MAX_LABELS + 1 :] if names else labels
    names += [".".join(labels[start:]) for start in range(len(labels))]
    return {name: tags for name in names if (tags := _record(name, lookups))}


def _record(name: str, lookups: Lookups) -> dict[str, str]:
    found = [text for text in lookups.texts(f"_dmarc.{name}") if re.match(rb"v\s*=\s*DMARC1\s*(;|$)", text)]
    if len(found) != 1:
        return {}
    parts = (part.partition("=") for part in found[0].decode("ascii", "replace").split(";"))
    return {tag.strip().lower(): value.strip().lower() for tag, _, value in parts}


def _policy(author: str, records: dict[str, dict[str, str]]) -> tuple[str, dict[str, str]]:
    """What is asked for mail that fails, and the record that says so: the domain's own, or that above it."""
    organisation = organisational_domain(author, records)
    tags = records.get(author) or records.get(organisation) or next(iter(records.values()))
    policy = tags.get("p", "none") if author in records else tags.get("sp", tags.get("p", "none"))
    tested = tags.get("t") == "y" or tags.get("pct") == "0"
    return (policy if policy in _POLICIES and not tested else "none"), tags  # said in a field: nothing else gets there


def organisational_domain(domain: str, records: dict[str, dict[str, str]]) -> str:
    """The domain under which others are of the same owner, by the records on the way up."""
    for name, tags in records.items():
        if tags.get("psd") == "n":
            return name
        if tags.get("psd") == "y" and name != domain:
            return ".".join(domain.split(".")[-name.count(".") - 2 :])
    return next(reversed(records), domain)


def _is_aligned(author: str, tags: dict[str, str], results: Sequence[Result], lookups: Lookups) -> bool:
    """Whether SPF or a signature passed for the author's domain, or one of the same owner (RFC 7489, 3.1)."""
    strict = {"spf": tags.get("aspf") == "s", "dkim": tags.get("adkim") == "s"}
    passed = [result for result in results if result.value == "pass" and result.method in strict]
    if any(result.domain == author for result in passed):
        return True
    ours = organisational_domain(author, _records(author, lookups))
    return any(
        organisational_domain(result.domain, _records(result.domain, lookups)) == ours
        for result in passed
        if not strict[result.method] and result.domain
    )
