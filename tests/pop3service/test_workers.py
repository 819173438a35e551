"""Which workers live, and with them their locks: told by rows, heartbeats and process numbers (promise 5)."""

import os
import subprocess
import sys
import uuid
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from pytest_django import DjangoAssertNumQueries, Settings

from pop3service import workers
from pop3service.models import Worker

pytestmark = pytest.mark.django_db

ARBITER = uuid.UUID(int=1)
ME = uuid.UUID(int=2)
OTHER = uuid.UUID(int=3)


@pytest.fixture
def ended_pid() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def add(worker: uuid.UUID, *, arbiter: uuid.UUID = ARBITER, silent_for: float = 0, **row: object) -> None:
    """The row of a worker that runs, as far as this host knows: its process is the parent of this one."""
    values = {"host": workers._place(), "pid": os.getppid()} | row
    Worker.objects.create(id=worker, arbiter=arbiter, **values)
    Worker.objects.filter(pk=worker).update(beat_at=Now() - timedelta(seconds=silent_for))


def is_dead(worker: uuid.UUID) -> bool:
    (dead,) = workers.are_dead([worker])
    return dead


class TestAreDead:
    def test_one_that_beats_is_alive(self) -> None:
        workers.register(worker=ME, arbiter=ARBITER)
        assert not is_dead(ME)

    def test_one_without_a_row_is_dead(self) -> None:
        assert is_dead(ME)

    @pytest.mark.parametrize(("silent_for", "dead"), [(25, False), (35, True)])
    def test_silence_is_death_after_the_time_of_the_settings(
        self, settings: Settings, silent_for: float, dead: bool
    ) -> None:
        settings.POP3_WORKER_DEAD_SECONDS = 30
        add(ME, silent_for=silent_for)
        assert is_dead(ME) is dead

    def test_one_whose_process_has_gone_is_dead_at_once(self, ended_pid: int) -> None:
        add(ME, pid=ended_pid)
        assert is_dead(ME)

    def test_of_processes_on_other_hosts_nothing_is_known(self, ended_pid: int) -> None:
        add(ME, pid=ended_pid, host="elsewhere")
        assert not is_dead(ME)

    def test_a_process_of_another_user_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(pid: int, number: int) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "kill", refuse)
        add(ME)
        assert not is_dead(ME)

    def test_silence_alone_is_no_sign_that_one_has_gone(self, ended_pid: int) -> None:
        add(ME, silent_for=3600)
        add(OTHER, pid=ended_pid)
        assert workers.are_gone([ME, OTHER, uuid.UUID(int=9)]) == [False, True, True]

    def test_each_worker_has_its_answer_in_one_query(self, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        add(ME)
        add(OTHER, silent_for=3600)
        with django_assert_num_queries(1):
            assert workers.are_dead([OTHER, ME, uuid.UUID(int=9), ME]) == [True, False, True, False]


class TestRegister:
    def test_it_clears_away_dead_siblings_alone(self, ended_pid: int) -> None:
        add(uuid.UUID(int=10), pid=ended_pid)
        add(uuid.UUID(int=11), pid=os.getpid())  # a predecessor had the number that this process has
        add(uuid.UUID(int=12))  # alive
        add(uuid.UUID(int=13), pid=ended_pid, arbiter=OTHER)  # another arbiter's
        add(uuid.UUID(int=14), pid=ended_pid, host="elsewhere")
        workers.register(worker=ME, arbiter=ARBITER)
        assert {worker.int for worker in Worker.objects.values_list("id", flat=True)} == {12, 13, 14, ME.int}
        me = Worker.objects.get(pk=ME)
        assert (me.pid, me.host, me.arbiter) == (os.getpid(), workers._place(), ARBITER)

    def test_rows_that_nobody_cleared_away_go_after_a_day(self) -> None:
        add(uuid.UUID(int=10), arbiter=OTHER, silent_for=25 * 3600)
        add(uuid.UUID(int=11), arbiter=OTHER, silent_for=23 * 3600)
        workers.register(worker=ME, arbiter=ARBITER)
        assert {worker.int for worker in Worker.objects.values_list("id", flat=True)} == {11, ME.int}


class TestBeat:
    def test_it_keeps_the_row_fresh(self) -> None:
        add(ME, silent_for=3600)
        workers.beat(worker=ME, arbiter=ARBITER)
        assert not is_dead(ME)
        assert Worker.objects.count() == 1

    def test_a_row_that_was_cleared_away_is_made_again(self) -> None:
        workers.beat(worker=ME, arbiter=ARBITER)
        assert Worker.objects.get(pk=ME).arbiter == ARBITER
        assert not is_dead(ME)


class TestPulse:
    """Whether others could have beaten, if they lived, is told by one's own heartbeats (promise 5)."""

    def beat_until(self, pulse: workers.Pulse, clock: Clock, seconds: float) -> None:
        while clock.now < seconds:
            clock.now += workers.BEAT_SECONDS
            pulse.went_through()

    @pytest.fixture(autouse=True)
    def dead_seconds(self, settings: Settings) -> None:
        settings.POP3_WORKER_DEAD_SECONDS = 20

    def test_a_worker_that_began_knows_when_it_has_beaten_for_long_enough(self) -> None:
        pulse = workers.Pulse(clock := Clock())
        self.beat_until(pulse, clock, 18)
        assert not pulse.is_steady()
        self.beat_until(pulse, clock, 20)
        assert pulse.is_steady()

    @pytest.mark.parametrize("away_for", [15, 21, 3600])
    def test_where_the_database_was_away_the_others_have_their_time_from_then_on(self, away_for: float) -> None:
        pulse = workers.Pulse(clock := Clock())
        self.beat_until(pulse, clock, 100)
        clock.now += away_for
        assert not pulse.is_steady()  # it is back, and this worker has not noticed yet
        pulse.went_through()
        assert not pulse.is_steady()
        self.beat_until(pulse, clock, 118 + away_for)
        assert not pulse.is_steady()
        self.beat_until(pulse, clock, 120 + away_for)
        assert pulse.is_steady()

    def test_a_heartbeat_that_is_late_changes_nothing(self) -> None:
        pulse = workers.Pulse(clock := Clock())
        self.beat_until(pulse, clock, 100)
        clock.now += 8
        assert pulse.is_steady()
        pulse.went_through()
        assert pulse.is_steady()


def test_a_worker_that_ends_leaves_nothing() -> None:
    workers.register(worker=ME, arbiter=ARBITER)
    workers.register(worker=OTHER, arbiter=OTHER)
    workers.retire(worker=ME)
    assert is_dead(ME)
    assert not is_dead(OTHER)


def test_a_place_is_no_longer_than_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "x" * 253)
    assert 200 < len(workers._place()) <= 255
    monkeypatch.setattr("os.readlink", lambda path: (_ for _ in ()).throw(OSError))
    assert workers._place() == "x" * 200
