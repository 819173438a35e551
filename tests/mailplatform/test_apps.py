"""The admin is there for pages and for their checks, and for nothing else; settings are checked by every command."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import Tags
from django.core.management import get_commands, load_command_class
from django.core.management.base import SystemCheckError
from pytest_django import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = sorted(name for name, app in get_commands().items() if (ROOT / app / "management").is_dir())
RUN_CHECKS = "from django.core.checks import run_checks"


def loaded_by(code: str) -> set[str]:
    """The modules of a process of its own that has set Django up and has run `code`."""
    program = f"import sys, django; django.setup(); {code}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True)
    return set(run.stdout.split())


def test_a_mail_process_has_nothing_of_the_pages_and_of_other_servers() -> None:
    command = "pop3service.management.commands.pop3serve"
    loaded = loaded_by(f"import {command} as it; {RUN_CHECKS}; run_checks(tags=it.Command.requires_system_checks)")
    assert command in loaded
    assert {"unfold.admin", "mailplatform.admin", "mailplatform.urls", "smtpservice.relay.worker"} & loaded == set()


def test_the_checks_of_the_admin_see_its_pages() -> None:
    assert "mailplatform.admin.users" in loaded_by(f"{RUN_CHECKS}; assert not run_checks(tags=[{Tags.admin!r}])")


def test_the_web_has_its_pages_before_the_first_request() -> None:
    assert "mailplatform.admin.users" in loaded_by("import mailplatform.wsgi")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_checks_the_settings(settings: Settings, name: str) -> None:
    settings.MAIL_MAX_OCTETS = 0
    settings.RELAY_NAME_SERVERS = ["nowhere"]
    command = load_command_class(get_commands()[name], name)
    with pytest.raises(SystemCheckError, match=r"(?s)mailplatform\.E001.*mailplatform\.E020"):
        command.check(**command.get_check_kwargs({}))
