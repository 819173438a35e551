"""LANG: the language in which the server speaks (RFC 6856, 3)."""

from dataclasses import replace

from pop3service.states import Authorization, Refusal, Reply, Transaction
from pop3service.transfer import TERMINATOR
from pop3service.words import _, matching


def lang(state: Authorization | Transaction, *ranges: bytes) -> Reply:
    """Alone it lists the languages, with a language range it picks one; the reply is in that already."""
    channel = state.channel
    if not ranges:
        listed = "".join(f"{words.tag} {words.name}\r\n" for words in channel.languages)
        return channel.words.ok(_("languages follow")) + listed.encode() + TERMINATOR
    if len(ranges) > 1:
        raise Refusal(_("too many arguments: %(usage)s"), usage="LANG [language]")
    words = matching(ranges[0].decode("ascii", "replace"), channel.languages)
    if words is None:
        raise Refusal(_("this server does not speak that language: LANG alone lists those it speaks"))
    state.channel = replace(channel, words=words)
    return words.ok(_("%(tag)s from here on in English"), tag=words.tag)
