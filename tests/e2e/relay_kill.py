"""Workers of smtpserve that are killed while they take mail in and send it on; what has become of each message then.

A round stops the arbiter, kills every worker, looks at the queue while nobody works it, lets the time pass that makes
dead claims void, and goes on. What was taken by the other server and is still waiting at that moment was not written down
any more: it goes out once more, and nothing else may.
"""

import asyncio
import os
import random
import signal
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.e2e.database import execute, query
from tests.e2e.running import Platform, Server, free_port, greets, wait_until
from tests.smtpservice.relay.names import NameServer
from tests.smtpservice.relay.peers import ScriptedPeer

HERE, ELSEWHERE = "here.example", ("one.example", "two.example", "three.example")
SENDER = f"jules@{HERE}"
#: Messages that are accepted between two kills, at most.
MESSAGES = 10
#: Seconds until everything that was accepted has arrived.
ARRIVAL = 60.0


@dataclass
class Sink:
    """The mail server of all other domains, on a thread of its own, with the name server that leads to it."""

    peer: ScriptedPeer = field(default_factory=ScriptedPeer)
    names: NameServer = field(
        default_factory=lambda: NameServer(
            {f"{domain} MX": ["10 sink.example."] for domain in ELSEWHERE} | {"sink.example A": ["127.0.0.1"]}
        )
    )

    @contextmanager
    def running(self) -> Iterator["Sink"]:
        ready, over = threading.Event(), threading.Event()

        async def serve() -> None:
            async with self.names.serving(), self.peer.serving():
                ready.set()
                await asyncio.to_thread(over.wait)

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        assert ready.wait(20)
        try:
            yield self
        finally:
            over.set()
            thread.join()

    def taken(self) -> Counter[tuple[str, str]]:
        """How often it has taken each message for each recipient."""
        return Counter(
            (subject_of(taken.data), line.partition("<")[2].rstrip(">"))
            for taken in list(self.peer.taken)
            for line in taken.rcpt
        )


def subject_of(data: bytes) -> str:
    return data.partition(b"Subject: ")[2].partition(b"\r\n")[0].decode()


@dataclass
class Submitter:
    """Submits message after message to recipients here and elsewhere, and notes what was answered with 250."""

    port: int
    done: threading.Event
    accepted: dict[str, list[str]] = field(default_factory=dict)
    lost: int = 0
    failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.done.is_set():
                try:
                    with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
                        while not self.done.wait(0.002):
                            self._submit(client)
                except (OSError, smtplib.SMTPException):
                    self.lost += 1
                    self.done.wait(0.02)
        except BaseException as failure:
            self.failure = failure

    def _submit(self, client: smtplib.SMTP) -> None:
        subject = f"m{len(self.accepted) + self.lost}-{time.monotonic_ns()}"
        chosen = random.sample(ELSEWHERE, random.randint(1, 2))
        recipients = [f"a@{domain}" for domain in chosen] + [SENDER] * random.randint(0, 1)
        client.sendmail(SENDER, recipients, f"From: {SENDER}\r\nSubject: {subject}\r\n\r\nhello\r\n")
        self.accepted[subject] = recipients


@dataclass
class Outcome:
    """What was found in the rounds: how often something was sent and not written down, by message and recipient."""

    kills: int = 0
    unwritten: Counter[tuple[str, str]] = field(default_factory=Counter)


def start(platform: Platform, sink: Sink, *, workers: int = 2) -> Server:
    """smtpserve that takes submissions from this machine without a login, and sends to the sink."""
    ports = {"submission": free_port()}
    server = platform.start(
        *("smtpserve", f"--submission-bind=127.0.0.1:{ports['submission']}", "--workers", str(workers)),
        ports=ports,
        SUBMISSION_NETWORKS="127.0.0.0/8",
        RELAY_NAME_SERVERS=sink.names.address,
        RELAY_PORT=str(sink.peer.port),
        RELAY_IPV6="0",
    )
    server.wait_for(lambda: greets(ports["submission"], b"220"))
    return server


