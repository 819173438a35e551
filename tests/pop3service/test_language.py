"""LANG (RFC 6856, 3), over the pure protocol."""

from collections.abc import Callable

import pytest

from pop3service.languages import spoken
from pop3service.server import SHUTDOWN
from pop3service.states import Channel
from tests.mailstore.mailboxes import make_mailbox
from tests.pop3service.memory import Dialogue, after_login, before_login
from tests.pop3service.serving import DatabaseServed


def bilingual(**named: bool) -> Dialogue:
    return Dialogue(channel=Channel(hostname="dewey", languages=spoken(), **named))


class TestSection32:
    @pytest.mark.parametrize("logged_in", [False, True])
    def test_alone_it_lists_the_languages_in_both_states(self, logged_in: bool) -> None:
        dialogue = bilingual().log_in() if logged_in else bilingual()
        assert dialogue.line("LANG") == "+OK languages follow\r\nen English\r\nfr Français\r\n.".encode()

    @pytest.mark.parametrize("logged_in", [False, True])
    def test_its_own_reply_is_in_the_language_with_the_tag_before(self, logged_in: bool) -> None:
        dialogue = bilingual().log_in() if logged_in else bilingual()
        assert dialogue.line("LANG fr") == "+OK fr désormais en français".encode()
        assert dialogue.line("NONE") == b"-ERR commande inconnue : CAPA donne la liste de ce que ce serveur offre"
        assert dialogue.line("lang FR-ca").startswith(b"+OK fr ")
        assert dialogue.line("LANG en") == b"+OK en from here on in English"

    def test_it_lasts_from_before_the_login_to_the_end(self) -> None:
        dialogue = bilingual()
        dialogue.line("LANG fr")
        assert dialogue.line("USER mrose") == b"+OK envoyez maintenant PASS"
        assert dialogue.line("PASS wrong").startswith(b"-ERR [AUTH] wrong")  # a text of the test alone
        dialogue.log_in()
        assert dialogue.line("RSET") == b"+OK la bo\xc3\xaete contient 0 message (0 octets)"
        assert dialogue.line("QUIT") == "+OK le serveur POP3 dewey vous salue (boîte vide)".encode()

    def test_until_then_every_text_is_ascii(self) -> None:
        """RFC 1939, 3."""
        dialogue = bilingual()
        assert dialogue.greeting.isascii()
        assert dialogue.line("NONE").isascii()

    def test_star_picks_the_language_of_the_admin(self) -> None:
        english, french = spoken()
        for languages, tag in (((english, french), b"en"), ((french, english), b"fr")):
            dialogue = Dialogue(channel=Channel(languages=languages))
            assert dialogue.line("LANG *").startswith(b"+OK %s " % tag)

    @pytest.mark.parametrize("asked", ["MUL", "x", "en_US", "\u00e9", "'; DROP"])
    def test_a_language_that_is_none_changes_nothing(self, asked: str) -> None:
        dialogue = bilingual()
        dialogue.line("LANG fr")
        assert dialogue.line(f"LANG {asked}".encode()).startswith(b"-ERR ")
        assert dialogue.line("NOOP").startswith(b"-ERR NOOP n'est pas possible")

    def test_two_languages_are_too_many(self) -> None:
        assert bilingual().line("LANG fr en") == b"-ERR too many arguments: LANG [language]"


def test_rfc_6856_7_what_was_chosen_in_the_clear_does_not_outlive_stls() -> None:
    dialogue = bilingual(starttls=True)
    dialogue.line("LANG fr")
    dialogue.line("STLS")
    assert dialogue.line("NONE").startswith(b"-ERR unknown")


def test_response_codes_are_not_translated() -> None:
    dialogue = bilingual()
    dialogue.line("LANG fr")
    dialogue.session.end(SHUTDOWN)
    assert dialogue.hear().startswith("-ERR [SYS/TEMP] le serveur s'arrête".encode())


def test_a_server_of_one_language_says_so() -> None:
    assert before_login().line("LANG") == b"+OK languages follow\r\nen English\r\n."
    assert after_login().line("LANG fr").startswith(b"-ERR this server does not speak")


def test_every_layer_speaks_it(
    quick_hashes: None, transactional_db: None, serve_mailboxes: Callable[..., DatabaseServed]
) -> None:
    """What the keeper of maildrops refuses, and what SASL does, over a socket."""
    make_mailbox("jules")
    with serve_mailboxes().connect() as client:
        client.greet()
        assert client.say("LANG fr").startswith(b"+OK fr ")
        client.say("USER jules@maison.mrs")
        assert client.say("PASS wrong") == (
            "-ERR [AUTH] nom ou mot de passe incorrect : vérifiez les deux, le nom est l'adresse complète".encode()
        )
        assert client.say("AUTH PLAIN !") == b"-ERR ceci n'est pas du base64 : recommencez par AUTH"
        client.say("USER jules@maison.mrs")
        assert client.say("PASS x") == "+OK la boîte contient 0 message (0 octets)".encode()
