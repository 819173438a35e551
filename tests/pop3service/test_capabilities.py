"""RFC 2449, 6.5 and 6.7: policies, before the login and after it."""

import pytest

from pop3service.capabilities import policy_lines
from pop3service.states import NoPolicy
from tests.pop3service.memory import Dialogue, MemoryMaildrop, after_login, before_login

NOTHING = NoPolicy()
FOR_ALL = NoPolicy(expire_days=30, login_delay_seconds=60)
FOR_SOME = NoPolicy(expire_days=7, expire_varies=True, login_delay_seconds=900, login_delay_varies=True)


@pytest.mark.parametrize(
    ("announced", "own", "lines"),
    [
        (NOTHING, None, ["EXPIRE NEVER"]),
        (NOTHING, NOTHING, ["EXPIRE NEVER"]),
        (FOR_ALL, None, ["EXPIRE 30", "LOGIN-DELAY 60"]),
        (FOR_ALL, FOR_ALL, ["EXPIRE 30", "LOGIN-DELAY 60"]),
        (FOR_SOME, None, ["EXPIRE 7 USER", "LOGIN-DELAY 900 USER"]),
        (FOR_SOME, FOR_ALL, ["EXPIRE 30", "LOGIN-DELAY 60"]),
        (FOR_SOME, NOTHING, ["EXPIRE NEVER", "LOGIN-DELAY 0"]),
    ],
)
def test_what_is_said_to_anyone_and_to_a_user(announced: NoPolicy, own: NoPolicy | None, lines: list[str]) -> None:
    assert policy_lines(announced, own) == lines


def test_capa_says_it_in_both_states() -> None:
    maildrop = MemoryMaildrop(policy=FOR_ALL)
    dialogue = Dialogue(maildrop, before_login(policy=FOR_SOME).channel)
    assert b"\r\nEXPIRE 7 USER\r\nLOGIN-DELAY 900 USER\r\n" in dialogue.line("CAPA")
    dialogue.log_in()
    assert b"\r\nEXPIRE 30\r\nLOGIN-DELAY 60\r\n" in dialogue.line("CAPA")
    assert b"\r\nEXPIRE NEVER\r\nIMPLEMENTATION " in after_login().line("CAPA")
