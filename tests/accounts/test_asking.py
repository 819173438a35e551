"""A whole exchange at a real door, as a protocol carries it out."""

from base64 import b64decode, b64encode
from typing import Any

import pytest
from pytest_django import Settings
from scramp import ScramClient

from accounts.asking import ask
from accounts.callers import Caller, Protocol
from accounts.door import Admission, NotAdmittedError
from accounts.models import LoginRecord
from accounts.sasl import Admit, Admitted, Exchange, Move
from tests.accounts.house import HOME, JULES, RIGHT, WRONG, House
from tests.accounts.issuer import Issuer

CALLER = Caller(Protocol.SMTP, HOME)


def asked(house: House, exchange: Exchange, move: Move) -> Move:
    """What follows from the move where it is a question."""
    if isinstance(move, bytes | Admitted):
        return move
    try:
        answer = house.drive(ask(house.door, CALLER, move))
    except NotAdmittedError as error:
        return exchange.refuse(error)
    return asked(house, exchange, exchange.answer(answer))


def begun(house: House, name: str, initial: str) -> tuple[Exchange, Move]:
    exchange = Exchange(name.encode(), b64encode(initial.encode()), house.door.mechanisms)
    return exchange, asked(house, exchange, exchange.begin())


def admission(move: Move) -> Admission:
    assert isinstance(move, Admitted)
    assert isinstance(move.answer, Admission)
    return move.answer


def test_plain(house: House) -> None:
    assert admission(begun(house, "PLAIN", f"\0jules\0{RIGHT}")[1]).address == JULES
    with pytest.raises(NotAdmittedError):
        begun(house, "PLAIN", f"alfred@maison.mrs\0jules\0{RIGHT}")
    assert house.last_record().protocol == "smtp"


@pytest.mark.parametrize(("password", "fits"), [(RIGHT, True), (WRONG, False)])
def test_scram(house: House, password: str, fits: bool) -> None:
    client = ScramClient(["SCRAM-SHA-256"], "jules", password)
    exchange, challenge = begun(house, "SCRAM-SHA-256", client.get_client_first())
    client.set_server_first(said(challenge))
    final = b64encode(client.get_client_final().encode())
    if fits:
        client.set_server_final(said(asked(house, exchange, exchange.respond(final))))
        assert admission(asked(house, exchange, exchange.respond(b""))).address == JULES
    else:
        with pytest.raises(NotAdmittedError):
            asked(house, exchange, exchange.respond(final))
    house.tend()
    assert list(LoginRecord.objects.values_list("mechanism", "result")) == [
        ("SCRAM-SHA-256", "admitted" if fits else "wrong")
    ]


def said(move: Move) -> str:
    assert isinstance(move, bytes)
    return b64decode(move).decode()


@pytest.mark.parametrize("name", ["OAUTHBEARER", "XOAUTH2"])
def test_a_token(house: House, settings: Settings, name: str) -> None:
    form = {"OAUTHBEARER": "n,a=jules,\1auth=Bearer {}\1\1", "XOAUTH2": "user=jules\1auth=Bearer {}\1\1"}[name]
    with Issuer() as issuer:
        settings.OAUTH_INTROSPECTOR = "accounts.tokens.EndpointIntrospector"
        settings.OAUTH_INTROSPECTION_URL = issuer.url
        issuer.tokens = {"good": {"active": True, "username": JULES}}
        here = House()
        assert admission(begun(here, name, form.format("good"))[1]).address == JULES
        exchange, challenge = begun(here, name, form.format("bad"))
        assert '"status"' in said(challenge)
        with pytest.raises(NotAdmittedError):
            exchange.respond(b64encode(b"\1"))


def test_only_what_the_door_can_answer_is_offered(house: House, settings: Settings) -> None:
    assert house.door.mechanisms == ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN")
    settings.SCRAM_MECHANISMS = ["SCRAM-SHA-1"]
    settings.OAUTH_INTROSPECTOR = "tests.accounts.test_asking.Nobody"
    assert House().door.mechanisms == ("SCRAM-SHA-1", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")


class Nobody:
    """An issuer that knows no token."""

    async def introspect(self, token: str) -> None:
        return None

    def close(self) -> None:
        pass


def test_a_proof_that_is_none_of_the_doors(house: House) -> None:
    proof: Any = object()
    with pytest.raises(TypeError):
        house.drive(ask(house.door, CALLER, Admit("jules", proof)))
