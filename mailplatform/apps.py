"""The project as an app: its system checks, commands and templates."""

from django.apps import AppConfig
from django.core.checks import register

from mailplatform.checks import check_settings


class MailplatformConfig(AppConfig):
    name = "mailplatform"

    def ready(self) -> None:
        register(check_settings)
