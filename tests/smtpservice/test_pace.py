"""Messages a minute from one client: a minute's at once, then as they come free; who else waits, and who does not."""

import pytest

from mailplatform.networks import Networks
from smtpservice import pace, replies
from smtpservice.pace import Pace
from smtpservice.requests import Service
from tests.smtpservice.serving import ENVELOPE, MESSAGE, TOLD, run, serving

CLIENT = "192.0.2.1"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_messages_at_once_and_then_as_they_come_free() -> None:
    clock = Clock()
    limit = Pace(60, clock=clock)
    for _ in range(60):
        assert not limit.is_over(CLIENT)
        limit.count(CLIENT)
    assert limit.is_over(CLIENT)
    assert not limit.is_over("192.0.2.2")
    clock.now += 1.0
    assert not limit.is_over(CLIENT)
    limit.count(CLIENT)
    assert limit.is_over(CLIENT)
    clock.now += 3600
    for _ in range(60):
        limit.count(CLIENT)
    assert limit.is_over(CLIENT)


def test_an_ipv6_client_is_its_network() -> None:
    limit = Pace(1, clock=Clock())
    limit.count("2001:db8::1")
    assert limit.is_over("2001:db8::2")
    assert not limit.is_over("2001:db8:0:1::1")


def test_there_may_be_no_limit_and_some_have_none() -> None:
    none, exempting = Pace(0), Pace(1, Networks(["192.0.2.0/24"]))
    for _ in range(5):
        none.count(CLIENT)
        exempting.count(CLIENT)
    assert not none.is_over(CLIENT)
    assert not exempting.is_over(CLIENT)


def test_clients_are_forgotten_that_have_waited_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "REMEMBERED", 10)
    clock = Clock()
    limit = Pace(5, clock=clock)
    for number in range(10):
        limit.count(f"198.51.100.{number}")
    clock.now += 60
    limit.count(CLIENT)
    assert len(limit._left) == 1


@pytest.mark.parametrize("service", [Service.SMTP, Service.LMTP])
def test_who_brings_too_many_has_to_wait_and_a_relay_of_ones_own_has_not(service: Service) -> None:
    async def main() -> None:
        async with serving(service, pace=Pace(2, clock=Clock())) as running, await running.client() as client:
            for _ in range(2):
                assert await client.say(ENVELOPE + MESSAGE + b".\r\n", 4) == [*TOLD, "250 2.0.0"]
            third = await client.say(b"MAIL FROM:<>\r\nRCPT TO:<jules@maison.mrs>\r\n", 2)
            expected = replies.TOO_FAST if service is Service.SMTP else replies.RECIPIENT_OK
            assert third == ["250 2.1.0", f"{expected.code} {expected.status}"]

    run(main())
