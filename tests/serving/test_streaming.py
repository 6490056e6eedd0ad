"""Uploads over a real connection: a body is never whole in memory, and half of one is never accepted."""

import hashlib
import socket
import time
import tracemalloc
from collections.abc import Iterator

import httpx

from tests.serving import lake_content as content
from tests.serving.conftest import FILE_BYTES_MAX
from tests.serving.parts import MemoryStream

ADDRESS = f"/v1/deliveries?customer_id={content.CUSTOMER}&name=sales.csv"
PIECE = bytes(range(256)) * 256


def pieces(count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield PIECE


def test_a_big_body_is_never_whole_in_memory(
    served: str, stream: MemoryStream, headers: dict[str, str]
) -> None:
    count = FILE_BYTES_MAX // len(PIECE) - 1
    # What the first request of a process imports and builds is not the body's.
    assert httpx.post(served + ADDRESS, content=b"x", headers=headers, timeout=60).status_code == 202
    tracemalloc.start()
    try:
        answer = httpx.post(served + ADDRESS, content=pieces(count), headers=headers, timeout=60)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.status_code == 202, answer.text
    digest = hashlib.sha256()
    for piece in pieces(count):
        digest.update(piece)
    assert answer.json()["digest"] == digest.hexdigest()
    assert answer.json()["size_bytes"] == count * len(PIECE)
    assert peak_bytes < FILE_BYTES_MAX / 5


def test_a_body_that_grows_too_large_is_refused_while_it_arrives(
    served: str, stream: MemoryStream, headers: dict[str, str]
) -> None:
    endless = pieces(10 * FILE_BYTES_MAX // len(PIECE))
    try:
        assert httpx.post(served + ADDRESS, content=endless, headers=headers, timeout=60).status_code == 413
    except httpx.WriteError:
        # The service has answered and closed; a client that only writes sees nothing but that.
        assert next(endless, None) is not None
    assert stream.kept == {}


def test_half_a_body_is_not_accepted(served: str, stream: MemoryStream, headers: dict[str, str]) -> None:
    host, port = served.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as sender:
        token = f"Authorization: {headers['Authorization']}"
        length = f"Content-Length: {10 * len(PIECE)}"
        head = f"POST {ADDRESS} HTTP/1.1\r\nHost: {host}\r\n{token}\r\n{length}\r\n\r\n"
        sender.sendall(head.encode() + PIECE)
        deadline = time.monotonic() + 20
        while stream.reading == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
    while stream.reading and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stream.reading == 0
    assert stream.kept == {}
    # The slot is free again, and the same file sent whole is taken.
    assert httpx.post(served + ADDRESS, content=PIECE * 10, headers=headers, timeout=30).status_code == 202
