"""A spam filter is asked by HTTP: what it gets, what its answers do, and what happens where it does not answer."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mailplatform.bridge import Bridge
from mailplatform.networks import Networks
from smtpservice import replies
from smtpservice.intake import LocalIntake
from smtpservice.replies import Reply
from smtpservice.requests import Service
from smtpservice.spam import SpamCheck
from tests.smtpservice.local import ask, make_mailbox, send, stored
from tests.smtpservice.serving import HOST, run

pytestmark = pytest.mark.django_db(transaction=True)

JULES = "jules@maison.mrs"
MESSAGE = b"Subject: hello\r\n\r\n.hello\r\n" + b"x" * 70 + b"\r\n"


class Filter:
    """What rspamd would be: it keeps what it was asked, and answers what it was told to."""

    def __init__(self) -> None:
        self.answer: bytes = json.dumps({"action": "no action", "score": 1.5, "required_score": 15}).encode()
        self.status = 200
        self.asked: list[tuple[str, list[tuple[str, str]], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append((self.path, self.headers.items(), content))
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(outer.answer)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def says(self, action: str, score: float = 7) -> None:
        self.answer = json.dumps({"action": action, "score": score, "required_score": 15}).encode()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def spam_filter() -> Iterator[Filter]:
    made = Filter()
    make_mailbox(JULES)
    yield made
    made.close()


def sent(url: str, message: bytes = MESSAGE, client: str = "192.0.2.1", service: Service = Service.SMTP) -> Reply:
    async def main() -> Reply:
        bridge = Bridge(threads=1)
        check = SpamCheck(url=url, seconds=10, hostname=HOST, exempt=Networks(["192.0.2.128/25"]))
        try:
            intake = LocalIntake(bridge, hostname=HOST, spam=check)
            found = await ask(intake, [f"<{JULES}>", "<jules+x@maison.mrs>"])
            (answer, *_) = await send(intake, message, found, client_address=client, service=service)
            return answer
        finally:
            check.close()
            await bridge.close()

    return run(main())


def test_it_gets_the_message_and_who_sends_it_to_whom(spam_filter: Filter) -> None:
    assert sent(spam_filter.url).code == 250
    ((path, headers, content),) = spam_filter.asked
    assert (path, content) == ("/checkv2", MESSAGE)
    assert {("From", "a@example.org"), ("IP", "192.0.2.1"), ("Helo", "laptop.example"), ("Hostname", HOST)} <= set(
        headers
    )
    assert [value for name, value in headers if name == "Rcpt"] == [JULES, "jules+x@maison.mrs"]
    assert stored(JULES)[0].endswith(b"\r\nX-Spam-Score: 1.50 / 15.00\r\n" + MESSAGE)


@pytest.mark.parametrize(
    ("action", "expected"),
    [("reject", replies.SPAM), ("soft reject", replies.MAYBE_SPAM), ("greylist", replies.MAYBE_SPAM)],
)
def test_it_keeps_mail_out(spam_filter: Filter, action: str, expected: Reply) -> None:
    spam_filter.says(action)
    assert sent(spam_filter.url) == expected
    assert stored(JULES) == []


@pytest.mark.parametrize("action", ["add header", "rewrite subject"])
def test_it_marks_mail_and_others_do_not(spam_filter: Filter, action: str) -> None:
    spam_filter.says(action)
    forged = b"X-Spam: No\r\nx-spam-score : -5\r\n\t/ 15\r\n"
    assert sent(spam_filter.url, forged + MESSAGE).code == 250
    assert stored(JULES)[0].endswith(b"\r\nX-Spam: Yes\r\nX-Spam-Score: 7.00 / 15.00\r\n" + MESSAGE)


@pytest.mark.parametrize(
    ("status", "answer"),
    [(500, b"{}"), (200, b""), (200, b"[1]"), (200, b'{"action": 1}'), (200, b'{"action": "x", "score": "y"}')],
)
def test_an_answer_that_is_none_keeps_no_mail_out(
    spam_filter: Filter, status: int, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    spam_filter.status, spam_filter.answer = status, answer
    assert sent(spam_filter.url).code == 250
    assert b"X-Spam" not in stored(JULES)[0]
    assert "the spam filter was not heard" in caplog.text


def test_a_filter_that_is_not_there_keeps_no_mail_out(spam_filter: Filter) -> None:
    assert sent("http://127.0.0.1:1").code == 250


def test_exempt_networks_and_lmtp_are_not_asked_about(spam_filter: Filter) -> None:
    assert sent(spam_filter.url, client="192.0.2.200").code == 250
    assert sent(spam_filter.url, service=Service.LMTP).code == 250
    assert spam_filter.asked == []


def test_a_large_message_goes_through_in_pieces(spam_filter: Filter) -> None:
    message = MESSAGE + b"." + b"y" * 3_000_000 + b"\r\n"
    assert sent(spam_filter.url, message).code == 250
    assert spam_filter.asked[0][2] == message
