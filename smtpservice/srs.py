"""The Sender Rewriting Scheme: whose name mail is forwarded in, so that SPF of its sender says nothing against us.

A forwarded message leaves with a reverse-path of the domain here that forwards it: `SRS0=hash=day=host=local@here`.
What comes back to that address, a failure notice above all, goes to the sender it was made of, for some weeks. The hash
is ours alone to make, so nobody can have us send to an address that did not write to somebody here. A reverse-path that
another forwarder has rewritten becomes SRS1, which names that forwarder. Pure functions of their arguments.
"""

import base64
import hmac
import re
from dataclasses import dataclass

#: Days for which what was rewritten can be answered.
VALID_DAYS = 21
#: RFC 5321, 4.5.3.1.3: a path of 256 octets, without < and >.
ADDRESS_OCTETS = 254
_HASH_CHARACTERS = 8
#: What a day is counted in: two characters of base 32.
_CYCLE_DAYS = 1024
_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"

_SRS0 = re.compile(r"SRS0[=+-]([^=]+)=([^=]{2})=([^=]+)=(.+)", re.IGNORECASE | re.DOTALL)
_SRS1 = re.compile(r"SRS1[=+-]([^=]+)=([^=]+)=([=+-].+)", re.IGNORECASE | re.DOTALL)
_OTHERS_SRS0 = re.compile(r"SRS0([=+-].+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Srs:
    """The scheme with a key of ours; `day` is any count of days that goes up by one a day."""

    key: bytes

    def rewrite(self, sender: str, *, domain: str, day: int) -> str:
        """The reverse-path under which `domain` forwards a message of `sender`.

        The null path stays as it is, and what would be too long for others to take, whatever SPF says to it then.
        """
        rewritten = self._rewrite(sender, domain, day)
        return rewritten if len(rewritten.encode()) <= ADDRESS_OCTETS else sender

    def _rewrite(self, sender: str, domain: str, day: int) -> str:
        local_part, at, host = sender.rpartition("@")
        if not at:
            return sender
        if (found := _SRS1.fullmatch(local_part)) is not None:
            return self._srs1(found[2], found[3], domain)
        if (found := _OTHERS_SRS0.fullmatch(local_part)) is not None:
            return self._srs1(host, found[1], domain)
        stamp = _stamp(day)
        return f"SRS0={self._hash(stamp, host, local_part)}={stamp}={host}={local_part}@{domain}"

    def restore(self, local_part: str, *, day: int) -> str | None:
        """The address that was rewritten to `local_part` of a domain here; None where it is not ours, or too old."""
        if (found := _SRS0.fullmatch(local_part)) is not None:
            made, stamp, host, local_part = found.groups()
            valid = self._is_ours(made, stamp, host, local_part) and _is_fresh(stamp.lower(), day)
            return f"{local_part}@{host}" if valid else None
        if (found := _SRS1.fullmatch(local_part)) is not None:
            made, host, rest = found.groups()
            return f"SRS0{rest}@{host}" if self._is_ours(made, host, rest) else None
        return None

    def _srs1(self, host: str, rest: str, domain: str) -> str:
        return f"SRS1={self._hash(host, rest)}={host}={rest}@{domain}"

    def _is_ours(self, made: str, *parts: str) -> bool:
        # Some servers change the case of a local part, which base 32 lives through.
        return hmac.compare_digest(made.lower().encode(), self._hash(*parts).encode())

    def _hash(self, *parts: str) -> str:
        digest = hmac.digest(self.key, "\0".join(part.lower() for part in parts).encode(), "sha256")
        return base64.b32encode(digest).decode("ascii").lower()[:_HASH_CHARACTERS]


def _stamp(day: int) -> str:
    day %= _CYCLE_DAYS
    return _DIGITS[day // 32] + _DIGITS[day % 32]


def _is_fresh(stamp: str, day: int) -> bool:
    high, low = (_DIGITS.find(digit) for digit in stamp)
    return (day - (high * 32 + low)) % _CYCLE_DAYS <= VALID_DAYS
