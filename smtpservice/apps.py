"""The smtpservice app: mail in, over SMTP and LMTP, and the queue of mail on its way out."""

from django.apps import AppConfig


class SmtpServiceConfig(AppConfig):
    name = "smtpservice"
    verbose_name = "SMTP service"
