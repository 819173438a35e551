"""Is this the password? Slow hashes, a short memory of good answers, equal time for unknown users.

`recall` answers at once from memory; `verify` computes the hash (some 20 ms of CPU: call it on a thread of its own,
never on the event loop or a database thread). The memory is keyed by the stored hash, so a changed password fails at
once, and holds a keyed digest, never a password. A wrong password is never remembered.
"""

import hashlib
import secrets
import threading
import time
from collections import OrderedDict

from django.contrib.auth.hashers import check_password, make_password
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from precis_i18n import get_profile

#: Verified credentials remembered by one process; the oldest goes first.
REMEMBERED = 100_000

_OPAQUE = get_profile("OpaqueString")


def prepare_password(password: str) -> str:
    """A password as it is hashed: the same for all ways to type it (RFC 8265, 4.2, which RFC 6856, 2.2 asks for).

    What OpaqueString forbids is let be here: a password that was set somewhere else opens still.
    """
    if password.isascii():
        return password
    try:
        return str(_OPAQUE.enforce(password))
    except UnicodeEncodeError:
        return password.encode(errors="replace").decode()  # half a sign, which no password holds


class OpaqueStringValidator:
    """A new password can be typed in any mail program: it is an OpaqueString (RFC 8265, 4.2.1)."""

    def validate(self, password: str, user: object = None) -> None:
        try:
            _OPAQUE.enforce(password)
        except UnicodeEncodeError as error:
            if password:  # an empty one is refused as that
                raise ValidationError(
                    _("The password has a sign in it that mail programs do not send: position %(position)d."),
                    params={"position": error.start + 1},
                    code="password_not_opaque",
                ) from None

    def get_help_text(self) -> str:
        return gettext("Your password can have letters of any language, digits, signs and blanks.")


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
        """Keyed BLAKE2 (RFC 7693), which takes a quarter of the time of OpenSSL's HMAC: each login waits for it."""
        return hashlib.blake2b(f"{encoded}\0{password}".encode(), key=self._key, digest_size=32).digest()

    def _remember(self, digest: bytes) -> None:
        if not self._seconds:
            return
        with self._lock:
            self._verified[digest] = time.monotonic() + self._seconds
            self._verified.move_to_end(digest)
            while len(self._verified) > REMEMBERED:
                self._verified.popitem(last=False)
