"""Promise 7: how long a refusal takes tells nothing about whether there is such a mailbox.

200 wrong passwords and 200 unknown names, in an order that chance gives, are compared by the Mann-Whitney test: how
often the one takes longer than the other. For equal times its z is within 4 in all but one of 15,000 runs. That it
would see a difference is shown with a server that computes no hash for unknown names.
"""

import random
import time
from collections.abc import Callable
from statistics import NormalDist

import pytest
from pytest_django import Settings

from accounts.hashers import Argon2Hasher
from accounts.lookup import FoundMailbox
from accounts.services import set_password
from tests.pop3service.mailboxes import JULES, WRONG
from tests.pop3service.serving import DatabaseServed
from tests.pop3service.test_logins import owner

Serve = Callable[..., DatabaseServed]

TRIES = 200
SUSPECT = 4.0


class QuickArgon2(Argon2Hasher):
    """The product's own, with a tenth of its work, so that 400 hashes take about a second."""

    memory_cost = 2048


def times(served: DatabaseServed) -> tuple[list[float], list[float]]:
    """Seconds from PASS to its answer: for wrong passwords, and for unknown names."""
    # A day goes by before each try, so that none is slowed down.
    clock = [1_800_000_000.0]
    served.door._watch._throttles._clock = lambda: clock[0]
    names = [JULES, "nobody@maison.mrs"] * TRIES
    random.Random(7).shuffle(names)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number, name in enumerate(names):
        clock[0] += 86_400
        with served.connect() as client:
            client.greet()
            client.say(f"USER {name}")
            begun = time.perf_counter()
            assert client.say(f"PASS guess {number}") == WRONG
            taken[name].append(time.perf_counter() - begun)
    return taken[JULES], taken["nobody@maison.mrs"]


def z_of(first: list[float], second: list[float]) -> float:
    """The statistic of Mann and Whitney as a normal deviate: positive where the first are longer."""
    ranked = sorted([(each, 1) for each in first] + [(each, 0) for each in second])
    ranks = sum(rank for rank, (_, is_first) in enumerate(ranked, 1) if is_first)
    m, n = len(first), len(second)
    u = ranks - m * (m + 1) / 2
    return (u - m * n / 2) / (m * n * (m + n + 1) / 12) ** 0.5


@pytest.fixture
def argon2(settings: Settings, jules: FoundMailbox) -> None:
    settings.PASSWORD_HASHERS = [f"{__name__}.QuickArgon2"]
    set_password(user=owner(), password="right horse")


def test_200_tries_of_each_cannot_tell_a_wrong_password_from_an_unknown_name(
    serve_mailboxes: Serve, argon2: None
) -> None:
    z = z_of(*times(serve_mailboxes()))
    print(f"z = {z:.2f}, p = {2 * NormalDist().cdf(-abs(z)):.2f}")
    assert abs(z) < SUSPECT


def test_the_test_would_see_a_hash_that_is_left_out(serve_mailboxes: Serve, argon2: None) -> None:
    served = serve_mailboxes()
    verify = served.door._passwords.verify
    served.door._passwords.verify = lambda encoded, password: encoded is not None and verify(encoded, password)
    assert z_of(*times(served)) > 2 * SUSPECT
