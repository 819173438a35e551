"""A login whose password may be remembered: what the door gives to those who find the credential themselves."""

from accounts.lookup import Credential
from accounts.passwords import PasswordChecker
from accounts.watch import Try


class Recall:
    """A login that may be right without a slow hash (Door.recall)."""

    __slots__ = ("_password", "_passwords", "trying")

    def __init__(self, trying: Try, passwords: PasswordChecker, password: str) -> None:
        self.trying = trying
        self._passwords = passwords
        self._password = password

    @property
    def login(self) -> str:
        return self.trying.login

    def knows(self, credential: Credential) -> bool:
        """Whether its password is right by this credential, and remembered to be. On any thread."""
        usable = credential.is_active and not credential.two_factor
        return usable and self._passwords.recall(credential.encoded, self._password)
