"""Promise 7, measured over the socket: how long a login takes tells nobody which names exist."""

import random
import statistics
import time
from collections.abc import Callable

from django.contrib.auth.hashers import make_password
from pytest_django import Settings

from accounts.hashers import Argon2Hasher
from accounts.models import Domain, Mailbox, User
from accounts.services import create_domain
from tests.pop3service.mailboxes import WRONG
from tests.pop3service.serving import DatabaseServed

#: Tries with names that exist, and as many with names that do not.
TRIES = 100


class QuickArgon2(Argon2Hasher):
    """A fifth of the real cost, before which a difference of the ways that lead to it would show five times as well."""

    memory_cost = 4 * 1024


def test_200_tries_cannot_tell_an_unknown_name_from_a_wrong_password(
    serve_mailboxes: Callable[..., DatabaseServed], settings: Settings
) -> None:
    """Edge 25: the same text, and times of one distribution (Mann and Whitney's test of ranks)."""
    settings.PASSWORD_HASHERS = [f"{__name__}.QuickArgon2"]
    settings.THROTTLE_EXEMPT_NETWORKS = ["127.0.0.0/8"]  # each name is tried once, and all come from one address
    _add_accounts(create_domain(name="maison.mrs"))
    served = serve_mailboxes()
    tries = [(kind, number) for kind in ("known", "unknown") for number in range(TRIES)]
    random.shuffle(tries)
    took: dict[str, list[float]] = {"known": [], "unknown": []}
    for kind, number in tries:
        took[kind].append(_seconds_to_refuse(served, f"{kind}{number}@maison.mrs"))
    assert abs(_ranks(took["known"], took["unknown"])) < 4.5, {
        kind: statistics.quantiles(times, n=4) for kind, times in took.items()
    }


def _add_accounts(domain: Domain) -> None:
    encoded = make_password("right")
    names = [f"known{number}" for number in range(TRIES)]
    users = User.objects.bulk_create(User(username=name, password=encoded) for name in names)
    Mailbox.objects.bulk_create(
        Mailbox(user=user, domain=domain, local_part=user.username, address=f"{user.username}@{domain.name}")
        for user in users
    )


def _seconds_to_refuse(served: DatabaseServed, name: str) -> float:
    with served.connect() as client:
        client.greet()
        client.say(f"USER {name}")
        began = time.perf_counter()
        assert client.say("PASS wrong") == WRONG
        return time.perf_counter() - began


def _ranks(some: list[float], others: list[float]) -> float:
    """How many standard deviations the sum of ranks is off from that of two samples of one distribution."""
    larger = sum(one > other for one in some for other in others)
    count = len(some) * len(others)
    return (larger - count / 2) / (count * (len(some) + len(others) + 1) / 12) ** 0.5
