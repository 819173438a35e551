"""The smtpservice app: mail in, over SMTP and LMTP, and the queue of mail on its way out."""

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _

from mailplatform.checks import SETTINGS
from smtpservice.checks import check_relay


class SmtpServiceConfig(AppConfig):
    name = "smtpservice"
    verbose_name = _("SMTP service")

    def ready(self) -> None:
        checks.register(check_relay, SETTINGS)