def kill_rounds(platform: Platform, server: Server, sink: Sink, rounds: int, seed: str, seconds: float) -> Outcome:
    """Kill all workers again and again at random moments, and submit meanwhile; then wait until all has arrived."""
    chance, outcome, began = random.Random(seed), Outcome(), time.monotonic()
    submitter = Submitter(server.ports["submission"], threading.Event())
    submitting = threading.Thread(target=submitter.run)
    submitting.start()
    try:
        while outcome.kills < rounds and time.monotonic() - began < seconds:
            # Not before there is something that can be lost: workers take a while to begin.
            enough = len(submitter.accepted) + chance.randint(1, MESSAGES)
            wait_until(lambda: len(submitter.accepted) >= enough, seconds=30, what="messages are taken")  # noqa: B023
            time.sleep(chance.random() * 0.1)
            _kill_all(platform, server, sink, outcome)
    finally:
        submitter.done.set()
        submitting.join()
    assert submitter.failure is None
    wait_until(lambda: query(platform, _WAITING) == [], seconds=ARRIVAL, what="the queue is empty")
    check(platform, submitter, sink, outcome)
    return outcome


_WAITING = (
    "SELECT message.identity, recipient.address, recipient.message_id FROM smtpservice_queuedrecipient recipient"
    " JOIN smtpservice_queuedmessage message ON message.id = recipient.message_id WHERE recipient.state = 'waiting'"
)


def _kill_all(platform: Platform, server: Server, sink: Sink, outcome: Outcome) -> None:
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        killed = server.workers()
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        outcome.kills += 1
        wait_until(lambda: all(_is_dead(worker) for worker in killed), seconds=10, what="they are dead")
        wait_until(lambda: sink.peer.open == 0, seconds=10, what="the other server has seen it")
        wait_until(lambda: not _others_are_connected(platform), seconds=10, what="the database has seen it")
        taken = sink.taken()
        for _, address, message_id in query(platform, _WAITING):
            key = (_subject(platform, message_id), address)
            outcome.unwritten[key] += min(taken[key], 1)
        execute(
            platform,
            "UPDATE smtpservice_queuedrecipient SET claimed_by = NULL, claimed_until = NULL, next_attempt_at = %s",
            _now(platform),
        )
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    wait_until(lambda: len(server.workers() - killed) > 0, seconds=20, what="there are workers again")


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _others_are_connected(platform: Platform) -> bool:
    if not platform.database_url.startswith("postgres"):
        return False
    asked = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return query(platform, asked) != []


def _subject(platform: Platform, message_id: int) -> str:
    ((octets,),) = query(
        platform, "SELECT octets FROM smtpservice_queuedcontent WHERE message_id = %s AND piece = 0", message_id
    )
    return subject_of(bytes(octets))


def _now(platform: Platform) -> object:
    now = datetime.now(UTC)
    return now if platform.database_url.startswith("postgres") else now.strftime("%Y-%m-%d %H:%M:%S.%f")


def check(platform: Platform, submitter: Submitter, sink: Sink, outcome: Outcome) -> None:
    """Nothing that was answered with 250 is lost, and nothing came twice but what a kill kept from being written down."""
    taken = sink.taken()
    here = Counter(subject for (subject,) in query(platform, "SELECT subject FROM mailstore_message"))
    wanted = [(subject, address) for subject, addresses in submitter.accepted.items() for address in addresses]
    lost = [key for key in wanted if not (here[key[0]] if key[1] == SENDER else taken[key])]
    twice = {key: copies - 1 for key, copies in taken.items() if copies > 1}
    print(
        f"\n{outcome.kills} kills: {len(submitter.accepted)} messages for {len(wanted)} recipients accepted,"
        f" {submitter.lost} connections lost; {len(lost)} lost, {sum(twice.values())} sent once more, of"
        f" {sum(outcome.unwritten.values())} that were sent and not written down when their worker was killed"
    )
    assert lost == []
    assert {key: more for key, more in twice.items() if more > outcome.unwritten[key]} == {}
    assert max(here.values(), default=0) <= 1
    assert len(submitter.accepted) > 0
