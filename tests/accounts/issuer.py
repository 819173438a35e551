"""An issuer of tokens: a real HTTP server on loopback that answers as a test tells it to."""

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


class Issuer(ThreadingHTTPServer):
    """Serves while it is entered. `tokens` are the answers for active tokens; `answer`, where it is set, does all."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        self.tokens: dict[str, object] = {}
        self.answer: Callable[[_Handler], None] | None = None
        self.questions: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}/introspect"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients of these tests hang up as they please."""

    def __enter__(self) -> "Issuer":
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Issuer

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode("ascii"))
        self.server.questions.append((self.path, form, dict(self.headers)))
        if self.server.answer is not None:
            self.server.answer(self)
        else:
            self.say(json.dumps(self.server.tokens.get(form["token"][0], {"active": False})).encode())

    def say(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""
