"""The smtpservice app: mail in, over SMTP and LMTP, and the queue of mail on its way out."""

from django.apps import AppConfig
from django.core import checks


class SmtpServiceConfig(AppConfig):
    name = "smtpservice"
    verbose_name = "SMTP service"

    def ready(self) -> None:
        from smtpservice.checks import check_relay  # needs the models

        checks.register(check_relay)
