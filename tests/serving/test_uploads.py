"""A body as a file, read in a thread as the desk does, with pieces that arrive as they like."""

import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO, TypeVar, cast

import anyio
import anyio.to_thread
import pytest
from starlette.requests import ClientDisconnect

from serving.problems import Problem
from serving.uploads import RequestBody, UploadError, UploadSlots, buffered

BYTES_MAX = 1 << 30
T = TypeVar("T")


async def arriving(*pieces: bytes | Exception) -> AsyncIterator[bytes]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


def read_in_thread(
    pieces: AsyncIterator[bytes],
    act: Callable[[BinaryIO], T],
    bytes_max: int = BYTES_MAX,
    stall_s_max: float = 30,
    bytes_per_s_min: int = 1,
) -> T:
    async def main() -> T:
        with buffered(RequestBody(pieces, bytes_max, bytes_per_s_min, stall_s_max)) as body:
            return await anyio.to_thread.run_sync(act, cast("BinaryIO", body))

    return anyio.run(main)


def test_pieces_of_any_size_read_as_one_file() -> None:
    pieces = [b"a" * 3, b"", b"b" * 2_000_000, b"c"]
    found = read_in_thread(
        arriving(*pieces), lambda body: [body.read(5), body.read(1_500_000), body.read(), body.read(1)]
    )
    whole = b"".join(pieces)
    assert found == [whole[:5], whole[5:1_500_005], whole[1_500_005:], b""]


def test_an_empty_body_is_an_empty_file() -> None:
    assert read_in_thread(arriving(), lambda body: body.read(10)) == b""


def test_a_body_of_the_greatest_size_is_read_and_one_byte_more_is_refused() -> None:
    assert (
        read_in_thread(arriving(b"x" * 7, b"yyy"), lambda body: body.read(100), bytes_max=10) == b"xxxxxxxyyy"
    )
    with pytest.raises(UploadError) as found:
        read_in_thread(arriving(b"x" * 7, b"yyyy"), lambda body: body.read(100), bytes_max=10)
    assert found.value.problem.kind.status == 413


def test_a_sender_who_stands_still_is_given_up() -> None:
    async def stalling() -> AsyncIterator[bytes]:
        yield b"first"
        await anyio.sleep_forever()

    with pytest.raises(UploadError) as found:
        read_in_thread(stalling(), lambda body: body.read(100), stall_s_max=0.05)
    assert found.value.problem.kind.status == 408


def test_a_sender_who_trickles_is_given_up_and_one_whose_reader_is_slow_is_not() -> None:
    async def trickling() -> AsyncIterator[bytes]:
        for _ in range(100):
            await anyio.sleep(0.02)
            yield b"x"

    def slowly(body: BinaryIO) -> int:
        taken = 0
        while piece := body.read(1):
            time.sleep(0.01)
            taken += len(piece)
        return taken

    with pytest.raises(UploadError, match="Fewer than 1000 bytes a second"):
        read_in_thread(trickling(), lambda body: body.read(100), stall_s_max=0.3, bytes_per_s_min=1_000)
    pieces = [b"x" * 10] * 5
    assert read_in_thread(arriving(*pieces), slowly, stall_s_max=0.3, bytes_per_s_min=1_000) == 50


def test_a_broken_body_stays_broken_for_a_reader_that_tries_again() -> None:
    def twice(body: BinaryIO) -> bytes:
        with contextlib.suppress(UploadError):
            body.read(100)
        return body.read(100)

    with pytest.raises(UploadError) as found:
        read_in_thread(arriving(b"half", ClientDisconnect()), twice)
    assert found.value.problem.kind.slug == "upload-broken"


def test_the_sender_is_held_back_while_the_reader_is_busy() -> None:
    pulled = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pulled
        while True:
            pulled += 1
            yield b"x" * 65_536

    def one_look(body: BinaryIO) -> int:
        digest = hashlib.sha256(body.read(1_000_000))
        return digest.digest_size

    read_in_thread(endless(), one_look)
    assert pulled * 65_536 <= 3_000_000


def test_one_upload_too_many_is_told_when_to_come_again() -> None:
    async def main() -> None:
        slots = UploadSlots(2)
        with slots, slots, pytest.raises(Problem) as found:
            slots.__enter__()
        assert found.value.headers["Retry-After"]
        with slots:
            pass

    anyio.run(main)
