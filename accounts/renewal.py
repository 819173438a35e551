"""What is stored of a password, brought up to date at a login, when the password is at hand.

A hash of another kind, or with other parameters, becomes one of today's, and SCRAM verifiers are made where they are
missing or out of date: so accounts from elsewhere become ours one login after the other.
"""

from django.contrib.auth.hashers import get_hasher, identify_hasher, make_password

from accounts.hashing import Hashing
from accounts.lookup import Credential
from accounts.models import User
from accounts.scram import are_current, make_verifiers
from mailplatform.bridge import Bridge


async def renew(bridge: Bridge, hashing: Hashing, credential: Credential, password: str) -> bool:
    """Whether anything was out of date. Raises TooBusyError where too many logins wait for their hashes."""
    kept = await bridge.run(_find_verifiers, credential.user_id)
    if not _must_update(credential.encoded) and are_current(kept, credential.encoded):
        return False
    async with hashing.turn(""):
        encoded, scram = await hashing.run(_make_anew, credential.encoded, password)
    await bridge.run(_store, credential, encoded, scram)
    return True


def _must_update(encoded: str) -> bool:
    """As Django's own check of a password decides it."""
    hasher, preferred = identify_hasher(encoded), get_hasher("default")
    return hasher.algorithm != preferred.algorithm or preferred.must_update(encoded)


def _find_verifiers(user_id: int) -> str:
    return User.objects.filter(pk=user_id).values_list("scram", flat=True).first() or ""


def _make_anew(encoded: str, password: str) -> tuple[str, str]:
    if _must_update(encoded):
        encoded = make_password(password)
    return encoded, make_verifiers(password, encoded)


def _store(credential: Credential, encoded: str, scram: str) -> None:
    """Store both, unless the password was changed meanwhile."""
    rows = User.objects.filter(pk=credential.user_id, password=credential.encoded)
    rows.update(password=encoded, scram=scram)
