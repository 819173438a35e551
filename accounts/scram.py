"""What the server keeps to let in by SCRAM (RFC 5802, RFC 7677): verifiers, made when a password is set.

A verifier does not tell the password, and a login with it costs the server no slow hash. Those of a user are one text,
which begins with a digest of the stored password hash they were made with: whatever writes another hash, on whatever
path, makes them worthless, so that an old password never opens by SCRAM what it does not open by PASS.

An unknown user gets a verifier that is invented, and the same each time: what RFC 5802, 9 asks for, and promise 7.
"""

import base64
import functools
import hashlib
import secrets
from dataclasses import dataclass

from django.conf import settings
from django.utils.crypto import salted_hmac
from scramp import ScramException, ScramMechanism
from scramp.core import Gs2Header, ServerError
from scramp.utils import saslprep

#: Mechanisms that verifiers can be made for, and the octets of their hash.
HASH_OCTETS = {"SCRAM-SHA-256": 32, "SCRAM-SHA-1": 20}
_SALT_OCTETS = 16
#: Stands for the verifiers of a password that SCRAM cannot carry.
_NONE = "-"


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """What a client's proof is checked against (RFC 5802, 3)."""

    mechanism: str
    salt: bytes
    stored_key: bytes
    server_key: bytes
    iterations: int

    def auth_info(self) -> tuple[bytes, bytes, bytes, int]:
        """In the order in which scramp's server takes it."""
        return self.salt, self.stored_key, self.server_key, self.iterations

    def __str__(self) -> str:
        """As RFC 5803, 2 writes it."""
        salt, stored_key, server_key = (
            base64.b64encode(octets).decode("ascii") for octets in (self.salt, self.stored_key, self.server_key)
        )
        return f"{self.mechanism}${self.iterations}:{salt}${stored_key}:{server_key}"

    @classmethod
    def parse(cls, text: str) -> "ScramVerifier":
        mechanism, iterations_and_salt, keys = text.split("$")
        iterations, salt = iterations_and_salt.split(":")
        stored_key, server_key = keys.split(":")
        decode = functools.partial(base64.b64decode, validate=True)
        return cls(mechanism, decode(salt), decode(stored_key), decode(server_key), int(iterations))


class _SentHeader(Gs2Header):  # type: ignore[misc]
    """The header of a client's first message as it came, which its last one repeats (RFC 5802, 7: channel-binding).

    scramp takes none with an authzid, which has no part in the proof but this.
    """

    def __init__(self, flag: str, sent: str) -> None:
        super().__init__(flag, None)
        self._sent = sent

    def __bytes__(self) -> bytes:
        return self._sent.encode()


class ScramExchange:
    """The server's side of one exchange (RFC 5802, 3). ValueError: a message that is not understood."""

    def __init__(self, verifier: ScramVerifier) -> None:
        self.verifier = verifier
        self._server = ScramMechanism(verifier.mechanism).make_server(lambda _: verifier.auth_info())

    def challenge(self, first: str) -> str:
        """What follows from the client's first message."""
        flag, authzid, bare = first.split(",", 2)
        try:
            self._server.set_client_first(f"{flag},,{bare}")
            self._server.gs2_header = _SentHeader(flag, f"{flag},{authzid},")
            challenge: str = self._server.get_server_first()
        except ScramException as error:
            raise ValueError(str(error)) from error
        return challenge

    def check(self, final: str) -> str | None:
        """The server's own proof, in answer to the client's; None where that is wrong."""
        try:
            self._server.set_client_final(final)
            proof: str = self._server.get_server_final()
        except ScramException as error:
            if error.server_error == ServerError.INVALID_PROOF:
                return None
            raise ValueError(str(error)) from error
        return proof


def make_verifiers(password: str, encoded: str) -> str:
    """The verifiers of a password whose stored hash is `encoded`, as one text to keep beside it.

    Takes some 20 ms of a processor. SASLprep refuses passwords with characters that Unicode 3.2 did not have
    (RFC 5802, 2.2); those have no verifiers and open by the other mechanisms.
    """
    try:
        sayable = bool(saslprep(password))
    except ScramException:
        sayable = False
    verifiers = [_make_verifier(password, mechanism) for mechanism in settings.SCRAM_MECHANISMS] if sayable else [_NONE]
    return " ".join([_tag(encoded), *map(str, verifiers)])


def find_verifier(kept: str, encoded: str, mechanism: str) -> ScramVerifier | None:
    """The verifier for a mechanism among those kept; None where there is none that goes with the stored hash."""
    for text in _verifiers(kept, encoded):
        if text.startswith(f"{mechanism}$"):
            return ScramVerifier.parse(text)
    return None


def are_current(kept: str, encoded: str) -> bool:
    """Whether verifiers are there for all the mechanisms of the settings, with this stored hash."""
    verifiers = _verifiers(kept, encoded)
    wanted = [f"{mechanism}${settings.SCRAM_ITERATIONS}" for mechanism in settings.SCRAM_MECHANISMS]
    return belong_to(kept, encoded) and ([text.partition(":")[0] for text in verifiers] in (wanted, [_NONE]))


def belong_to(kept: str, encoded: str) -> bool:
    """Whether verifiers were made together with this stored hash."""
    return kept.partition(" ")[0] == _tag(encoded)


def invented_verifier(address: str, mechanism: str) -> ScramVerifier:
    """What somebody who is not here is shown: no password fits it, and it stays the same for an address."""

    def octets(of: str) -> bytes:
        return salted_hmac("accounts.scram", f"{of} {mechanism} {address}", algorithm="sha256").digest()

    size = HASH_OCTETS[mechanism]
    salt, stored_key, server_key = octets("salt")[:_SALT_OCTETS], octets("stored")[:size], octets("server")[:size]
    return ScramVerifier(mechanism, salt, stored_key, server_key, settings.SCRAM_ITERATIONS)


def _make_verifier(password: str, mechanism: str) -> ScramVerifier:
    salt, stored_key, server_key, iterations = ScramMechanism(mechanism).make_auth_info(
        password, iteration_count=settings.SCRAM_ITERATIONS, salt=secrets.token_bytes(_SALT_OCTETS)
    )
    return ScramVerifier(mechanism, salt, stored_key, server_key, iterations)


def _verifiers(kept: str, encoded: str) -> list[str]:
    return kept.split(" ")[1:] if belong_to(kept, encoded) else []


def _tag(encoded: str) -> str:
    return hashlib.sha256(encoded.encode()).hexdigest()[:32]
