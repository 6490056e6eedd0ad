"""A request's body as a file that another thread reads.

Guarantee: at no time is more of the body in memory than a buffer and one piece as the server received it; the
sender is held back while the reader is busy. A body that stands still, trickles, grows too large or ends early raises
`UploadError` in the reader, so nothing of it can be taken for whole.
"""

import io
import time
from collections.abc import AsyncIterator
from typing import Self

import anyio
import anyio.from_thread
from starlette.requests import ClientDisconnect

from serving.problems import TOO_LARGE, TOO_MANY_UPLOADS, UPLOAD_BROKEN, UPLOAD_STALLED, Problem

BUFFER_BYTES = 1 << 20
STALL_S_MAX = 60.0


class UploadError(OSError):
    """The body cannot be read on.

    Args:
        problem: What the sender is answered.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def too_large(bytes_max: int) -> Problem:
    """The problem of a body of more than `bytes_max` bytes."""
    return Problem(TOO_LARGE, f"A file may have at most {bytes_max} bytes as sent.")


class RequestBody(io.RawIOBase):
    """Reads a request's body from a worker thread of the event loop that receives it.

    Args:
        pieces: The body as it arrives, such as `request.stream()`.
        bytes_max: Most bytes that are read.
        bytes_per_s_min: Least speed, bytes a second of waiting for the sender, after the first `stall_s_max` seconds.
        stall_s_max: Longest wait for the next piece, seconds.
    """

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        bytes_max: int,
        bytes_per_s_min: int = 1,
        stall_s_max: float = STALL_S_MAX,
    ) -> None:
        super().__init__()
        self._pieces = pieces
        self._bytes_max = bytes_max
        self._bytes_per_s_min = bytes_per_s_min
        self._stall_s_max = stall_s_max
        self._waited_s = 0.0
        self._rest = memoryview(b"")
        self._taken_bytes = 0
        self._broken: UploadError | None = None

    def readable(self) -> bool:
        """A body can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` with what has arrived, waiting for the next piece if need be.

        Returns:
            Bytes read; 0 at the end of the body.

        Raises:
            UploadError: The body stalled, grew too large or ended early.
        """
        if not self._rest:
            self._rest = memoryview(anyio.from_thread.run(self._next_piece))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    async def _next_piece(self) -> bytes:
        if self._broken is None:
            began_s = time.monotonic()
            try:
                with anyio.fail_after(self._stall_s_max):
                    return await self._received(began_s)
            except TimeoutError:
                detail = f"Nothing arrived for {self._stall_s_max:g} seconds."
                self._broken = UploadError(Problem(UPLOAD_STALLED, detail))
            except ClientDisconnect:
                self._broken = UploadError(Problem(UPLOAD_BROKEN, "The connection closed before the end."))
            except UploadError as error:
                self._broken = error
        # A broken body stays broken: a reader that tries again must not take what follows for its end.
        raise self._broken

    async def _received(self, began_s: float) -> bytes:
        async for piece in self._pieces:
            if piece:
                self._taken_bytes += len(piece)
                # Only the time that the sender takes counts, not what the reader does with it meanwhile.
                self._waited_s += time.monotonic() - began_s
                if self._taken_bytes > self._bytes_max:
                    raise UploadError(too_large(self._bytes_max))
                if self._waited_s > self._stall_s_max + self._taken_bytes / self._bytes_per_s_min:
                    detail = f"Fewer than {self._bytes_per_s_min} bytes a second arrived."
                    raise UploadError(Problem(UPLOAD_STALLED, detail))
                return piece
        return b""


def buffered(body: RequestBody) -> io.BufferedReader:
    """The body with reads of exactly the size asked for, until its end."""
    return io.BufferedReader(body, BUFFER_BYTES)


class UploadSlots:
    """Counts the uploads under way and refuses one too many. Used from the event loop only.

    Args:
        most: Most uploads at once; each holds one thread and one buffer.
    """

    def __init__(self, most: int = 8) -> None:
        self.most = most
        self.limiter = anyio.CapacityLimiter(most)
        self._taken = 0

    def __enter__(self) -> Self:
        """Take a slot.

        Raises:
            Problem: 503; all are taken.
        """
        if self._taken >= self.most:
            detail = f"{self.most} uploads are under way."
            raise Problem(TOO_MANY_UPLOADS, detail, {"Retry-After": "30"})
        self._taken += 1
        return self

    def __exit__(self, *_: object) -> None:
        """Give the slot back."""
        self._taken -= 1
