"""Who may come in: one door for every mail protocol.

A protocol asks with what it was told, and gets an Admission or an error. To the outside all refusals of a login are
one and the same, in words and in the work that is done for them (promise 7): a wrong password is one slow hash,
whether its user exists, is suspended, or may use no password. Why it was refused is for the record alone.

A Door belongs to one event loop. `tend` is called before the first login, and `chores` runs beside it (accounts.watch).
"""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NoReturn, TypeVar

from django.conf import settings

from accounts.addresses import kept_login, normal_login
from accounts.app_passwords import FoundAppPassword, Use, find_app_passwords, typed_digest
from accounts.callers import Caller as Caller
from accounts.callers import Protocol as Protocol
from accounts.hashing import Hashing, TooBusyError
from accounts.lookup import Credential, ScramSecret, find_credentials, find_delegated, find_scram_secrets
from accounts.models import LoginResult
from accounts.passwords import PasswordChecker, prepare_password
from accounts.policies import Policy
from accounts.recall import Recall
from accounts.renewal import renew
from accounts.sasl import MECHANISMS, TOKEN_MECHANISMS
from accounts.scram import HASH_OCTETS, ScramVerifier, find_verifier, invented_verifier
from accounts.tokens import BearerToken, IntrospectionError, Tokens, make_introspector
from accounts.watch import NotAdmittedError as NotAdmittedError
from accounts.watch import ThrottledError as ThrottledError
from accounts.watch import Try, Watch
from mailplatform.bridge import Bridge

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

#: Seconds between two rounds of the chores.
CHORE_SECONDS = 1.0
#: What a client is told to wait that came while too many logins were under way.
BUSY_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Admission:
    """What a login opened. `user_id` is who came in, the owner or a delegate; `app_password` is the used one's name.

    `combined`: a maildrop of all the user's mailboxes was asked for (accounts.lookup.find_combined).
    """

    mailbox_id: int
    address: str
    user_id: int
    policy: Policy
    read_only: bool = False
    app_password_id: int | None = None
    app_password: str = ""
    combined: bool = False
    #: That of the user's password where it was let in by it (accounts.models.User).
    password_mark: int | None = None
    #: What it was let in by, if by one.
    token: BearerToken | None = None


