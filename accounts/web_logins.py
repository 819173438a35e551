"""Logins on web pages: throttled, counted and recorded together with those of the mail protocols (accounts.door).

Synchronous and straight on the database: a login page is asked seldom, and its processes have no door. Nothing is held
back, for a web server has few threads; who comes too soon is told when to come again, and not looked at.
"""

import math
import time

from accounts import known_addresses, records, throttling
from accounts.callers import Caller
from accounts.models import LoginResult
from accounts.records import Attempt
from accounts.throttling import find_waiting, throttles_now


def seconds_to_wait(caller: Caller, login: str) -> int:
    """Seconds until this login may be tried from there; 0: now. An address that is known waits for its own failures."""
    waits = {wait.key: wait.seconds for wait in find_waiting([(login, caller.address)])}
    place = throttles_now().place(caller.address, login)
    own = waits.pop(place.own, 0.0)
    others = max(waits.values(), default=0.0)
    if others > own and not known_addresses.find_known([(place.login, place.network)])[0]:
        return math.ceil(others)
    return math.ceil(own)


def refused(caller: Caller, login: str, *, began: float) -> None:
    """It was a wrong guess; `began` by time.perf_counter()."""
    throttling.count_failure(throttles_now().place(caller.address, login))
    _record(caller, login, LoginResult.WRONG, began)


def admitted(caller: Caller, login: str, *, began: float) -> None:
    """It was let in."""
    place = throttles_now().place(caller.address, login)
    known_addresses.write_known(place.login, place.network)
    _record(caller, login, LoginResult.ADMITTED, began)


def _record(caller: Caller, login: str, result: LoginResult, began: float) -> None:
    records.write_attempt(Attempt(caller, login, "FORM", result, round((time.perf_counter() - began) * 1000)))
