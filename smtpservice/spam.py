"""A spam filter is asked about mail on port 25: rspamd, or what speaks its HTTP protocol (POST /checkv2).

The message goes to it from its spool, a piece at a time. What it says is told in `X-Spam` and `X-Spam-Score`, for the
filters of clients; it refuses mail, or makes it come again. A filter that does not answer keeps no mail out.
"""

import asyncio
import http.client
import json
import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from mailplatform.networks import Networks
from mailstore.delivery import Body
from mailstore.wire import unstuff
from smtpservice import replies
from smtpservice.replies import Reply

logger = logging.getLogger(__name__)

#: Messages that are asked about in the same moment, by one worker.
THREADS = 4
#: Octets of an answer that are read.
ANSWER_OCTETS = 1024 * 1024
_SAID = re.compile(rb"^X-Spam(?:-Score)?[ \t]*:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", re.IGNORECASE | re.MULTILINE)
_REFUSALS = {"reject": replies.SPAM, "soft reject": replies.MAYBE_SPAM, "greylist": replies.MAYBE_SPAM}
_MARKED = {"add header", "rewrite subject"}


class SpamCheck:
    """Asks the filter at `url`, for `seconds` at most in each step."""

    def __init__(self, *, url: str, seconds: float, hostname: str, exempt: Networks, threads: int = THREADS) -> None:
        self._url = urlsplit(url)
        self._seconds = seconds
        self._hostname = hostname
        self._exempt = exempt
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="spam")

    async def look_at(
        self, body: Body, *, helo: str, sender: str, client_address: str, recipients: Sequence[str]
    ) -> Reply | None:
        """Put the answer on top of a message that has ended; answers the reply where it is refused."""
        if client_address in self._exempt:
            return None
        headers = {"From": sender, "Helo": helo, "IP": client_address, "Hostname": self._hostname}
        pairs = [*headers.items(), *(("Rcpt", recipient) for recipient in recipients)]
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._look, body, pairs)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look(self, body: Body, headers: Sequence[tuple[str, str]]) -> Reply | None:
        header = body.header()
        if header is not None and (clean := _SAID.sub(b"", header)) != header:
            body.set_header(clean)  # nobody but we may say what our filter said
        try:
            answer = self._ask(body, headers)
            action, score = str(answer["action"]), float(answer["score"])
            required = float(answer.get("required_score") or 0)
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            logger.warning("the spam filter was not heard: %r", error)
            return None
        mark = "X-Spam: Yes\r\n" if action in _MARKED else ""
        body.add_header(f"{mark}X-Spam-Score: {score:.2f} / {required:.2f}\r\n".encode())
        logger.info("spam filter: %s, %.2f of %.2f", action, score, required)
        return _REFUSALS.get(action)

    def _ask(self, body: Body, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.hostname or "", self._url.port, timeout=self._seconds)
        try:
            connection.putrequest("POST", f"{self._url.path.rstrip('/')}/checkv2")
            for name, value in (*headers, ("Content-Length", str(body.octets))):
                connection.putheader(name, value.encode("utf-8"))
            connection.endheaders()
            for piece in unstuff(body.pieces()):
                connection.send(piece)
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise http.client.HTTPException(f"status {response.status}")
            answer: dict[str, Any] = json.loads(response.read(ANSWER_OCTETS))
            return answer
        finally:
            connection.close()
