"""pop3service.words: what the server says, and language ranges."""

import gettext

import pytest

from pop3service.words import ENGLISH, MAX_REPLY, Text, Words, matching


class Shouting(gettext.NullTranslations):
    """A language of its own."""

    def gettext(self, message: str) -> str:
        return message.upper().replace("%(WHO)S", "%(who)s").replace("%(MESSAGES)S", "%(messages)s").replace("%D", "%d")

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return "%d MESSAGE(S)"


LOUD = Words("en-x-loud", "ENGLISH", Shouting())


def test_a_text_is_said_with_its_parameters() -> None:
    text = Text("hello %(who)s, 100 %%")
    assert ENGLISH.ok(text, who="jules") == b"+OK hello jules, 100 %\r\n"
    assert LOUD.error(text, "IN-USE", who="jules") == b"-ERR [IN-USE] HELLO jules, 100 %\r\n"
    assert LOUD.retrieved % 7 == b"+OK 7 OCTETS\r\n"
    assert LOUD.deleted % 7 == b"+OK MESSAGE 7 DELETED\r\n"


@pytest.mark.parametrize(("count", "said"), [(0, b"0 messages"), (1, b"1 message"), (2, b"2 messages")])
def test_a_number_of_messages_has_its_plural(count: int, said: bytes) -> None:
    assert ENGLISH.ok(Text("%(messages)s"), messages=count) == b"+OK %s\r\n" % said
    assert LOUD.ok(Text("%(messages)s"), messages=count) == b"+OK %d MESSAGE(S)\r\n" % count


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, b"1 second"),
        (1.9, b"1 second"),
        (119, b"119 seconds"),
        (120, b"2 minutes"),
        (7199, b"119 minutes"),
        (90000, b"25 hours"),
    ],
)
def test_a_time_is_said_in_the_unit_that_fits(seconds: float, said: bytes) -> None:
    assert ENGLISH.ok(Text("%(lasts)s"), lasts=seconds) == b"+OK %s\r\n" % said


def test_rfc_2449_4_a_line_is_cut_between_two_signs() -> None:
    line = LOUD.error(Text("x" + "É" * 600), "SYS/TEMP")
    assert len(line) in (MAX_REPLY - 1, MAX_REPLY)
    assert line.endswith("É\r\n".encode())


def test_rfc_1939_3_english_is_ascii() -> None:
    assert ENGLISH.error(Text("%(mailbox)s"), mailbox="jörg@maison.mrs") == b"-ERR j?rg@maison.mrs\r\n"
    assert LOUD.ok(Text("%(who)s"), who="jörg") == "+OK jörg\r\n".encode()


ENGLISHES = [ENGLISH, LOUD, Words("en-GB", "English (UK)", Shouting()), Words("fr", "Français", Shouting())]


@pytest.mark.parametrize(
    ("asked", "tag"),
    [
        ("*", "en"),
        ("en", "en"),
        ("EN", "en"),
        ("en-gb", "en-GB"),
        ("en-US", "en"),
        ("en-GB-x-home", "en-GB"),
        ("fr-CA", "fr"),
        ("fr-a", "fr"),
        ("mul", None),
        ("e", None),
        ("", None),
        ("fr-", None),
        ("-fr", None),
        ("fr_FR", None),
        ("fr-*", None),
        ("fr-waytoolongasubtag", None),
        ("frå", None),
    ],
)
def test_rfc_4647_3_4_a_range_means_the_nearest_language(asked: str, tag: str | None) -> None:
    found = matching(asked, ENGLISHES)
    assert (found.tag if found else None) == tag
