"""DKIM keys of a domain: made, shown as the DNS record to publish, put to use, and taken away.

Rotation: make a key, publish its record, have it sign; the one before no longer signs, and its record stays until the
mail that it signed has arrived everywhere, a week or so. Then remove it.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.db import transaction
from django.utils import timezone
from nacl.encoding import Base64Encoder
from nacl.signing import SigningKey

from accounts.models import Domain
from smtpservice.models import DkimKey

#: RFC 8301, 3.2: 2048 bits should be used; longer records do not fit into one UDP answer everywhere.
RSA_BITS = 2048
#: Characters of one string in a TXT record (RFC 1035, 3.3).
_STRING = 255


@dataclass(frozen=True, slots=True)
class Record:
    """A TXT record: its name, and its text, which the DNS takes in strings of 255 characters."""

    name: str
    text: str

    def __str__(self) -> str:
        """As it stands in a zone file."""
        strings = [f'"{self.text[start : start + _STRING]}"' for start in range(0, len(self.text), _STRING)]
        return f"{self.name}. IN TXT ( {' '.join(strings)} )"


@transaction.atomic
def make_key(*, domain: Domain, algorithm: DkimKey.Algorithm, selector: str = "") -> DkimKey:
    """Make a key that does not sign yet; without a selector it gets one by the day.

    Raises ValidationError where the selector is none, or taken.
    """
    secret = _make_rsa() if algorithm is DkimKey.Algorithm.RSA else _make_ed25519()
    key = DkimKey(domain=domain, selector=selector.lower(), algorithm=algorithm, private_key=secret)
    key.selector = key.selector or _new_selector(domain, algorithm)
    key.full_clean()
    key.save()
    return key


@transaction.atomic
def sign_with(*, key: DkimKey) -> None:
    """Have this key sign the mail of its domain, instead of another of its algorithm."""
    DkimKey.objects.filter(domain=key.domain, algorithm=key.algorithm, signs=True).update(signs=False)
    key.signs = True
    key.save(update_fields=["signs"])


def record_of(key: DkimKey) -> Record:
    """The record to publish (RFC 6376, 3.6.1; RFC 8463, 4)."""
    kind = "ed25519" if key.algorithm == DkimKey.Algorithm.ED25519 else "rsa"
    return Record(f"{key.selector}._domainkey.{key.domain.name}", f"v=DKIM1; k={kind}; p={_public_half(key)}")


def is_published(key: DkimKey, texts: Sequence[str]) -> bool:
    """Whether one of the TXT records of its name holds the public half of this key."""
    wanted = f"p={_public_half(key)}"
    return any(wanted in [tag.strip().replace(" ", "") for tag in text.split(";")] for text in texts)


def _new_selector(domain: Domain, algorithm: str) -> str:
    prefix = "e" if algorithm == DkimKey.Algorithm.ED25519 else "r"
    base = f"{prefix}{timezone.now():%Y%m%d}"
    taken = set(DkimKey.objects.filter(domain=domain).values_list("selector", flat=True))
    return next(name for name in (base, *(f"{base}-{number}" for number in range(2, 100))) if name not in taken)


def _make_rsa() -> str:
    made = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()


def _make_ed25519() -> str:
    return SigningKey.generate().encode(encoder=Base64Encoder).decode()


def _public_half(key: DkimKey) -> str:
    if key.algorithm == DkimKey.Algorithm.ED25519:
        return base64.b64encode(bytes(SigningKey(key.private_key.encode(), encoder=Base64Encoder).verify_key)).decode()
    private = serialization.load_pem_private_key(key.private_key.encode(), password=None)
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(public).decode()
