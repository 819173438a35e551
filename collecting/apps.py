"""The collecting app: mail that is fetched from other POP3 accounts."""

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _

from collecting.checks import check_collecting
from mailplatform.checks import SETTINGS


class CollectingConfig(AppConfig):
    name = "collecting"
    verbose_name = _("Collecting")

    def ready(self) -> None:
        checks.register(check_collecting, SETTINGS)
