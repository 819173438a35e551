"""Lines of CAPA (RFC 2449, 6) that belong to no command: what is true of the server, and its policies.

Before the login a policy is announced as what holds for anyone, with USER behind it where it is not the same for all
(6.5, 6.7): the longest delay, the shortest life. After it, it is the user's own.
"""

from pop3service.states import Announced, Policy

#: What is true of the whole server (RFC 2449, 6; RFC 3206, 6).
SERVER = ("RESP-CODES", "AUTH-RESP-CODE", "PIPELINING")
IMPLEMENTATION = "IMPLEMENTATION Mailplatform"


def policy_lines(announced: Announced, own: Policy | None) -> list[str]:
    """EXPIRE and LOGIN-DELAY: those of a user, or before the login what is said to anyone."""
    return [line for line in (_expire(announced, own), _login_delay(announced, own)) if line]


def _expire(announced: Announced, own: Policy | None) -> str:
    """RFC 2449, 6.7. NEVER: what nobody deletes stays."""
    days = announced.expire_days if own is None else own.expire_days
    return f"EXPIRE {days or 'NEVER'}" + _user(announced.expire_varies, own)


def _login_delay(announced: Announced, own: Policy | None) -> str:
    """RFC 2449, 6.5. Who was told of a delay that varies is told of his own, be it none."""
    seconds = announced.login_delay_seconds if own is None else own.login_delay_seconds
    if not seconds and not announced.login_delay_varies:
        return ""
    return f"LOGIN-DELAY {seconds}" + _user(announced.login_delay_varies, own)


def _user(varies: bool, own: Policy | None) -> str:
    return " USER" if varies and own is None else ""
