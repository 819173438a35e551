"""Settings that cannot work, or that are not safe, said when a command starts and not when mail is lost.

Ids are stable: mailplatform.E... stops every command, mailplatform.W... is said and goes on.
"""

import ipaddress
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.utils.module_loading import import_string

#: The tag of these checks: what stops every command of ours (mailplatform.management.base).
SETTINGS = "settings"
#: RFC 1939, 3: "such a timer MUST be of at least 10 minutes' duration".
LEAST_IDLE_SECONDS = 600
#: A worker beats every two seconds; a late beat must not cost it its locks.
LEAST_DEAD_SECONDS = 10
#: More proxies than this, by the version of IP, are clients: a /24, and a /64.
PROXIES_IN_A_NETWORK = {4: 2**8, 6: 2**64}
#: What scramp serves without channel binding; RFC 5802, 5.1: "at least 4096".
SCRAM_MECHANISMS = {"SCRAM-SHA-1", "SCRAM-SHA-256"}
SCRAM_ITERATIONS = range(4096, 1_000_001)

# An underscore is no part of a host name, but machines are called so, and nothing fails on it.
_HOST_NAME = re.compile(r"\w([\w-]*\w)?(\.\w([\w-]*\w)?)*", re.ASCII)
_POSITIVE = (
    "MAIL_MAX_OCTETS",
    "POP3_LOGIN_SECONDS",
    "POP3_MAX_CONNECTIONS",
    "POP3_MAX_CONNECTIONS_PER_ADDRESS",
    "POP3_LISTINGS_OCTETS",
    "MAIL_SHELF_DAYS",
    "SMTP_IDLE_SECONDS",
    "SMTP_MESSAGE_SECONDS",
    "SMTP_MAX_CONNECTIONS",
    "SMTP_MAX_CONNECTIONS_PER_ADDRESS",
    "SPAM_CHECK_SECONDS",
    "RELAY_GIVE_UP_DAYS",
    "RELAY_CONNECTIONS",
    "RELAY_DESTINATION_CONNECTIONS",
    "RELAY_PORT",
    "COLLECT_CONNECTIONS",
    "LOGIN_RECORD_DAYS",
    "LOGIN_RECORDS_MAX",
    "SESSION_RECORD_DAYS",
    "SESSION_RECORDS_MAX",
)
_NOT_NEGATIVE = (
    "MAIL_DEFAULT_QUOTA_OCTETS", "MAIL_DEFAULT_QUOTA_MESSAGES", "MAIL_EXPIRE_DAYS",
    "POP3_LOGIN_DELAY_SECONDS", "CREDENTIAL_CACHE_SECONDS", "SECURE_HSTS_SECONDS",
    "SMTP_MESSAGES_PER_MINUTE", "SUBMISSION_MESSAGES_PER_DAY", "SUBMISSION_RECIPIENTS_PER_DAY",
)  # fmt: skip


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """All that is wrong with the settings."""
    return [*_numbers(), *_timers(), *_networks(), *_host_name(), *_authentication(), *_scram(), *_oauth()]


def _numbers() -> Iterator[CheckMessage]:
    for names, least in ((_POSITIVE, 1), (_NOT_NEGATIVE, 0)):
        for name in names:
            if getattr(settings, name) < least:
                yield Error(f"{name} is below {least}.", hint="See docs/settings.md.", id="mailplatform.E001")


def _timers() -> Iterator[CheckMessage]:
    if settings.POP3_IDLE_SECONDS < LEAST_IDLE_SECONDS:
        yield Error(
            "POP3_IDLE_SECONDS is below ten minutes.",
            hint=f"RFC 1939, 3 requires {LEAST_IDLE_SECONDS} at least; clients lose sessions otherwise.",
            id="mailplatform.E002",
        )
    if settings.POP3_WORKER_DEAD_SECONDS < LEAST_DEAD_SECONDS:
        yield Error(
            "POP3_WORKER_DEAD_SECONDS is so short that a worker under load could lose its locks.",
            hint=f"Set {LEAST_DEAD_SECONDS} or more.",
            id="mailplatform.E003",
        )


_NETWORKS = (
    *("PLAINTEXT_NETWORKS", "PROXY_NETWORKS", "SMTP_AUTHENTICATION_EXEMPT_NETWORKS", "SUBMISSION_NETWORKS"),
    *("THROTTLE_EXEMPT_NETWORKS", "COLLECT_NETWORKS"),
)


