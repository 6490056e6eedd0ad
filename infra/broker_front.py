"""Stands before the embedded broker, passes Kafka's protocol on, and mends what noida-db answers wrongly.

- An empty fetch is answered at once, so that an idle consumer asks thousands of times a second. Here it is kept,
  as Kafka keeps it, until something is written or the consumer's longest wait is over.
- The list of aborted transactions in a fetch names all there ever were, also those that ended before the fetch's
  offset, and a client then drops every later message of the same producer, committed ones as well. noida-db leaves
  aborted messages out by itself, so that the list is emptied here.
- Addresses in answers are noida-db's own; they are replaced by this one.

Guarantee: requests of one connection are passed on one after the other, in their order, and nothing else in them
is changed. Producers must ask for acknowledgement (`acks` other than 0).
"""

import asyncio
import contextlib
import struct
from dataclasses import dataclass

HOST = "127.0.0.1"
COALESCE_S = 0.003
"""A kept fetch looks again so long after a write, so that many small writes are not one look each."""

_PRODUCE, _FETCH, _METADATA, _FIND_COORDINATOR, _END_TXN, _DESCRIBE_CLUSTER = 0, 1, 3, 10, 26, 60
_WITH_ADDRESSES = frozenset({_METADATA, _FIND_COORDINATOR, _DESCRIBE_CLUSTER})
_WRITES = frozenset({_PRODUCE, _END_TXN})
_FIRST_WITH_TRANSACTIONS, _FIRST_FLEXIBLE, _FIRST_WITH_IDS, _LAST_KNOWN = 4, 12, 13, 13


@dataclass(frozen=True, slots=True)
class FetchAnswer:
    """A fetch response as a client may have it.

    Attributes:
        payload: The response without its length.
        is_empty: No partition has a record or an error.
    """

    payload: bytes
    is_empty: bool


class _Cursor:
    """Reads the fields of a response in their order; see Kafka's protocol guide."""

    def __init__(self, payload: bytes, *, flexible: bool) -> None:
        self.payload = payload
        self.place = 0
        self._flexible = flexible

    def number(self, layout: str) -> int:
        size = struct.calcsize(layout)
        (value,) = struct.unpack_from(layout, self.payload, self.place)
        self.place += size
        return int(value)

    def skip(self, size: int) -> None:
        self.place += size

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.payload[self.place]
            self.place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def count(self, layout: str = ">i") -> int:
        """Length of an array, a string or bytes; null is none."""
        return max(self.varint() - 1 if self._flexible else self.number(layout), 0)

    def tags(self) -> None:
        if self._flexible:
            for _ in range(self.varint()):
                self.varint()
                self.skip(self.varint())


def without_aborted(payload: bytes, version: int) -> FetchAnswer:
    """A fetch response of this version without its lists of aborted transactions.

    Raises:
        ValueError: The version is not known here.
    """
    if not _FIRST_WITH_TRANSACTIONS <= version <= _LAST_KNOWN:
        raise ValueError(f"fetch version {version} is not one of 4 to {_LAST_KNOWN}")
    flexible = version >= _FIRST_FLEXIBLE
    cursor = _Cursor(payload, flexible=flexible)
    kept: list[bytes] = []
    begun = 0
    is_empty = True
    cursor.place = 4
    cursor.tags()
    cursor.skip(4 if version < 7 else 10)
    for _ in range(cursor.count()):
        cursor.skip(16 if version >= _FIRST_WITH_IDS else cursor.count(">h"))
        for _ in range(cursor.count()):
            cursor.skip(4)
            failed = cursor.number(">h") != 0
            cursor.skip(16 if version < 5 else 24)
            kept.append(payload[begun : cursor.place])
            for _ in range(cursor.count()):
                cursor.skip(16)
                cursor.tags()
            begun = cursor.place
            kept.append(b"\x01" if flexible else b"\x00\x00\x00\x00")
            if version >= 11:
                cursor.skip(4)
            size = cursor.count()
            cursor.skip(size)
            cursor.tags()
            is_empty = is_empty and not failed and size == 0
        cursor.tags()
    kept.append(payload[begun:])
    return FetchAnswer(b"".join(kept), is_empty)


def longest_wait_s(request: bytes, version: int) -> float:
    """The longest wait that a fetch request (without its length) asks for, seconds."""
    place = 8
    (size,) = struct.unpack_from(">h", request, place)
    cursor = _Cursor(request, flexible=version >= _FIRST_FLEXIBLE)
    cursor.place = place + 2 + max(size, 0)
    cursor.tags()
    cursor.skip(4)
    return cursor.number(">i") / 1000


class BrokerFront:
    """Serves clients on `port` and asks the broker on `broker_port`, both on the loopback address."""

    def __init__(self, port: int, broker_port: int) -> None:
        self._port = port
        self._broker_port = broker_port
        self._theirs = HOST.encode() + struct.pack(">i", broker_port)
        self._ours = HOST.encode() + struct.pack(">i", port)
        self._written = asyncio.Event()

    async def serve(self) -> asyncio.Server:
        """Begin to serve.

        Raises:
            OSError: The port is taken.
        """
        return await asyncio.start_server(self._connected, HOST, self._port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        # Either side may go at any time, and the loop may end; the other side is then let go as well.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                answers, upstream = await asyncio.open_connection(HOST, self._broker_port)
                while True:
                    request = await _frame(reader)
                    answer = await self._answered(request, answers, upstream)
                    writer.write(struct.pack(">i", len(answer)) + answer)
                    await writer.drain()
            finally:
                writer.close()
                if upstream is not None:
                    upstream.close()

    async def _answered(
        self, request: bytes, answers: asyncio.StreamReader, upstream: asyncio.StreamWriter
    ) -> bytes:
        api, version = struct.unpack_from(">hh", request)
        if api == _FETCH:
            return await self._fetched(request, version, answers, upstream)
        answer = await _asked(request, answers, upstream)
        if api in _WITH_ADDRESSES:
            answer = answer.replace(self._theirs, self._ours)
        if api in _WRITES:
            self._written.set()
            self._written = asyncio.Event()
        return answer

    async def _fetched(
        self, request: bytes, version: int, answers: asyncio.StreamReader, upstream: asyncio.StreamWriter
    ) -> bytes:
        clock = asyncio.get_running_loop().time
        deadline = clock() + longest_wait_s(request, version)
        while True:
            written = self._written
            answer = without_aborted(await _asked(request, answers, upstream), version)
            if not answer.is_empty or clock() >= deadline:
                return answer.payload
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await written.wait()
                    await asyncio.sleep(COALESCE_S)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


async def _asked(request: bytes, answers: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> bytes:
    upstream.write(struct.pack(">i", len(request)) + request)
    await upstream.drain()
    return await _frame(answers)
