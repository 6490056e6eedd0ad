"""A proxy before an S3 server that answers conditional writes with 409, as S3 may when writers meet.

No server does so on demand. Everything else is passed on as it came; the signature holds, since the server checks it
against the host that the client named.
"""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.s3 import S3Server

CONFLICT = b"<Error><Code>ConditionalRequestConflict</Code><Message>writers met</Message></Error>"


class Conflicts(ThreadingHTTPServer):
    """The proxy.

    Attributes:
        left: Conditional writes that are still to be answered with 409.
    """

    daemon_threads = True

    def __init__(self, server: S3Server) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = urlsplit(server.url).netloc
        self.left = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Conflicts

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("If-None-Match") and self.server.left:
            self.server.left -= 1
            self._answer(409, {}, CONFLICT)
            return
        behind = http.client.HTTPConnection(self.server.behind, timeout=30)
        behind.request(self.command, self.path, body, dict(self.headers.items()))
        answer = behind.getresponse()
        self._answer(answer.status, dict(answer.getheaders()), answer.read())
        behind.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on  # noqa: N815


@contextmanager
def running(server: S3Server) -> Iterator[Conflicts]:
    """The proxy before a server, for as long as the block lasts."""
    proxy = Conflicts(server)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join(10)
