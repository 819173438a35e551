"""The mailstore app: messages at rest."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MailstoreConfig(AppConfig):
    name = "mailstore"
    verbose_name = _("Mail store")
