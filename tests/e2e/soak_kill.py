"""`make soak`: clients and deliveries at work while workers are killed at random moments, hundreds of times.

Not a part of `make test`: tests/e2e/test_kill.py has each moment once. SOAK_ROUNDS is the number of kills (200),
SOAK_SECONDS the time they may take on one database (300), SOAK_SEED what the random moments come from.
"""

import os
import random
import signal
import smtplib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest

from tests.e2e.database import query
from tests.e2e.filling import address, fill, message
from tests.e2e.killing import RECONNECT_SECONDS, registered
from tests.e2e.maildrops import stored
from tests.e2e.pop3 import Pop3
from tests.e2e.running import Platform, Server, wait_until

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "200"))
SECONDS = float(os.environ.get("SOAK_SECONDS", "300"))
SEED = os.environ.get("SOAK_SEED", "") or str(time.time_ns())
WORKERS, CLIENTS, FIRST = 3, 6, 100
NAMES = [f"user{number}" for number in range(CLIENTS)]

pytestmark = pytest.mark.timeout(SECONDS + 200)


@dataclass
class Client:
    """The owner of a mailbox, who comes again and again and knows what must be in it."""

    name: str
    port: int
    done: threading.Event
    #: Uids seen so far, and which of them may be live: one set, or two after a QUIT that was not answered.
    seen: int = 0
    possible: list[frozenset[int]] = field(default_factory=list)
    #: What it was doing when its server was killed, what became of the deletions, how long it was away.
    lost_in: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    away: list[float] = field(default_factory=list)
    failure: BaseException | None = None
    doing: str = ""

    def run(self) -> None:
        chance = random.Random(f"{SEED} {self.name}")
        self.possible = [frozenset(range(1, FIRST + 1))]
        self.seen = FIRST
        try:
            while not self.done.is_set():
                self._come(chance)
        except BaseException as failure:
            self.failure = failure
            self.done.set()

    def _come(self, chance: random.Random) -> None:
        lost = time.monotonic()
        while True:
            try:
                with Pop3(self.port, timeout=RECONNECT_SECONDS) as client:
                    self.doing = "login"
                    client.log_in(address(self.name))
                    self.away.append(time.monotonic() - lost)
                    self._visit(client, chance)
                return
            except OSError:
                if self.doing != "again":
                    self.lost_in[self.doing] += 1
                    lost, self.doing = time.monotonic(), "again"
                assert time.monotonic() - lost < RECONNECT_SECONDS, f"{self.name} is not served"
                time.sleep(0.01)

    def _visit(self, client: Pop3, chance: random.Random) -> None:
        self.doing = "listing"
        uids = [int(row.rpartition(b".")[2]) for row in client.rows("UIDL")]
        assert client.do("STAT").split()[1] == b"%d" % len(uids)
        self._compare(uids)
        self.doing = "RETR"
        for number in chance.sample(range(1, len(uids) + 1), min(5, len(uids))):
            octets = client.message(number)
            subject = octets[octets.index(b"Subject: ") :].split(b"\r\n")[0].split()
            assert octets.endswith(message(self.name, int(subject[2])))
        self.doing = "DELE"
        marked = chance.sample(range(1, len(uids) + 1), chance.randint(0, len(uids)))
        client.socket.sendall(b"".join(b"DELE %d\r\n" % number for number in marked))
        assert all(client.line().startswith(b"+OK") for _ in marked)
        if chance.random() < 0.2:
            return  # it vanishes
        self.doing = "QUIT"
        (before,) = self.possible
        after = before - {uids[number - 1] for number in marked}
        self.possible = [before, after]
        client.do("QUIT")
        self.possible = [after]
        self.doing = "the end"

    def _compare(self, uids: list[int]) -> None:
        """What was live is, and what QUIT deleted is not; of a QUIT that was not answered all or nothing."""
        assert uids == sorted(set(uids))
        known = frozenset(uid for uid in uids if uid <= self.seen)
        assert known in self.possible, f"{self.name}: {sorted(known)} is none of {self.possible}"
        if len(set(self.possible)) == 2:
            self.outcomes["none" if known == self.possible[0] else "all"] += 1
        self.possible = [frozenset(uids)]
        self.seen = max(self.seen, *uids, 0)


@dataclass
class Sender:
    """Delivers message after message to one mailbox or several, and notes what was answered with 250."""

    port: int
    done: threading.Event
    sent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, FIRST))
    failure: BaseException | None = None

    def run(self) -> None:
        chance = random.Random(f"{SEED} sender")
        try:
            with smtplib.LMTP("127.0.0.1", self.port) as lmtp:
                while not self.done.wait(0.01):
                    name = chance.choice(NAMES)
                    self.sent[name] += 1
                    lmtp.sendmail("a@alfred.maison.mrs", [address(name)], message(name, self.sent[name]))
        except BaseException as failure:
            self.failure = failure
            self.done.set()


@pytest.fixture(scope="module")
def server(platform: Platform) -> Server:
    fill(platform, f"mailboxes(*{NAMES}, messages={FIRST})")
    return platform.start_pop3(workers=WORKERS)


def test_kill_at_random_moments(server: Server, platform: Platform) -> None:
    done = threading.Event()
    sender = Sender(platform.start_smtp().ports["lmtp"], done)
    clients = [Client(name, server.ports["plain"], done) for name in NAMES]
    working = [threading.Thread(target=each.run) for each in (sender, *clients)]
    for thread in working:
        thread.start()
    try:
        kills = _kill_again_and_again(server, done)
    finally:
        done.set()
        for thread in working:
            thread.join()
    _report(platform, kills, clients)
    assert [each.failure for each in (sender, *clients) if each.failure] == []
    wait_until(lambda: registered(platform) == server.workers(), seconds=20, what="the workers' rows")
    for client in clients:
        kept = stored(platform, address(client.name))
        assert kept.live | kept.shelved == set(range(1, sender.sent[client.name] + 1))
        assert frozenset(uid for uid in kept.live if uid <= client.seen) in client.possible
        with Pop3(server.ports["plain"]).log_in(address(client.name)) as pop3:
            pop3.do("QUIT")


def _kill_again_and_again(server: Server, done: threading.Event) -> int:
    chance, began = random.Random(f"{SEED} kill"), time.monotonic()
    for kills in range(ROUNDS):
        if done.wait(chance.random() * 0.5) or time.monotonic() - began > SECONDS:
            return kills
        os.kill(chance.choice(sorted(server.workers())), signal.SIGKILL)
        wait_until(lambda: len(server.workers()) == WORKERS, seconds=10, what="the worker is replaced")
    return ROUNDS


def _report(platform: Platform, kills: int, clients: list[Client]) -> None:
    lost, outcomes = Counter[str](), Counter[str]()
    for client in clients:
        lost += client.lost_in
        outcomes += client.outcomes
    away = [seconds for client in clients for seconds in client.away]
    ((live, shelved),) = query(
        platform, "SELECT count(*) - count(deleted_at), count(deleted_at) FROM mailstore_message"
    )
    print(f"\nseed {SEED}: {kills} kills, {len(away)} sessions, {sum(lost.values())} of them lost")
    print(f"lost in {dict(lost.most_common())}; QUITs without an answer: {dict(outcomes)}")
    print(f"until a session was open: at most {max(away):.2f} s; messages live {live}, on the shelf {shelved}")
