"""Logins on web pages: the same counts as those of the mail protocols."""

import time

import pytest

from accounts.callers import Caller, Protocol
from accounts.models import KnownAddress, LoginRecord
from accounts.web_logins import admitted, refused, seconds_to_wait
from tests.accounts.house import ELSEWHERE, HOME, House

HERE, THERE = Caller(Protocol.WEB, HOME, "HTTPS"), Caller(Protocol.WEB, ELSEWHERE, "HTTPS")


@pytest.mark.django_db
def test_after_three_failures_for_nothing_each_one_doubles_the_wait() -> None:
    waits = []
    for _ in range(6):
        waits.append(seconds_to_wait(HERE, "jules"))
        refused(HERE, "jules", began=time.perf_counter())
    assert waits == [0, 0, 0, 0, 1, 2]
    assert seconds_to_wait(HERE, "alfred") == 0
    assert seconds_to_wait(THERE, "jules") == 0


@pytest.mark.django_db
def test_an_address_that_is_known_is_not_held_up_by_others() -> None:
    admitted(HERE, "jules", began=time.perf_counter())
    assert KnownAddress.objects.get().login == "jules"
    for number in range(40):
        refused(Caller(Protocol.WEB, f"198.51.{number}.1"), "jules", began=time.perf_counter())
    assert seconds_to_wait(HERE, "jules") == 0
    assert seconds_to_wait(THERE, "jules") > 60


@pytest.mark.django_db
def test_each_is_recorded() -> None:
    refused(HERE, "jules", began=time.perf_counter())
    admitted(HERE, "jules", began=time.perf_counter())
    rows = LoginRecord.objects.order_by("pk").values_list("protocol", "login", "address", "tls", "mechanism", "result")
    assert list(rows) == [
        ("web", "jules", HOME, "HTTPS", "FORM", "wrong"),
        ("web", "jules", HOME, "HTTPS", "FORM", "admitted"),
    ]


def test_failures_over_mail_protocols_count_here_and_the_other_way_round(house: House) -> None:
    house.clock.now = time.time()
    house.tend()
    for number in range(4):
        house.refusal("jules", f"guess {number}")
    house.tend()
    caller = Caller(Protocol.WEB, HOME)
    assert seconds_to_wait(caller, "jules") == 1
    for _ in range(8):
        refused(caller, "jules", began=time.perf_counter())
    house.tend()
    assert house.throttled("jules", "one more") > 60
