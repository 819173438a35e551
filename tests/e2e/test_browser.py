"""An admin at a real browser, before the real servers: accounts are made, mail comes, goes, and comes back.

Nothing may go wrong on the way that only a browser sees: an error of a script, a file that is missing, a request to
another host.
"""

import poplib
import smtplib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.e2e.conftest import MakePlatform
from tests.e2e.running import PASSWORD, Platform, Server

ADMIN = "root"
DOMAIN = "maison.mrs"
#: What a container and a machine without a screen need of chromium.
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
MILLISECONDS = 60_000
expect.set_options(timeout=MILLISECONDS)


@pytest.fixture(scope="module")
def platform(make_platform: MakePlatform, require_program: Callable[[str], str]) -> Iterator[Platform]:
    require_program("chromium")
    made = make_platform()
    made.manage("shell", "--command", _PEOPLE.format(DOMAIN, ADMIN, PASSWORD))
    yield made
    made.stop()


_PEOPLE = """
from accounts.models import User
from accounts.services import create_account, create_domain
create_domain(name={0!r})
User.objects.create_superuser({1!r}, password={2!r})
for name in ("carl", "fred", "gina"):
    create_account(username=name, password={2!r})
"""


@pytest.fixture(scope="module")
def web(platform: Platform) -> Server:
    return platform.start_web()


@pytest.fixture(scope="module")
def pop3(platform: Platform) -> Server:
    return platform.start_pop3()


@pytest.fixture(scope="module")
def smtp(platform: Platform) -> Server:
    return platform.start_smtp()


@pytest.fixture(scope="module")
def chromium(require_program: Callable[[str], str]) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require_program("chromium"), args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(chromium: Browser, web: Server) -> Iterator[BrowserContext]:
    """The browser of an admin who has logged in; scripts and pictures are fetched once, as they are by anybody's."""
    context = new_context(chromium, web)
    page = context.new_page()
    log_in(page)
    expect(page.get_by_text("Largest mailboxes")).to_be_visible()
    page.close()
    yield context
    context.close()


def new_context(chromium: Browser, web: Server, **options: object) -> BrowserContext:
    context = chromium.new_context(base_url=f"http://127.0.0.1:{web.ports['http']}", locale="en-GB", **options)
    context.set_default_timeout(MILLISECONDS)
    return context


def log_in(page: Page, password: str = PASSWORD) -> None:
    page.goto("/admin/")
    page.get_by_label("Username").fill(ADMIN)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A window of an admin; what went wrong in it fails the test."""
    page = context.new_page()
    wrong = watch(page)
    yield page
    page.close()
    assert wrong == []


def watch(page: Page) -> list[str]:
    """What goes wrong on this page from now on."""
    wrong: list[str] = []

    def asked(url: str) -> None:
        if urlsplit(url).hostname not in ("127.0.0.1", None):
            wrong.append(f"asked {url}")

    page.on("console", lambda message: message.type in ("error", "warning") and wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked(request.url))
    page.on("response", lambda response: response.status >= 400 and wrong.append(f"{response.status} {response.url}"))
    page.on(
        "requestfailed", lambda request: request.failure != "net::ERR_ABORTED" and wrong.append(f"no {request.url}")
    )
    return wrong


@contextmanager
def maildrop(pop3: Server, name: str, password: str = PASSWORD) -> Iterator[poplib.POP3]:
    """An open session of a mailbox's owner. Raises poplib.error_proto where the login is refused."""
    client = poplib.POP3("127.0.0.1", pop3.ports["plain"], timeout=20)
    try:
        client.user(f"{name}@{DOMAIN}")
        client.pass_(password)
        yield client
    finally:
        client.quit()


def is_refused(pop3: Server, name: str, password: str = PASSWORD) -> bool:
    try:
        with maildrop(pop3, name, password):
            return False
    except poplib.error_proto as error:
        return error.args[0].startswith(b"-ERR")


def write_to(smtp: Server, name: str, subject: str, text: str = "The words of it.") -> None:
    message = f"From: Bert <bert@example.org>\r\nSubject: {subject}\r\n\r\n{text}\r\n"
    with smtplib.SMTP("127.0.0.1", smtp.ports["smtp"], timeout=20) as client:
        client.sendmail("bert@example.org", [f"{name}@{DOMAIN}"], message)


def follow(page: Page, name: str) -> None:
    """Click on a link of the navigation beside the page; its name begins with that of its icon."""
    page.locator("nav, aside, #nav-sidebar").get_by_role("link", name=name).first.click()


def open_mailbox(page: Page, name: str) -> None:
    """As an admin does who has an address on the phone: look for it, from any page."""
    page.get_by_placeholder("Find a mailbox").fill(f"{name}@{DOMAIN}")
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"Login name: {name}@{DOMAIN}")).to_be_visible()


def choose(page: Page, address: str, action: str) -> None:
    """Carry out an action on one row of a list."""
    page.get_by_role("row", name=address).get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option(label=action)
    page.get_by_role("button", name="Run").click()


