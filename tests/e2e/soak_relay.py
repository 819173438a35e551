"""`make soak`: all workers of smtpserve killed at random moments, hundreds of times, while mail comes in and goes out.

SOAK_ROUNDS is the number of kills (200), SOAK_SECONDS the time they may take on one database (300), SOAK_SEED what the
random moments come from. Not a part of `make test`, which has some rounds of it.
"""

import os
import time

import pytest

from tests.e2e.relay_kill import HERE, Sink, kill_rounds, start
from tests.e2e.running import PASSWORD, Platform

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "200"))
SECONDS = float(os.environ.get("SOAK_SECONDS", "300"))
SEED = os.environ.get("SOAK_SEED", "") or str(time.time_ns())

pytestmark = pytest.mark.timeout(SECONDS + 200)


def test_kill_at_random_moments(platform: Platform) -> None:
    make = f"from accounts.services import *; create_domain(name={HERE!r}); create_account(username='jules', password={PASSWORD!r})"
    platform.manage("shell", "-c", make)
    print(f"\nseed {SEED}")
    with Sink().running() as sink:
        server = start(platform, sink)
        kill_rounds(platform, server, sink, ROUNDS, SEED, SECONDS)
