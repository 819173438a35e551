"""A house with a door, people who live in it, and callers: what the tests of the door share."""

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar

import pytest
from scramp import ScramClient, ScramException, ScramMechanism

from accounts.callers import Caller, Protocol
from accounts.door import Admission, Door, NotAdmittedError, ThrottledError
from accounts.models import LoginRecord, LoginResult, User
from accounts.scram import ScramVerifier
from accounts.services import create_account
from tests.accounts.here import Clock, HereBridge

JULES, ALFRED, NOBODY = "jules@maison.mrs", "alfred@maison.mrs", "nobody@maison.mrs"
RIGHT, WRONG = "right horse", "wrong horse"
HOME, ELSEWHERE = "192.0.2.7", "198.51.100.1"


def person(name: str, **fields: Any) -> User:
    """A user whose password is RIGHT."""
    user = create_account(username=name, password=RIGHT)
    User.objects.filter(pk=user.pk).update(**fields)
    return user


class House:
    """A door, driven call by call on a clock of its own."""

    made: ClassVar[list["House"]] = []

    def __init__(self, seconds: float = 300, clock: Clock | None = None) -> None:
        self.made.append(self)
        self.bridge = HereBridge()
        self.clock = clock or Clock()
        self.door = Door(self.bridge, seconds, clock=self.clock, sleep=self.clock.sleep)

    @classmethod
    def close_all(cls) -> None:
        """Leave nothing behind that goes on in the background."""
        while cls.made:
            house = cls.made.pop()
            house.drive(house.door.close())

    def drive(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.bridge.drive(work)

    def tend(self) -> None:
        self.drive(self.door.tend())

    def settle(self) -> None:
        """Wait for what the door does in the background."""

        async def settled() -> None:
            while self.door._tasks:
                await asyncio.wait(self.door._tasks)

        self.drive(settled())

    # --- Callers ----------------------------------------------------------------------------------------------

    def admit(
        self,
        login: str = JULES,
        password: str = RIGHT,
        address: str = HOME,
        protocol: Protocol = Protocol.POP3,
        **more: str,
    ) -> Admission:
        admission: Admission = self.drive(self.door.admit(Caller(protocol, address), login, password, **more))
        return admission

    def refusal(self, *args: Any, **more: Any) -> LoginResult:
        """Why a login that fails does."""
        with pytest.raises(NotAdmittedError) as caught:
            self.admit(*args, **more)
        return caught.value.reason

    def guess(self, *args: Any, **more: Any) -> LoginResult | int:
        """What becomes of a wrong guess: why it is refused, or the seconds it is told to wait."""
        try:
            return self.refusal(*args, **more)
        except ThrottledError as error:
            return error.seconds

    def throttled(self, *args: Any, **more: Any) -> int:
        """How many seconds one that is turned away is told."""
        with pytest.raises(ThrottledError) as caught:
            self.admit(*args, **more)
        assert caught.value.reason is LoginResult.THROTTLED
        return caught.value.seconds

    def scram(
        self,
        login: str = JULES,
        password: str = RIGHT,
        address: str = HOME,
        mechanism: str = "SCRAM-SHA-256",
        **more: str,
    ) -> Admission:
        """Log in as a protocol would carry it out."""
        admission: Admission = self.drive(self.prove(login, password, address, mechanism, **more))
        return admission

    def verifier(self, login: str = JULES, mechanism: str = "SCRAM-SHA-256") -> ScramVerifier:
        """The challenge alone."""
        verifier: ScramVerifier = self.drive(self.door.scram_verifier(Caller(Protocol.POP3, HOME), login, mechanism))
        return verifier

    async def prove(
        self, login: str, password: str, address: str = HOME, mechanism: str = "SCRAM-SHA-256", **more: str
    ) -> Admission:
        caller = Caller(Protocol.POP3, address)
        client = ScramClient([mechanism], login, password)
        verifier = await self.door.scram_verifier(caller, login, mechanism)
        server = ScramMechanism(mechanism).make_server(lambda username: verifier.auth_info())
        server.set_client_first(client.get_client_first())
        client.set_server_first(server.get_server_first())
        fits = True
        try:
            server.set_client_final(client.get_client_final())
        except ScramException:
            fits = False
        await self.door.judge(caller, login, verifier, fits=fits)
        admission = await self.door.admit_proven(caller, login, verifier, **more)
        client.set_server_final(server.get_server_final())
        return admission

    def scram_refusal(self, *args: Any, **more: Any) -> LoginResult:
        with pytest.raises(NotAdmittedError) as caught:
            self.scram(*args, **more)
        return caught.value.reason

    # --- What is written ----------------------------------------------------------------------------------------

    def last_record(self) -> LoginRecord:
        self.tend()
        record = LoginRecord.objects.order_by("pk").last()
        assert record is not None
        return record
