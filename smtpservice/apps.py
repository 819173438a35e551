"""The smtpservice app: mail in, over SMTP and LMTP."""

from django.apps import AppConfig


class SmtpServiceConfig(AppConfig):
    name = "smtpservice"
    verbose_name = "SMTP service"
