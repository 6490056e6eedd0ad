"""An HTTP proxy before an S3 server that answers as S3 may and as no server does on demand.

Everything else is passed on as it came; the signature holds, since the server checks it against the host that the
client named.
"""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.s3 import S3Server

CONFLICT = b"<Error><Code>ConditionalRequestConflict</Code><Message>writers met</Message></Error>"
WRITES = frozenset({"PUT", "POST"})


class S3Front(ThreadingHTTPServer):
    """The proxy.

    Args:
        server: What stands behind it.

    Attributes:
        conflicts: Conditional writes that are still to be answered with 409, and not done.
        lost: Writes that are still to be done and whose answers are lost.
        status: While it is not 0, every request is answered with it, and not done.
        delay_s: Every request waits so long before it is passed on.
        overwrites: Conditional writes of what is there are answered as by a server that knows no conditions.
    """

    daemon_threads = True

    def __init__(self, server: S3Server) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = urlsplit(server.url).netloc
        self.conflicts = self.lost = self.status = 0
        self.delay_s = 0.0
        self.overwrites = False
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def takes(self, counter: str) -> bool:
        """Count one down; whether there was one."""
        with self._lock:
            left: int = getattr(self, counter)
            setattr(self, counter, max(left - 1, 0))
            return left > 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Front

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _pass_on(self) -> None:
        try:
            self._answer_to(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        except (OSError, http.client.HTTPException):
            # What happens to one half of the connection happens to the other.
            self.close_connection = True

    def _answer_to(self, body: bytes) -> None:
        front = self.server
        time.sleep(front.delay_s)
        if front.status:
            self._answer(front.status, {}, b"<Error><Code>InternalError</Code></Error>")
            return
        if self.headers.get("If-None-Match") and front.takes("conflicts"):
            self._answer(409, {}, CONFLICT)
            return
        behind = http.client.HTTPConnection(front.behind, timeout=30)
        behind.request(self.command, self.path, body, dict(self.headers.items()))
        answer = behind.getresponse()
        found = answer.read()
        behind.close()
        if self.command in WRITES and front.takes("lost"):
            self.close_connection = True
            return
        if front.overwrites and answer.status == HTTPStatus.PRECONDITION_FAILED:
            self._answer(HTTPStatus.OK, {"ETag": '"of-the-new-one"'}, b"")
            return
        self._answer(answer.status, dict(answer.getheaders()), found)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        # Only the answer to a question for the head tells of a length that does not follow.
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on  # noqa: N815


@contextmanager
def s3_front(server: S3Server) -> Iterator[S3Front]:
    """The proxy before a server, for as long as the block lasts."""
    front = S3Front(server)
    thread = threading.Thread(target=front.serve_forever, daemon=True)
    thread.start()
    try:
        yield front
    finally:
        front.shutdown()
        front.server_close()
        thread.join(10)
