"""As much of S3's protocol as the blob store uses, over HTTP, with its answers and its refusals.

It stands in where no S3 server is installed: s3fs and botocore run as they do against a real one. It checks
the access key but no signatures.
"""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "lake"
KEY, SECRET = "key", "hidden-from-all"
PAGE = 3


class StandIn(ThreadingHTTPServer):
    """The server and its objects.

    Attributes:
        objects: Content by key.
        parts: Parts of unfinished uploads, by upload and number.
        conflicts: Conditional writes that are still to be answered with 409.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.conflicts = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def _begin(self) -> tuple[str, dict[str, str]] | None:
        """The key and the query of a request; None when it was refused."""
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if f"Credential={KEY}/" not in self.headers.get("Authorization", ""):
            self._refuse(403, "InvalidAccessKeyId")
            return None
        if bucket != BUCKET:
            self._refuse(404, "NoSuchBucket")
            return None
        return key, query

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str = "no") -> None:
        body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self._answer(status, body, Content_Type="application/xml")

    def _store(self, key: str, data: bytes, document: str | None = None) -> None:
        """Write on the request's condition."""
        with self.server.lock:
            conditional = self.headers.get("If-None-Match") == "*"
            if conditional and self.server.conflicts:
                self.server.conflicts -= 1
                return self._refuse(409, "ConditionalRequestConflict")
            if conditional and key in self.server.objects:
                text = "At least one of the pre-conditions you specified did not hold"
                return self._refuse(412, "PreconditionFailed", text)
            self.server.objects[key] = data
        body = f"<{document}><ETag>{_etag(data)}</ETag></{document}>".encode() if document else b""
        return self._answer(200, body, ETag=_etag(data))

    def do_PUT(self) -> None:
        if (begun := self._begin()) is None:
            return None
        key, query = begun
        if "uploadId" in query:
            self.server.parts[query["uploadId"]][int(query["partNumber"])] = self.body
            return self._answer(200, ETag=_etag(self.body))
        source = unquote(self.headers.get("x-amz-copy-source", "")).lstrip("/").partition("/")[2]
        if not source:
            return self._store(key, self.body)
        if source not in self.server.objects:
            return self._refuse(404, "NoSuchKey")
        return self._store(key, self.server.objects[source], "CopyObjectResult")

    def do_POST(self) -> None:
        if (begun := self._begin()) is None:
            return None
        key, query = begun
        if "uploads" in query:
            upload = hashlib.sha256(f"{key}{len(self.server.parts)}".encode()).hexdigest()
            self.server.parts[upload] = {}
            document = "InitiateMultipartUploadResult"
            text = f"<{document}><UploadId>{upload}</UploadId></{document}>"
            return self._answer(200, text.encode())
        parts = self.server.parts.pop(query["uploadId"])
        return self._store(
            key, b"".join(parts[number] for number in sorted(parts)), "CompleteMultipartUploadResult"
        )

    def do_HEAD(self) -> None:
        if (begun := self._begin()) is None:
            return None
        data = self.server.objects.get(begun[0])
        if data is None:
            return self._answer(404)
        return self._answer(200, Content_Length=str(len(data)), ETag=_etag(data))

    def do_GET(self) -> None:
        if (begun := self._begin()) is None:
            return None
        key, query = begun
        if not key:
            return self._list(query)
        data = self.server.objects.get(key)
        if data is None:
            return self._refuse(404, "NoSuchKey")
        match = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match is None:
            return self._answer(200, data, ETag=_etag(data))
        first, last = int(match[1]), min(int(match[2] or len(data)), len(data) - 1)
        place = f"bytes {first}-{last}/{len(data)}"
        return self._answer(206, data[first : last + 1], ETag=_etag(data), Content_Range=place)

    def do_DELETE(self) -> None:
        if (begun := self._begin()) is None:
            return
        key, query = begun
        if "uploadId" in query:
            self.server.parts.pop(query["uploadId"], None)
        else:
            self.server.objects.pop(key, None)
        self._answer(204)

    def _list(self, query: dict[str, str]) -> None:
        """ListObjectsV2, in small pages so that clients must ask for the next."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        with self.server.lock:
            objects = dict(self.server.objects)
        entries: dict[str, str] = {}
        for key, data in sorted(objects.items()):
            if not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folder = prefix + rest.split(delimiter)[0] + delimiter
                entries[folder] = f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
            else:
                entries[key] = (
                    f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>{_etag(data)}</ETag>"
                    "<LastModified>2026-03-02T12:00:00.000Z</LastModified></Contents>"
                )
        names = [name for name in sorted(entries) if name > query.get("continuation-token", "")]
        more = len(names) > PAGE
        text = "".join(entries[name] for name in names[:PAGE])
        token = f"<NextContinuationToken>{escape(names[PAGE - 1])}</NextContinuationToken>" if more else ""
        self._answer(
            200,
            f"<ListBucketResult><KeyCount>{len(names[:PAGE])}</KeyCount><IsTruncated>{str(more).lower()}"
            f"</IsTruncated>{token}{text}</ListBucketResult>".encode(),
            Content_Type="application/xml",
        )


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


@contextmanager
def running() -> Iterator[StandIn]:
    """A server on a free port, until the end of the block."""
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
