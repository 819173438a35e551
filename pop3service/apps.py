"""The pop3service app: the POP3 server."""

from django.apps import AppConfig


class Pop3ServiceConfig(AppConfig):
    name = "pop3service"
    verbose_name = "POP3 service"
