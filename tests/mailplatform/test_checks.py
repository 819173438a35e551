"""What cannot work is said before the first connection."""

import pytest
from django.core.checks import run_checks
from pytest_django import Settings


def ids() -> list[str]:
    return [message.id for message in run_checks() if message.id.startswith("mailplatform.")]


def test_the_defaults_are_in_order() -> None:
    assert ids() == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MAIL_MAX_OCTETS", 0, "mailplatform.E001"),
        ("MAIL_DEFAULT_QUOTA_OCTETS", -1, "mailplatform.E001"),
        ("CREDENTIAL_CACHE_SECONDS", -1, "mailplatform.E001"),
        ("MAIL_EXPIRE_DAYS", -1, "mailplatform.E001"),
        ("POP3_LOGIN_DELAY_SECONDS", -1, "mailplatform.E001"),
        ("SMTP_IDLE_SECONDS", 0, "mailplatform.E001"),
        ("SMTP_MESSAGE_SECONDS", 0, "mailplatform.E001"),
        ("SMTP_MAX_CONNECTIONS", 0, "mailplatform.E001"),
        ("SMTP_MAX_CONNECTIONS_PER_ADDRESS", 0, "mailplatform.E001"),
        ("POP3_MAX_CONNECTIONS_PER_ADDRESS", 0, "mailplatform.E001"),
        ("POP3_LISTINGS_OCTETS", 0, "mailplatform.E001"),
        ("SPAM_CHECK_SECONDS", 0, "mailplatform.E001"),
        ("SMTP_MESSAGES_PER_MINUTE", -1, "mailplatform.E001"),
        ("SUBMISSION_MESSAGES_PER_DAY", -1, "mailplatform.E001"),
        ("SUBMISSION_RECIPIENTS_PER_DAY", -1, "mailplatform.E001"),
        ("SECURE_HSTS_SECONDS", -1, "mailplatform.E001"),
        ("POP3_IDLE_SECONDS", 599, "mailplatform.E002"),
        ("POP3_WORKER_DEAD_SECONDS", 3, "mailplatform.E003"),
        ("PLAINTEXT_NETWORKS", ["127.0.0.0/8", "10.0.0.1/8"], "mailplatform.E004"),
        ("PLAINTEXT_NETWORKS", ["somewhere"], "mailplatform.E004"),
        ("THROTTLE_EXEMPT_NETWORKS", ["10.0.0.1/8"], "mailplatform.E004"),
        ("PLAINTEXT_NETWORKS", ["0.0.0.0/0"], "mailplatform.W001"),
        ("SUBMISSION_NETWORKS", ["192.168.1.7/24"], "mailplatform.E004"),
        ("SUBMISSION_NETWORKS", ["192.168.1.0/24", "0.0.0.0/0"], "mailplatform.W004"),
        ("SMTP_AUTHENTICATION_EXEMPT_NETWORKS", ["somewhere"], "mailplatform.E004"),
        ("PROXY_NETWORKS", ["192.0.2.7/24"], "mailplatform.E004"),
        ("PROXY_NETWORKS", ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/64"], "mailplatform.W003"),
        ("LOGIN_RECORD_DAYS", 0, "mailplatform.E001"),
        ("LOGIN_RECORDS_MAX", 0, "mailplatform.E001"),
        ("SESSION_RECORD_DAYS", 0, "mailplatform.E001"),
        ("SESSION_RECORDS_MAX", 0, "mailplatform.E001"),
        ("SCRAM_MECHANISMS", ["SCRAM-SHA-1", "SCRAM-SHA-256-PLUS"], "mailplatform.E006"),
        ("SCRAM_ITERATIONS", 4095, "mailplatform.E007"),
        ("SCRAM_ITERATIONS", 10_000_000, "mailplatform.E007"),
        ("OAUTH_INTROSPECTOR", "accounts.tokens.Nobody", "mailplatform.E008"),
        ("OAUTH_INTROSPECTOR", "nowhere", "mailplatform.E008"),
        ("MAIL_HOSTNAME", "mail server", "mailplatform.E005"),
        ("MAIL_HOSTNAME", "a\r\nb", "mailplatform.E005"),
    ],
)
def test_a_bad_setting_is_named(settings: Settings, name: str, value: object, said: str) -> None:
    setattr(settings, name, value)
    assert ids() == [said]


def test_zero_is_no_limit_where_it_says_so(settings: Settings) -> None:
    settings.MAIL_DEFAULT_QUOTA_OCTETS = settings.CREDENTIAL_CACHE_SECONDS = 0
    assert ids() == []


def test_a_public_network_may_be_one_that_many_share(settings: Settings) -> None:
    settings.THROTTLE_EXEMPT_NETWORKS = ["198.51.100.0/24", "8.8.8.8/32"]
    assert ids() == []


@pytest.mark.parametrize(
    ("url", "scope", "said"),
    [
        ("https://id.example.org/introspect", "mail", []),
        ("http://127.0.0.1:8080/introspect", "mail", []),
        ("http://id.example.org/introspect", "mail", ["mailplatform.E009"]),
        ("", "", ["mailplatform.E009", "mailplatform.W002"]),
        ("https://id.example.org/introspect", " ", ["mailplatform.W002"]),
    ],
)
def test_tokens_are_sent_to_a_safe_endpoint_and_are_for_mail(
    settings: Settings, url: str, scope: str, said: list[str]
) -> None:
    settings.OAUTH_INTROSPECTOR = "accounts.tokens.EndpointIntrospector"
    settings.OAUTH_INTROSPECTION_URL, settings.OAUTH_REQUIRED_SCOPE = url, scope
    assert ids() == said


def test_another_class_that_is_asked_for_tokens_has_its_own_settings(settings: Settings) -> None:
    settings.OAUTH_INTROSPECTOR = "accounts.tokens.Tokens"
    assert ids() == []
