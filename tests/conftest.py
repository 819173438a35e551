"""What every folder of tests shares."""

import os
import shutil
from collections.abc import Callable

import pytest

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


@pytest.fixture(scope="session")
def require_program() -> Callable[[str], str]:
    """Find a program of the machine. Where it is missing the test is skipped, but in CI it fails."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is not None:
            return path
        if IN_CI:
            pytest.fail(f"{name} is not installed, and in CI every client has to be there (see .ci/run)")
        pytest.skip(f"{name} is not installed")

    return find
