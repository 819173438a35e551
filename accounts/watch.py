"""What the door notes of those who come, and what it learns from it: throttles, known addresses, records, last uses.

All of it is in the memory of a process and exchanged with the database by `tend`, about once a second; a login asks
the database for it only where somebody else's failures would make it wait.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from accounts import known_addresses, records, throttling
from accounts.addresses import kept_login
from accounts.app_passwords import Use, write_uses
from accounts.callers import Caller
from accounts.known_addresses import KnownAddresses
from accounts.models import LoginResult
from accounts.records import Attempt, Records
from accounts.throttling import HELD_SECONDS, Guesses, Place, Throttles
from mailplatform.bridge import Bridge

logger = logging.getLogger(__name__)

#: Seconds between two prunings. Processes that were started together do not prune together.
PRUNE_SECONDS = 600


class NotAdmittedError(Exception):
    """Wrong name or password, suspended, not allowed: all the same to the outside. `reason` is for the record."""

    def __init__(self, reason: LoginResult) -> None:
        super().__init__(reason.value)
        self.reason = reason


class ThrottledError(Exception):
    """Turned away before anything was looked at; to try again makes sense after `seconds`."""

    def __init__(self, seconds: float, reason: LoginResult = LoginResult.THROTTLED) -> None:
        super().__init__(f"{reason.value} for {seconds:.0f} s")
        self.seconds = max(1, math.ceil(seconds))
        self.reason = reason


class Try:
    """A login under way, and what its record will say."""

    __slots__ = (
        "app_password", "began", "caller", "judged", "login", "mailbox_id", "mechanism", "place", "reason", "slept",
    )  # fmt: skip

    def __init__(self, caller: Caller, login: str, mechanism: str, place: Place) -> None:
        self.caller = caller
        self.login = login
        self.mechanism = mechanism
        self.place = place
        self.began = time.perf_counter()
        self.slept = 0.0
        #: Its password is being looked at, or was.
        self.judged = False
        #: Why it fails if it does, as far as is known by now.
        self.reason = LoginResult.UNKNOWN
        self.mailbox_id: int | None = None
        self.app_password = ""


class Watch:
    """The notes of one process. Used from its event loop alone."""

    def __init__(self, bridge: Bridge, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._bridge = bridge
        self._sleep = sleep
        self.guesses = Guesses()
        self._throttles = Throttles(clock)
        self._known = KnownAddresses(clock)
        self._records = Records(clock)
        self._uses: dict[int, Use] = {}
        self._tending = asyncio.Lock()
        self._prune_at = time.monotonic() + secrets.randbelow(PRUNE_SECONDS)

    def begin(self, caller: Caller, login: str, mechanism: str) -> Try:
        return Try(caller, login, mechanism, self._throttles.place(caller.address, login))

    async def wait(self, trying: Try) -> None:
        """Sleep out what failures, its own or others', ask for. Raises ThrottledError where that is too long."""
        while seconds := await self.seconds(trying):
            if trying.slept + seconds > HELD_SECONDS:
                raise ThrottledError(seconds)
            trying.slept += seconds
            await self._sleep(seconds)

    async def seconds(self, trying: Try) -> float:
        """How long to wait from now on."""
        place = trying.place
        own, others = self._throttles.waits(place)
        if others > own and not await self._known.are_known(place.login, place.network, self._bridge):
            return others
        return self._throttles.waits(place)[0]  # more may have failed while the database was asked

    def may_have_to_wait(self, trying: Try) -> bool:
        """Whether there are failures, its own or others', that count; `seconds` may know better."""
        return any(self._throttles.waits(trying.place))

    def failed(self, trying: Try) -> None:
        """It was a wrong guess, and no repeated one."""
        self._throttles.failed(trying.place)

    def succeeded(self, trying: Try) -> None:
        self._known.note(trying.place.login, trying.place.network)

    def used(self, use: Use) -> None:
        """An app password has let somebody in."""
        self._uses[use.app_password_id] = use

    def record(self, trying: Try, result: LoginResult) -> None:
        milliseconds = round((time.perf_counter() - trying.began) * 1000)
        self._records.add(
            Attempt(
                trying.caller, kept_login(trying.login), trying.mechanism, result,
                milliseconds, trying.mailbox_id, trying.app_password,
            )
        )  # fmt: skip

    async def tend(self, *, everything: bool = False) -> None:
        """Exchange, write what is due, or everything, and prune.

        Errors are logged; what could not be written waits for the next round.
        """
        # Cancelled between a statement and its answer a batch would be written twice.
        await asyncio.shield(asyncio.ensure_future(self._tend(everything)))

    async def _tend(self, everything: bool) -> None:
        async with self._tending:
            for chore in (self._throttles.exchange, self._known.flush, self._write_uses):
                await _logged(chore(self._bridge))
            await _logged(self._records.flush(self._bridge, everything=everything))
            if time.monotonic() >= self._prune_at:
                self._prune_at = time.monotonic() + PRUNE_SECONDS
                for prune in (throttling.prune, known_addresses.prune, records.prune):
                    await _logged(self._bridge.run(prune))

    async def _write_uses(self, bridge: Bridge) -> None:
        if not self._uses:
            return
        taken, self._uses = self._uses, {}
        try:
            await bridge.run(write_uses, list(taken.values()))
        except Exception:
            self._uses = taken | self._uses
            raise


async def _logged(chore: Awaitable[Any]) -> None:
    try:
        await chore
    except Exception:
        logger.exception("a chore of the door failed, the next round tries again")
