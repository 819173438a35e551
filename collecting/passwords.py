"""Passwords of other accounts, encrypted with a key that is not in the database (COLLECT_KEYS).

Fernet (AES-128-CBC with HMAC-SHA256). A secret belongs to what it was made for: whoever can change rows, and has no
key, cannot have a password sent to another server, or in another way.
"""

import base64
import functools
import hashlib
from collections.abc import Iterable

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import transaction

from collecting.models import Source

_SEPARATOR = "\0"


class LostKeyError(Exception):
    """The password cannot be read: its key is not among COLLECT_KEYS, or its account was changed behind our back."""


def encrypt(source: Source, password: str) -> str:
    """What is kept of the password of this account, with the first key. Neither has a NUL in it."""
    return _fernet(tuple(settings.COLLECT_KEYS)).encrypt(f"{_purpose(source)}{password}".encode()).decode()


def decrypt(source: Source) -> str:
    """The password of this account. Raises LostKeyError."""
    try:
        text = _fernet(tuple(settings.COLLECT_KEYS)).decrypt(source.secret.encode()).decode()
    except InvalidToken:
        raise LostKeyError("its password cannot be read with the keys of this host; give it again") from None
    if not text.startswith(_purpose(source)):
        raise LostKeyError("its password was given for another server or login; give it again")
    return text[len(_purpose(source)) :]


def reencrypt() -> tuple[int, int]:
    """Encrypt all passwords with the first key; answers how many were, and how many no key can read."""
    done = lost = 0
    for pk in list(Source.objects.order_by("pk").values_list("pk", flat=True)):
        with transaction.atomic():
            source = Source.objects.select_for_update().filter(pk=pk).first()
            if source is None:
                continue
            try:
                secret = encrypt(source, decrypt(source))
            except LostKeyError:
                lost += 1
                continue
            Source.objects.filter(pk=pk).update(secret=secret)
            done += 1
    return done, lost


def _purpose(source: Source) -> str:
    """What a password is for, as it is encrypted with it."""
    where: Iterable[object] = (source.host, source.port, source.tls, source.verify_certificate)
    return _SEPARATOR.join(map(str, (source.mailbox_id, *where, source.login, "")))


@functools.lru_cache(maxsize=4)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    """Keys may be any text; what Fernet takes is a digest of it, so its strength is that of the text."""
    return MultiFernet(
        [Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"collecting" + key.encode()).digest())) for key in keys]
    )