def test_only_the_right_password_opens_the_admin(chromium: Browser, web: Server) -> None:
    context = new_context(chromium, web)
    page = context.new_page()
    wrong = watch(page)
    log_in(page, "not it")
    expect(page.get_by_text("Please enter the correct username and password")).to_be_visible()
    log_in(page)
    expect(page.get_by_text("Largest mailboxes")).to_be_visible()
    context.close()
    assert wrong == []


def test_a_domain_a_user_and_the_way_of_a_message(page: Page, pop3: Server, smtp: Server) -> None:
    page.goto("/admin/")
    follow(page, "Domains")
    page.locator("a[href='/admin/accounts/domain/add/']").first.click()
    page.locator("#id_name").fill("second.org")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("row", name="second.org")).to_be_visible()

    follow(page, "Users")
    page.locator("a[href='/admin/accounts/user/add/']").first.click()
    page.get_by_label("Username").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password confirmation").fill(PASSWORD)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("link", name=f"anna@{DOMAIN}")).to_be_visible()
    page.get_by_role("link", name="Add another").last.click()
    page.locator("[name=mailboxes-2-0-local_part]").fill("anna")
    page.locator(".field-domain .select2-selection").first.click()
    page.get_by_role("option", name="second.org").click()
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_role("link", name="anna@second.org")).to_be_visible()

    write_to(smtp, "anna", "A letter <b>for you</b>")
    open_mailbox(page, "anna")
    page.locator(".mp-tabs").get_by_role("link", name="Messages").click()
    page.get_by_role("link", name="A letter <b>for you</b>").click()
    expect(page.get_by_text("The words of it.")).to_be_visible()
    expect(page.get_by_text("has been written to the history")).to_be_visible()

    with maildrop(pop3, "anna") as client:
        assert client.stat()[0] == 1
        client.retr(1)
        client.dele(1)
    page.locator(".mp-tabs").get_by_role("link", name="Messages").click()
    expect(page.get_by_text("No messages.")).to_be_visible()
    page.locator(".mp-tabs").get_by_role("link", name="Shelf").click()
    page.get_by_role("checkbox", name="Choose “A letter").check()
    page.get_by_role("button", name="Restore what is chosen").click()
    expect(page.get_by_text("1 message is back in the mailbox.")).to_be_visible()
    with maildrop(pop3, "anna") as client:
        assert b"The words of it." in client.retr(1)[1]
    follow(page, "History")
    expect(page.get_by_text("Restored 1 message").first).to_be_visible()
    open_mailbox(page, "anna")
    page.get_by_role("link", name="History").nth(1).click()
    said = page.locator("tbody td").last.evaluate("cell => getComputedStyle(cell, '::before').display")
    assert said == "none", "on a screen the columns are named above them alone"


@pytest.mark.once
def test_a_suspended_mailbox_is_not_opened_until_it_is_active_again(page: Page, pop3: Server) -> None:
    assert not is_refused(pop3, "carl")
    page.goto("/admin/accounts/mailbox/?q=carl")
    choose(page, f"carl@{DOMAIN}", "Suspend")
    expect(page.get_by_text("1 mailbox suspended.")).to_be_visible()
    assert is_refused(pop3, "carl")
    choose(page, f"carl@{DOMAIN}", "Activate")
    expect(page.get_by_text("1 mailbox activated.")).to_be_visible()
    assert not is_refused(pop3, "carl")


@pytest.mark.once
def test_a_file_of_accounts_is_checked_put_right_and_imported(page: Page, pop3: Server) -> None:
    def choose_file(content: str) -> None:
        file = {"name": "class.csv", "mimeType": "text/csv", "buffer": content.encode()}
        page.get_by_label("CSV file").set_input_files(files=[file])
        page.get_by_role("button", name="Check the file").click()

    page.goto("/admin/accounts/user/")
    page.get_by_role("link", name="Import accounts").click()
    choose_file("username,password\nd ora,x\n")
    expect(page.get_by_text("Line 2")).to_be_visible()
    expect(page.get_by_role("button", name="Import")).to_have_count(0)
    choose_file(f"username,password\ndora,{PASSWORD}\nemil,{PASSWORD}\n")
    expect(page.get_by_text("The file is good: 2 accounts.")).to_be_visible()
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_text("2 accounts imported.")).to_be_visible()
    assert not is_refused(pop3, "emil")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export accounts").click()
    assert f"emil@{DOMAIN}" in download.value.path().read_text()


