"""What every folder of tests shares: which tests run on both databases and in what order, programs, what is left over."""

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator

import pytest
from django.conf import settings as django_settings
from django.test import TransactionTestCase
from django.utils import translation
from hypothesis import settings

from tests.databases import copy_template, empty

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

# No deadline: what takes 1 ms takes 300 on a machine that does something else at that moment.
settings.register_profile("suite", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=2000)  # --hypothesis-profile=thorough
settings.load_profile("suite")

#: Fixtures by which a test gets at the database; pytest-django keeps all others from it.
DATABASE_FIXTURES = {"db", "transactional_db", "django_db_setup", "live_server"}
#: A database that nobody finds.
NOWHERE = "postgres://nobody@127.0.0.1:1/nowhere"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--only-with-database",
        action="store_true",
        help="leave out the tests that cannot see the database: they ran on another one already",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "once: it takes long, and what it is about does not depend on the database")
    # Each test makes a web client, and WhiteNoise would list all static files for each of them.
    django_settings.WHITENOISE_AUTOREFRESH = True
    gc.disable()  # nothing of what is collected goes
    # A shell starts what it runs in the background deaf to SIGINT, and the programs that tests start would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def has_database(item: pytest.Item) -> bool:
    """Whether a test can see the database: by a fixture, a mark, or as all of tests/e2e through servers."""
    fixtures = getattr(item, "fixturenames", ())
    return (
        "e2e" in item.path.parts
        or item.get_closest_marker("django_db") is not None
        or not DATABASE_FIXTURES.isdisjoint(fixtures)
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("only_with_database"):
        again = [item for item in items if has_database(item) and item.get_closest_marker("once") is None]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(again)])
        items[:] = again
    if hasattr(config, "workerinput"):  # files are shared out over processes in this order: the long ones first
        items.sort(key=lambda item: "e2e" not in item.path.parts)


def pytest_collection_finish() -> None:
    """All that was imported and collected stays to the end: no need to look at it ever again."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)  # tests make many small things, and few large ones


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """What a test without a database starts finds none either, so such a test need not run on each of them."""
    if has_database(item):
        return (yield)
    before = os.environ.get("DATABASE_URL")
    os.environ["DATABASE_URL"] = NOWHERE
    try:
        return (yield)
    finally:
        if before is None:
            del os.environ["DATABASE_URL"]
        else:
            os.environ["DATABASE_URL"] = before


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest) -> None:
    """A test that asks for a database while it runs would be taken for one without."""
    if fixturedef.argname in DATABASE_FIXTURES and isinstance(request.node, pytest.Item):
        assert has_database(request.node), f"{request.node.nodeid} has to name its fixture {fixturedef.argname}"


@pytest.fixture(scope="session")
def django_db_keepdb(django_db_keepdb: bool, django_db_modify_db_settings: None) -> bool:
    """Whether the database is there before it is made; pytest-django asks so."""
    return copy_template() or django_db_keepdb


@pytest.fixture(scope="session", autouse=True)
def _emptied_quickly() -> Iterator[None]:
    """What a test of committed transactions leaves is taken away after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty)
        yield


@pytest.fixture(autouse=True)
def _nothing_left_counted() -> None:
    """What tests before this one counted in memory and did not write would be written by the first flush here."""
    from accounts import activity  # not before Django is set up

    activity._gathered.clear()


@pytest.fixture(autouse=True)
def _language_of_the_project() -> Iterator[None]:
    """A page that was asked for in another language leaves it to its thread, and so to the tests behind."""
    yield
    translation.deactivate()


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
