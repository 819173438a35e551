"""What the commands of the mail platform have in common."""

from django.core import checks
from django.core.management.base import BaseCommand

from mailplatform.checks import SETTINGS


class MailCommand(BaseCommand):
    """A command that serves no page. What is wrong with the settings stops it; the pages' checks are left to `check`.

    Those would bring the whole admin into every process of the mail servers.
    """

    requires_system_checks = [SETTINGS, checks.Tags.translation]