@pytest.mark.once
def test_a_new_password_opens_the_mailbox_and_the_old_one_no_more(page: Page, pop3: Server) -> None:
    page.goto("/admin/accounts/user/?q=fred")
    page.get_by_role("row", name="fred").get_by_role("link", name="Set password").click()
    page.get_by_label("New password", exact=True).or_(page.get_by_label("Password", exact=True)).first.fill(
        "ein neues 99"
    )
    page.get_by_label("confirmation").or_(page.get_by_label("(again)")).first.fill("ein neues 99")
    page.get_by_role("button", name="Change password").or_(page.get_by_role("button", name="Save")).first.click()
    expect(page.get_by_text("Password changed successfully.")).to_be_visible()
    assert is_refused(pop3, "fred")
    assert not is_refused(pop3, "fred", "ein neues 99")


def reload_until(page: Page, text: str) -> None:
    """Look again until a page shows what servers write a moment later."""
    for _ in range(30):
        if page.get_by_text(text).count():
            return
        page.wait_for_timeout(1000)  # servers write every two seconds, and to show a page is work
        page.reload()
    raise AssertionError(f"no {text!r} on {page.url}")


@pytest.mark.once
def test_an_app_password_opens_its_session_is_ended_and_it_is_revoked(page: Page, pop3: Server) -> None:
    page.goto("/admin/accounts/user/?q=gina")
    page.get_by_role("row", name="gina").get_by_role("link").first.click()
    page.get_by_role("link", name="App passwords").first.click()
    page.locator("#id_name").fill("Laptop")
    page.get_by_role("button", name="Make an app password").click()
    secret = page.get_by_label("App password", exact=True).input_value()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    client = poplib.POP3("127.0.0.1", pop3.ports["plain"], timeout=20)
    client.user(f"gina@{DOMAIN}")
    client.pass_(secret)
    follow(page, "Open now")
    page.get_by_role("button", name=f"End the session of gina@{DOMAIN}").click()
    expect(page.get_by_text(f"The session of gina@{DOMAIN} ends within")).to_be_visible()
    assert b"an admin has ended this session" in client.file.readline()
    client.close()
    open_mailbox(page, "gina")
    reload_until(page, "by an admin")
    page.locator(".mp-lately").get_by_role("link", name="See all").first.click()
    reload_until(page, "Laptop")
    expect(page.get_by_role("row", name=f"gina@{DOMAIN}").get_by_text("let in")).to_be_visible()

    page.goto("/admin/accounts/user/?q=gina")
    page.get_by_role("row", name="gina").get_by_role("link").first.click()
    page.get_by_role("link", name="Manage").click()
    expect(page.get_by_text("from 127.0.0.1")).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Revoke “Laptop”").click()
    expect(page.get_by_text("“Laptop” opens nothing any more.")).to_be_visible()
    assert is_refused(pop3, "gina", secret)


_LONG = """
from datetime import timedelta
from django.utils.timezone import now
from accounts.services import create_account, create_domain
from collecting.models import Source
from smtpservice.models import QueuedMessage, QueuedRecipient
name = "bartholomew.maximilian.fitzgerald.of.the.long.meadows"
domain = create_domain(name="a-society-whose-name-says-all-that-it-does." + "department-of-long-names." * 3 + "org")
mailbox = create_account(username=name, password={0!r}, domains=[domain]).mailboxes.get()
said = "what the server said, and https://support.example.org/" + "where-to-read-on/" * 6
Source.objects.create(mailbox=mailbox, host="pop." + domain.name, login=mailbox.address, last_error=said, is_active=False)
message = QueuedMessage.objects.create(identity="1", sender=mailbox.address, queued_at=now(), expires_at=now(),
    octets=0, wire_octets=0, header_octets=0)
QueuedRecipient.objects.create(message=message, address=mailbox.address, domain=domain.name, last_reply=said,
    state="held", next_attempt_at=now() + timedelta(days=1))
print(mailbox.pk)
"""
_LISTS = ("accounts/user", "accounts/mailbox", "accounts/domain", "collecting/source", "smtpservice/queuedrecipient")
#: By how much a page is wider than its window, and which cells of a list do not show all that they hold.
_HIDDEN = """() => [Math.max(0, document.documentElement.scrollWidth - innerWidth),
    [...document.querySelectorAll("#result_list tbody :is(td, th)")].filter(cell => cell.scrollHeight > cell.clientHeight
        + 1 || cell.getBoundingClientRect().right > innerWidth).map(cell => cell.innerText)]"""


@pytest.mark.once
def test_long_names_are_seen_in_full_on_a_screen_and_on_a_phone(platform: Platform, page: Page) -> None:
    mailbox = platform.manage("shell", "--verbosity=0", "--command", _LONG.format(PASSWORD)).split()[-1]
    pages = [f"/admin/{name}/" for name in _LISTS]
    pages += [f"/admin/accounts/mailbox/{mailbox}/{part}" for part in ("change/", "messages/", "shelf/")]
    pages += [f"/admin/{name}/1/change/" for name in ("collecting/source", "smtpservice/queuedrecipient")]
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        hidden = {}
        for url in pages:
            page.goto(url)
            hidden[url] = page.evaluate(_HIDDEN)
        assert hidden == {url: [0, []] for url in pages}, width