def _networks() -> Iterator[CheckMessage]:
    for name in _NETWORKS:
        for text in getattr(settings, name):
            try:
                network = ipaddress.ip_network(text)
            except ValueError:
                yield Error(
                    f"{name}: {text!r} is not a network.",
                    hint="Write 192.168.1.0/24 or fd00::/8; host bits have to be zero.",
                    id="mailplatform.E004",
                )
                continue
            if name == "PROXY_NETWORKS" and network.num_addresses > PROXIES_IN_A_NETWORK[network.version]:
                yield Warning(
                    f"PROXY_NETWORKS: everybody in {text} can claim to come from any address.",
                    hint="List the proxies themselves, such as 192.0.2.7/32; clients in the network cannot log in.",
                    id="mailplatform.W003",
                )
            if name == "PLAINTEXT_NETWORKS" and not network.is_private and not network.is_loopback:
                yield Warning(
                    f"PLAINTEXT_NETWORKS: passwords may cross {text} unencrypted, which is not a private network.",
                    hint="Have clients use TLS (port 995, or STLS), and list private networks only.",
                    id="mailplatform.W001",
                )
            if name == "SUBMISSION_NETWORKS" and not network.is_private:
                yield Warning(
                    f"SUBMISSION_NETWORKS: everybody in {text}, no private network, may send mail to the world.",
                    hint="List the networks of printers and programs of old; all others log in.",
                    id="mailplatform.W004",
                )


def _host_name() -> Iterator[CheckMessage]:
    if not _HOST_NAME.fullmatch(settings.MAIL_HOSTNAME):
        yield Error(
            f"MAIL_HOSTNAME: {settings.MAIL_HOSTNAME!r} is not a host name.",
            hint="Set the name by which other mail servers know this host, such as mail.example.org.",
            id="mailplatform.E005",
        )


def _authentication() -> Iterator[CheckMessage]:
    if settings.SMTP_AUTHENTICATION not in {"refuse", "mark", "off"}:
        yield Error(
            f"SMTP_AUTHENTICATION: {settings.SMTP_AUTHENTICATION!r} is not known.",
            hint="Choose refuse, mark or off.",
            id="mailplatform.E030",
        )
    url = urlsplit(settings.SPAM_CHECK_URL)
    if settings.SPAM_CHECK_URL and (url.scheme not in {"http", "https"} or not url.hostname):
        yield Error(
            f"SPAM_CHECK_URL: {settings.SPAM_CHECK_URL!r} is no URL of a spam filter.",
            hint="Write http://127.0.0.1:11333, or nothing.",
            id="mailplatform.E031",
        )


def _scram() -> Iterator[CheckMessage]:
    if unknown := set(settings.SCRAM_MECHANISMS) - SCRAM_MECHANISMS:
        yield Error(
            f"SCRAM_MECHANISMS: {', '.join(sorted(unknown))} cannot be served.",
            hint=f"Choose among {', '.join(sorted(SCRAM_MECHANISMS))}; none is possible too.",
            id="mailplatform.E006",
        )
    if settings.SCRAM_ITERATIONS not in SCRAM_ITERATIONS:
        yield Error(
            f"SCRAM_ITERATIONS is not between {SCRAM_ITERATIONS[0]} and {SCRAM_ITERATIONS[-1]}.",
            hint="RFC 5802, 5.1 requires 4096 at least; every client has to do the work at each login.",
            id="mailplatform.E007",
        )


def _oauth() -> Iterator[CheckMessage]:
    if not settings.OAUTH_INTROSPECTOR:
        return
    from accounts.tokens import EndpointIntrospector, endpoint_problem  # not in every process, for a few have it

    try:
        introspector = import_string(settings.OAUTH_INTROSPECTOR)
    except ImportError as error:
        yield Error(
            f"OAUTH_INTROSPECTOR: {error}.",
            hint="Name a class by its module, such as accounts.tokens.EndpointIntrospector, or none.",
            id="mailplatform.E008",
        )
        return
    if introspector is not EndpointIntrospector:
        return
    if problem := endpoint_problem(settings.OAUTH_INTROSPECTION_URL):
        yield Error(
            f"OAUTH_INTROSPECTION_URL: {problem}.",
            hint="Give the https URL of the token introspection endpoint; plain http is for loopback alone.",
            id="mailplatform.E009",
        )
    if not settings.OAUTH_REQUIRED_SCOPE.split():
        yield Warning(
            "OAUTH_REQUIRED_SCOPE is empty: a token that was given to any other program opens the mailbox too.",
            hint="Have tokens for mail carry a scope of their own, and name it.",
            id="mailplatform.W002",
        )
