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
        ("TO:<jules@maison.mrs> SIZE=5", replies.UNKNOWN_PARAMETER),
        ("TO:<julés@maison.mrs>", replies.NOT_ASCII),
        (f"TO:<{'a' * 250}@maison.mrs>", replies.PATH_TOO_LONG),
    ],
)
def test_recipients_that_are_none(argument: str, reply: Reply) -> None:
    with pytest.raises(RefusedError) as caught:
        commands.recipient(argument)
    assert caught.value.reply == reply


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
        ("FROM:<> SIZE=1001", replies.too_large(1000)),
        ("FROM:<> SIZE=-1", replies.BAD_PARAMETER),
        ("FROM:<> SIZE=", replies.BAD_PARAMETER),
        ("FROM:<> SIZE=123456789012345678901", replies.BAD_PARAMETER),
        ("FROM:<> SIZE=5 SIZE=5", replies.BAD_PARAMETER),
        ("FROM:<> BODY=BINARYMIME", replies.BAD_PARAMETER),
        ("FROM:<> SMTPUTF8=1", replies.BAD_PARAMETER),
        ("FROM:<> AUTH=<>", replies.UNKNOWN_PARAMETER),
        ("FROM:<julés@maison.mrs>", replies.NOT_ASCII),
    ],
)
def test_senders_that_are_none(argument: str, reply: Reply) -> None:
    with pytest.raises(RefusedError) as caught:
        mail(argument)
    assert caught.value.reply == reply


def test_rfc_6531_3_4_addresses_in_utf_8_are_for_those_who_asked_for_them() -> None:
    assert mail("FROM:<julés@maison.mrs> SMTPUTF8") == Mail("julés@maison.mrs", 0, smtputf8=True)
    assert mail("FROM:<> smtputf8").smtputf8
    assert commands.recipient("TO:<julés@maison.mrs>", utf8=True) == Address("julés", "maison.mrs")
    for path in ("<jul\udce9s@maison.mrs>", "<jul\u0085s@maison.mrs>", "<jul\u2028s@maison.mrs>"):
        with pytest.raises(RefusedError) as caught:
            commands.recipient(f"TO:{path}", utf8=True)
        assert caught.value.reply is replies.BAD_PATH
    with pytest.raises(RefusedError) as caught:
        commands.recipient(f"TO:<{'é' * 125}@maison.mrs>", utf8=True)  # 250 octets
    assert caught.value.reply is replies.PATH_TOO_LONG


def test_rfc_3461_4_what_a_sender_wants_to_be_told() -> None:
    read = mail("FROM:<a@b.c> RET=hdrs ENVID=QQ+2B314159")
    assert (read.returned, read.envelope_id) == ("HDRS", "QQ+2B314159")
    address = commands.recipient("TO:<jules@maison.mrs> notify=success,failure ORCPT=rfc822;Jules+2Bx@maison.mrs")
    assert (address.notify, address.original) == ("SUCCESS,FAILURE", "rfc822;Jules+2Bx@maison.mrs")
    assert commands.recipient("TO:<jules@maison.mrs> NOTIFY=NEVER").notify == "NEVER"


@pytest.mark.parametrize(
    "parameter",
    ["NOTIFY=NEVER,FAILURE", "NOTIFY=DELAY,DELAY", "NOTIFY=X", "ORCPT=jules", "ORCPT=rfc822;a=b", "ORCPT=rfc822;a+2b"],
)
def test_rfc_3461_4_what_cannot_be_wanted_of_a_recipient(parameter: str) -> None:
    with pytest.raises(RefusedError) as caught:
        commands.recipient(f"TO:<jules@maison.mrs> {parameter}")
    assert caught.value.reply is replies.BAD_PARAMETER


@pytest.mark.parametrize("parameter", ["RET=ALL", "ENVID=a=b", f"ENVID={'x' * 101}", f"ENVID={'+41' * 34}"])
def test_rfc_3461_4_what_cannot_be_wanted_of_a_message(parameter: str) -> None:
    with pytest.raises(RefusedError) as caught:
        mail(f"FROM:<> {parameter}")
    assert caught.value.reply is replies.BAD_PARAMETER


def test_rfc_4954_5_nobodys_word_for_another_is_taken() -> None:
    read = commands.mail("FROM:<a@b.c> AUTH=x@y.z", extended=True, max_octets=9, authenticates=True)
    assert read == Mail("a@b.c", 0)


@pytest.mark.parametrize(("argument", "expected"), [("5", (5, False)), ("0 LAST", (0, True)), ("7 last", (7, True))])
def test_rfc_3030_2_chunks(argument: str, expected: tuple[int, bool]) -> None:
    assert commands.chunk(argument) == expected


@pytest.mark.parametrize("argument", ["", "x", "-1", "5 FIRST", "5LAST", "123456789012345678901"])
def test_rfc_3030_2_chunks_that_are_none(argument: str) -> None:
    with pytest.raises(RefusedError):
        commands.chunk(argument)


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
