"""The project as an app: its system checks, commands and templates; and Django's admin as the project has it."""

from typing import Any

from django.apps import AppConfig
from django.contrib import admin
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks

from mailplatform.checks import SETTINGS, check_settings


class MailplatformConfig(AppConfig):
    default = True  # of those that Django finds in this module
    name = "mailplatform"

    def ready(self) -> None:
        checks.register(check_settings, SETTINGS)


class AdminConfig(SimpleAdminConfig):
    """The admin without its pages: mailplatform.urls brings them, so that processes which serve no page have none."""

    default_site = "unfold.sites.UnfoldAdminSite"

    def ready(self) -> None:
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_pages, checks.Tags.admin)


def check_pages(**kwargs: Any) -> list[checks.CheckMessage]:
    """Django's check of the admin's pages, which have to be there for it."""
    admin.autodiscover()
    return check_admin_app(**kwargs)