class Door:
    """The logins of one worker process."""

    def __init__(
        self,
        bridge: Bridge,
        seconds: float | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`seconds`: how long a right password is remembered (CREDENTIAL_CACHE_SECONDS). Computes one slow hash."""
        self._bridge = bridge
        self._clock = clock
        self._passwords = PasswordChecker(settings.CREDENTIAL_CACHE_SECONDS if seconds is None else seconds)
        self._hashing = Hashing()
        introspector = make_introspector()
        self._tokens = Tokens(introspector, clock)
        off = set(HASH_OCTETS) - set(settings.SCRAM_MECHANISMS) | (set() if introspector else TOKEN_MECHANISMS)
        #: Those of SASL by which one comes in here, best first.
        self.mechanisms = tuple(name for name in MECHANISMS if name not in off)
        self._watch = Watch(bridge, clock, sleep)
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- What protocols ask -----------------------------------------------------------------------------------

    async def admit(
        self, caller: Caller, login: str, password: str, *, authzid: str = "", mechanism: str = "PLAIN"
    ) -> Admission:
        """Let in by a password or an app password. Raises NotAdmittedError, ThrottledError.

        `authzid` is the mailbox to open where it is not the login's own (RFC 4616, 2).
        """
        trying = self._watch.begin(caller, login, mechanism)
        return await self._recorded(trying, self._by_password(trying, password, authzid))

    def recall(self, caller: Caller, login: str, password: str, *, mechanism: str = "PLAIN") -> Recall | None:
        """The first half of an `admit` that needs neither a wait nor a slow hash; `admit_remembered` is the second.

        Between them the caller finds the credential, and sees whether the Recall knows it; otherwise nothing has
        happened yet. None: there may be something to wait for, or an app password to find, which only `admit` does.
        """
        trying = self._watch.begin(caller, login, mechanism)
        if not _can_exist(login) or self._watch.may_have_to_wait(trying):
            return None
        prepared = prepare_password(password)
        return Recall(trying, self._passwords, prepared) if typed_digest(prepared) is None else None

    def admit_remembered(self, recall: Recall, credential: Credential) -> Admission:
        """Let in by a credential that the Recall knows, to the mailbox of the login itself."""
        admission = self._admission(recall.trying, credential, credential, recall.login)
        self._watch.record(recall.trying, LoginResult.ADMITTED)
        return admission

    async def scram_verifier(self, caller: Caller, login: str, mechanism: str) -> ScramVerifier:
        """What the proof of a client is checked against; an invented one where no proof will be right.

        Raises ThrottledError. `judge` follows, with the same verifier.
        """
        if mechanism not in settings.SCRAM_MECHANISMS:
            raise ValueError(mechanism)
        trying = self._watch.begin(caller, login, mechanism)
        return await self._recorded(trying, self._find_verifier(trying), ends=False)

    async def judge(self, caller: Caller, login: str, verifier: ScramVerifier, *, fits: bool) -> None:
        """Tell whether a proof fits, when there is nothing to wait for: returns only where it does.

        Raises NotAdmittedError, ThrottledError. `admit_proven` follows.
        """
        trying = self._watch.begin(caller, login, verifier.mechanism)
        await self._recorded(trying, self._judge(trying, fits), ends=False)

    async def admit_proven(
        self, caller: Caller, login: str, verifier: ScramVerifier, *, authzid: str = ""
    ) -> Admission:
        """Let in after a proof that fits. Raises NotAdmittedError, ThrottledError."""
        trying = self._watch.begin(caller, login, verifier.mechanism)
        return await self._recorded(trying, self._by_proof(trying, verifier, authzid))

    async def admit_token(self, caller: Caller, login: str, token: str, *, mechanism: str = "OAUTHBEARER") -> Admission:
        """Let in by a bearer token (RFC 7628). Raises NotAdmittedError, ThrottledError, IntrospectionError.

        The token says who comes in; `login` is the mailbox to open, empty for the token's own.
        """
        trying = self._watch.begin(caller, login, mechanism)
        return await self._recorded(trying, self._by_token(trying, token))

    async def is_revoked(self, token: BearerToken) -> bool:
        """Whether it would let nobody in any more. One about which the issuer cannot be asked counts as valid.

        The issuer is asked once in a minute at most (accounts.tokens).
        """
        try:
            return await self._tokens.grant(token.secret) is None
        except (IntrospectionError, TooBusyError):
            pass  # it is asked again; that nobody answers is in the log (accounts.tokens)
        except Exception:
            logger.exception("the bearer token of an open session was not asked about")
        return False

    async def chores(self) -> NoReturn:
        """Keep the throttles fresh and the records written, until cancelled."""
        while True:
            await self.tend()
            await asyncio.sleep(CHORE_SECONDS)

    async def tend(self, *, everything: bool = False) -> None:
        """One round of the chores; with `everything` also of those that have time."""
        await self._watch.tend(everything=everything)

    async def close(self) -> None:
        """Break off what is under way, write what is to be written. Callers have left and `chores` was cancelled."""
        self._hashing.close()
        self._tokens.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.tend(everything=True)

    # --- Ways to come in --------------------------------------------------------------------------------------

    async def _by_password(self, trying: Try, typed: str, authzid: str) -> Admission:
        await self._watch.wait(trying)
        password = prepare_password(typed)
        credential = await self._find(trying, trying.login)
        if credential and not credential.two_factor and self._passwords.recall(credential.encoded, password):
            return await self._open(trying, trying.login, credential, authzid)
        if (digest := typed_digest(password)) is not None:
            found = await self._bridge.gather(find_app_passwords, digest)
            if found is not None and credential is not None and found.user_id == credential.user_id:
                return await self._by_app_password(trying, credential, found, authzid)
        verified = await self._unless_left(trying, self._verify(trying, credential, password))
        return await self._open(trying, trying.login, verified, authzid)

    async def _by_app_password(
        self, trying: Try, credential: Credential, found: FoundAppPassword, authzid: str
    ) -> Admission:
        now = datetime.fromtimestamp(self._clock(), UTC)
        trying.app_password = found.name
        refusal = found.refusal(trying.caller, now)
        if refusal is not None:
            raise NotAdmittedError(refusal)
        admission = await self._open(trying, trying.login, credential, authzid, found)
        if found.use_is_news(now):
            self._watch.used(Use(found.id, now, trying.caller.address))
        return admission

    async def _by_proof(self, trying: Try, verifier: ScramVerifier, authzid: str) -> Admission:
        await self._watch.wait(trying)
        secret = await self._find_secret(trying)
        if secret is None or secret.credential is None or _verifier(secret, trying.mechanism) != verifier:
            raise NotAdmittedError(trying.reason)
        return await self._open(trying, trying.login, secret.credential, authzid)

    async def _judge(self, trying: Try, fits: bool) -> None:
        # Right or wrong: else as many guesses are free as connections are opened before the first one fails.
        await self._watch.wait(trying)
        if fits:
            return
        # At once, with no other in between. Nobody can tell whether two wrong proofs are of one password: each counts.
        self._watch.failed(trying)
        await self._find_secret(trying)
        raise NotAdmittedError(trying.reason)

    async def _by_token(self, trying: Try, token: str) -> Admission:
        await self._watch.wait(trying)
        try:
            grant = await self._tokens.grant(token)
        except TooBusyError:
            raise ThrottledError(BUSY_SECONDS, LoginResult.BUSY) from None
        if grant is None:
            raise self._refused(trying, LoginResult.TOKEN, "token", trying.place.login, token)
        trying.login = trying.login or grant.login
        credential = await self._find(trying, grant.login)
        if credential is None:
            raise NotAdmittedError(trying.reason)
        admission = await self._open(trying, grant.login, credential, trying.login)
        return replace(admission, password_mark=None, token=BearerToken(token, grant.expires_at))

    async def _open(
        self, trying: Try, name: str, credential: Credential, authzid: str, found: FoundAppPassword | None = None
    ) -> Admission:
        """The mailbox that was asked for: that of `name`, or by `authzid` another one of this user's or entrusted."""
        target = credential
        if authzid and normal_login(authzid) not in (normal_login(name), credential.address):
            target = await self._find_delegated(credential.user_id, authzid)
        return self._admission(trying, credential, target, authzid or name, found)

    def _admission(
        self, trying: Try, credential: Credential, target: Credential, asked: str, found: FoundAppPassword | None = None
    ) -> Admission:
        """Whoever the credential is of comes into the target, for which was asked by that name."""
        # What others entrusted is one mailbox, and a full address is one.
        combined = target.combined and target.user_id == credential.user_id and "@" not in normal_login(asked)
        self._watch.succeeded(trying)
        trying.mailbox_id = target.mailbox_id
        return Admission(
            target.mailbox_id, target.address, credential.user_id, target.policy,
            found is not None and found.read_only, found.id if found else None, trying.app_password, combined,
            None if found else credential.password_mark,
        )  # fmt: skip

    # --- Looking ----------------------------------------------------------------------------------------------

    async def _find(self, trying: Try, login: str) -> Credential | None:
        """The credential of a login name; None where nothing opens it."""
        credential = await self._bridge.gather(find_credentials, login) if _can_exist(login) else None
        return _usable(trying, credential)

    async def _find_delegated(self, user_id: int, authzid: str) -> Credential:
        found = await self._bridge.gather(find_delegated, (user_id, authzid)) if _can_exist(authzid) else None
        if found is None or not found.is_active:
            raise NotAdmittedError(LoginResult.DELEGATION)
        return found

    async def _verify(self, trying: Try, credential: Credential | None, password: str) -> Credential:
        """The credential again, where the password fits and may be used; otherwise raises NotAdmittedError."""
        encoded = credential.encoded if credential else None
        two_factor = credential is not None and credential.two_factor
        guess = ("two-factor" if two_factor else "", encoded or "", trying.place.login, password)
        if (reason := self._watch.guesses.result_of(*guess)) is not None:
            raise NotAdmittedError(reason)
        right = await self._hash(trying, encoded, password)
        if right and credential is not None and not two_factor:
            self._start(self._renew(credential, password))
            return credential
        # With two-factor a right password counts as a wrong one, else it could be found out here.
        raise self._refused(trying, LoginResult.TWO_FACTOR if right else trying.reason, *guess)

    def _refused(self, trying: Try, reason: LoginResult, *guess: str) -> NotAdmittedError:
        """Count a guess, unless it is a repeated one; answers the error to raise."""
        if self._watch.guesses.result_of(*guess) is None:
            self._watch.guesses.refused(reason, *guess)
            self._watch.failed(trying)
        return NotAdmittedError(reason)

    async def _hash(self, trying: Try, encoded: str | None, password: str) -> bool:
        """Compute the slow hash once it is its turn, and if by then there is nothing to wait for."""
        try:
            while True:
                async with self._hashing.turn(trying.place.network):
                    if not await self._watch.seconds(trying):
                        trying.judged = True
                        return await self._hashing.run(self._passwords.verify, encoded, password)
                await self._watch.wait(trying)
        except TooBusyError:
            raise ThrottledError(BUSY_SECONDS, LoginResult.BUSY) from None

    async def _find_verifier(self, trying: Try) -> ScramVerifier:
        await self._watch.wait(trying)
        secret = await self._find_secret(trying)
        address = secret.address if secret else kept_login(trying.login)
        return _verifier(secret, trying.mechanism) or invented_verifier(address, trying.mechanism)

    async def _find_secret(self, trying: Try) -> ScramSecret | None:
        if not _can_exist(trying.login):
            return None
        secret = await self._bridge.gather(find_scram_secrets, trying.login)
        credential = _usable(trying, secret.credential)
        if credential is not None and credential.two_factor:
            trying.reason = LoginResult.TWO_FACTOR
        elif credential is not None and _verifier(secret, trying.mechanism) is None:
            trying.reason = LoginResult.SCRAM
        return secret

    async def _renew(self, credential: Credential, password: str) -> None:
        """Bring what is stored of a right password up to date."""
        try:
            await renew(self._bridge, self._hashing, credential, password)
        except TooBusyError:
            logger.info("too busy to renew the password hash of user %d", credential.user_id)
        except Exception:
            logger.exception("renewing the password hash of user %d failed", credential.user_id)

    # --- Each login to its end ----------------------------------------------------------------------------------

    async def _recorded(self, trying: Try, work: Coroutine[Any, Any, Result], *, ends: bool = True) -> Result:
        """What `work` answers. A caller may leave: be cancelled."""
        try:
            answer = await work
        except (NotAdmittedError, ThrottledError) as error:
            self._watch.record(trying, error.reason)
            raise
        except asyncio.CancelledError:
            if trying.slept and not trying.judged:
                self._watch.record(trying, LoginResult.THROTTLED)
            raise
        except Exception:
            self._watch.record(trying, LoginResult.ERROR)
            raise
        if ends:
            self._watch.record(trying, LoginResult.ADMITTED)
        return answer

    async def _unless_left(self, trying: Try, judging: Coroutine[Any, Any, Result]) -> Result:
        """What `judging` answers. Who hangs up while the hash is computed has guessed all the same."""
        task = self._start(judging)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if trying.judged:
                task.add_done_callback(functools.partial(self._record_unseen, trying))
            else:
                task.cancel()
            raise

    def _record_unseen(self, trying: Try, judging: asyncio.Task[Any]) -> None:
        """How a login ended whose caller has left. An error of ours is in no log yet."""
        error = None if judging.cancelled() else judging.exception()
        if isinstance(error, NotAdmittedError | ThrottledError):
            self._watch.record(trying, error.reason)
        elif error is not None:
            self._watch.record(trying, LoginResult.ERROR)
            logger.error("a login failed after its client had gone", exc_info=error)
        elif not judging.cancelled():
            self._watch.record(trying, LoginResult.ADMITTED)

    def _start(self, work: Coroutine[Any, Any, Result]) -> "asyncio.Task[Result]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _can_exist(login: str) -> bool:
    """Whether any mailbox could be called so; what is too long or cannot be shown need not be asked for."""
    return kept_login(login) == login


def _usable(trying: Try, credential: Credential | None) -> Credential | None:
    """The credential where it is active; what is found goes to the record in any case."""
    if credential is None:
        return None
    trying.mailbox_id = credential.mailbox_id
    trying.reason = LoginResult.WRONG if credential.is_active else LoginResult.SUSPENDED
    return credential if credential.is_active else None


def _verifier(secret: ScramSecret | None, mechanism: str) -> ScramVerifier | None:
    """The verifier of one who may come in by it."""
    credential = secret.credential if secret else None
    if secret is None or credential is None or not credential.is_active or credential.two_factor:
        return None
    return find_verifier(secret.kept, credential.encoded, mechanism)
