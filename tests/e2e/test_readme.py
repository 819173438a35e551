"""The Python of the README, run as a newcomer does, against real servers on ports of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import markdown
from tests.e2e.running import PASSWORD, Platform

pytestmark = pytest.mark.once
ADDRESS = "charles@alfred.maison.mrs"


def run(script: str, directory: Path) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-"],
        cwd=directory,
        env=os.environ | {"PASSWORD": PASSWORD},
        input=script,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_what_it_sends_is_what_it_fetches(platform: Platform, tmp_path: Path) -> None:
    platform.manage("adddomain", "alfred.maison.mrs")
    platform.add_account("charles")
    ports = {"1995": platform.start_pop3().ports["tls"], "1025": platform.start_smtp().ports["smtp"]}
    fetching, sending = (
        block.text for block in markdown.blocks(markdown.read("README.md")) if block.language == "python"
    )
    for shown, port in ports.items():
        assert shown in fetching + sending
        fetching, sending = fetching.replace(shown, str(port)), sending.replace(shown, str(port))
    assert ADDRESS in fetching
    fetching = fetching.replace("var/demo/certificate.pem", str(platform.authority))
    assert run(fetching, tmp_path) == ["0 messages, 0 octets"]
    assert run(sending, tmp_path) == []
    assert run(sending, tmp_path) == []
    count, *subjects = run(fetching, tmp_path)
    assert count.startswith("2 messages, ")
    assert subjects == ["1 Subject: Bread", "2 Subject: Bread"]
