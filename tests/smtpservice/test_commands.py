"""Paths and parameters (RFC 5321, 4.1.2)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpservice import commands, replies
from smtpservice.commands import Address, Mail, RefusedError
from smtpservice.replies import Reply


def mail(argument: str, *, extended: bool = True) -> Mail:
    return commands.mail(argument, extended=extended, max_octets=1000)


@pytest.mark.parametrize(
    ("argument", "address"),
    [
        ("TO:<jules@maison.mrs>", Address("jules", "maison.mrs")),
        ("to:<Jules@Maison.MRS>", Address("Jules", "Maison.MRS")),
        ("TO: <jules@maison.mrs>", Address("jules", "maison.mrs")),
        ('TO:<"jules"@maison.mrs>', Address("jules", "maison.mrs")),
        ('TO:<"a\\"> b"@maison.mrs>', Address('a"> b', "maison.mrs")),
        ("TO:<jules@[192.0.2.1]>", Address("jules", "[192.0.2.1]")),
        ("TO:<@relay.example,@other.example:jules@maison.mrs>", Address("jules", "maison.mrs")),
        ("TO:<jules%elsewhere.org@maison.mrs>", Address("jules%elsewhere.org", "maison.mrs")),
        ("TO:<postmaster>", Address("postmaster", "")),
        ("TO:<PostMaster>", Address("PostMaster", "")),
    ],
)
def test_rfc_5321_4_1_1_3_recipients(argument: str, address: Address) -> None:
    assert commands.recipient(argument) == address


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("", replies.BAD_PATH),
        ("FROM:<jules@maison.mrs>", replies.BAD_PATH),
        ("TO:jules@maison.mrs", replies.BAD_PATH),
        ("TO:<>", replies.BAD_PATH),
        ("TO:<jules>", replies.BAD_PATH),
        ("TO:<jules@>", replies.BAD_PATH),
        ("TO:<@maison.mrs>", replies.BAD_PATH),
        ("TO:<a@b@maison.mrs>", replies.BAD_PATH),
        ("TO:<a b@maison.mrs>", replies.BAD_PATH),
        ("TO:<jules@maison.mrs", replies.BAD_PATH),
        ('TO:<"jules@maison.mrs>', replies.BAD_PATH),
        ("TO:<jules@maison.mrs><x@y.z>", replies.BAD_PARAMETER),
        ("TO:<jules@maison.mrs> NOTIFY=NEVER", replies.UNKNOWN_PARAMETER),
        ("TO:<julés@maison.mrs>", replies.NOT_ASCII),
        (f"TO:<{'a' * 250}@maison.mrs>", replies.PATH_TOO_LONG),
    ],
)
def test_recipients_that_are_none(argument: str, reply: Reply) -> None:
    with pytest.raises(RefusedError) as caught:
        commands.recipient(argument)
    assert caught.value.reply is reply


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("FROM:<>", Mail("", 0)),
        ("FROM:<> SIZE=0", Mail("", 0)),
        ("FROM:<Jules@Maison.mrs> size=1000 body=8bitmime", Mail("Jules@Maison.mrs", 1000)),
        ("FROM:<@relay.example:jules@maison.mrs> BODY=7BIT", Mail("jules@maison.mrs", 0)),
        ('FROM:<"a b"@maison.mrs>', Mail('"a b"@maison.mrs', 0)),
    ],
)
def test_rfc_5321_4_1_1_2_senders(argument: str, expected: Mail) -> None:
    assert mail(argument) == expected


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("FROM:", replies.BAD_SENDER_PATH),
        ("FROM:<jules>", replies.BAD_SENDER_PATH),
        ("FROM:<jules@maison.mrs>SIZE=1", replies.BAD_PARAMETER),
        ("FROM:<> SIZE=1001", replies.TOO_LARGE),
        ("FROM:<> SIZE=-1", replies.BAD_PARAMETER),
        ("FROM:<> SIZE=", replies.BAD_PARAMETER),
        ("FROM:<> SIZE=123456789012345678901", replies.BAD_PARAMETER),
        ("FROM:<> SIZE=5 SIZE=5", replies.BAD_PARAMETER),
        ("FROM:<> BODY=BINARYMIME", replies.BAD_PARAMETER),
        ("FROM:<> SMTPUTF8", replies.UNKNOWN_PARAMETER),
        ("FROM:<> AUTH=<>", replies.UNKNOWN_PARAMETER),
        ("FROM:<julés@maison.mrs>", replies.NOT_ASCII),
    ],
)
def test_senders_that_are_none(argument: str, reply: Reply) -> None:
    with pytest.raises(RefusedError) as caught:
        mail(argument)
    assert caught.value.reply is reply


def test_rfc_5321_2_2_1_parameters_belong_to_ehlo() -> None:
    assert mail("FROM:<>", extended=False) == Mail("", 0)
    with pytest.raises(RefusedError):
        mail("FROM:<> SIZE=1", extended=False)


@pytest.mark.parametrize("name", ["mail.example.org", "[192.0.2.1]", "[IPv6:2001:db8::1]", "my_pc", "::1", "me too"])
def test_names_of_clients(name: str) -> None:
    assert commands.client_name(name) == name.split(" ")[0]


@pytest.mark.parametrize("name", ["<me>", "(me)", "mé", "a" * 256, "[a b]", ";x"])
def test_names_that_could_not_stand_in_a_received_header(name: str) -> None:
    with pytest.raises(RefusedError):
        commands.client_name(name)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from('<>@:," \\ab.%[]TO='), max_size=40))
def test_any_argument_is_read_or_refused(text: str) -> None:
    codes = set()
    for argument in (text, f"TO:{text}", f"FROM:{text}", f"TO:<{text}>"):
        for read in (commands.recipient, mail, commands.client_name):
            try:
                read(argument)
            except RefusedError as error:
                codes.add(error.reply.code)
    assert codes <= {501, 552, 553, 555}
