"""Is this the password? Slow hashes, a short memory of good answers, equal time for unknown users.

`recall` answers at once from memory; `verify` computes the hash (some 20 ms of CPU: call it on a thread of its own,
never on the event loop or a database thread). The memory is keyed by the stored hash, so a changed password fails at
once, and holds a keyed digest, never a password. A wrong password is never remembered.
"""

import hashlib
import hmac
import secrets
import threading
import time
import unicodedata
from collections import OrderedDict

from django.contrib.auth.hashers import check_password, make_password

#: Verified credentials remembered by one process; the oldest goes first.
REMEMBERED = 100_000

#: By Unicode category: every blank is the usual one; half a sign, which no password holds, is one that can be encoded.
_REPLACED = {"Zs": " ", "Cs": "\ufffd"}


def prepare_password(password: str) -> str:
    """A password as it is hashed: the same for all ways to type it (RFC 8265, 4.2.2, rules 2 and 4).

    What OpaqueString would forbid is let be: a password that was set somewhere else opens still.
    """
    if password.isascii():
        return password
    return unicodedata.normalize("NFC", "".join(_REPLACED.get(unicodedata.category(s), s) for s in password))


class PasswordChecker:
    """Checks passwords against encoded hashes, with a memory of `seconds` (0: none)."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._key = secrets.token_bytes(32)
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()
        # What an unknown user's password is compared with, so that it takes as long as a wrong one (promise 7).
        self._nobody = make_password(secrets.token_urlsafe(32))

    def recall(self, encoded: str, password: str) -> bool:
        """Whether this password was verified against this hash a short while ago."""
        until = self._verified.get(self._digest(encoded, password))
        return until is not None and time.monotonic() < until

    def verify(self, encoded: str | None, password: str) -> bool:
        """Whether the password fits; an `encoded` of None, for nobody, takes as long and says no."""
        if encoded is None:
            check_password(password, self._nobody)
            return False
        if not check_password(password, encoded):
            return False
        self._remember(self._digest(encoded, password))
        return True

    def _digest(self, encoded: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{encoded}\0{password}".encode(), hashlib.sha256)

    def _remember(self, digest: bytes) -> None:
        if not self._seconds:
            return
        with self._lock:
            self._verified[digest] = time.monotonic() + self._seconds
            self._verified.move_to_end(digest)
            while len(self._verified) > REMEMBERED:
                self._verified.popitem(last=False)
