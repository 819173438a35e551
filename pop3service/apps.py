"""The pop3service app: the POP3 server."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class Pop3ServiceConfig(AppConfig):
    name = "pop3service"
    verbose_name = _("POP3 service")
