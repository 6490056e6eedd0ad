"""Stands before the embedded broker, passes Kafka's protocol on, and mends what noida-db answers wrongly.

- An empty fetch is answered at once, so that an idle consumer asks thousands of times a second. Here it is kept,
  as Kafka keeps it, until something is written or the consumer's longest wait is over.
- The list of aborted transactions in a fetch names all there ever were, also those that ended before the fetch's
  first message; a client then drops every later message of the same producer, committed ones as well. Here the
  list names only transactions that end within the fetch or later, as Kafka's does.
- A fetch is answered with all there is from its offset on, whatever bounds it has; a client refuses answers of more
  than 100 MB, and a partition with a larger backlog could not be read any more. Here the bounds are kept.
- When members of a group wait for the answers to their joins and the first that gets one joins again at once, as
  cooperative members do, the others are never answered and the group stands still. Here a join waits until those
  of the round before it have been answered.
- Addresses in answers are noida-db's own; they are replaced by this one.

Guarantee: requests of one connection are passed on one after the other, in their order, and nothing else in them
is changed, except that fetches are offered up to version 11. Producers must ask for acknowledgement (`acks` other
than 0).
"""

import asyncio
import contextlib
import struct
from dataclasses import dataclass, field

from infra.fetches import (
    FETCH,
    FETCH_MIN,
    AbortedTransaction,
    Bounds,
    FetchedPartition,
    bounds,
    bytes_within,
    fetched_partitions,
    offering_known_fetches,
    record_batches,
    request_of,
    with_less,
)

HOST = "127.0.0.1"
COALESCE_S = 0.003
"""A kept fetch looks again so long after a write, so that many small writes are not one look each."""
SCAN_BYTES = 1 << 20
"""Read at once in the search for the end of an aborted transaction."""

JOIN_S_MAX = 5.0
"""Longest wait of a join for those before it; one of them may belong to a member that is gone."""

_PRODUCE, _METADATA, _FIND_COORDINATOR, _JOIN, _API_VERSIONS, _END_TXN, _DESCRIBE_CLUSTER = (
    0,
    3,
    10,
    11,
    18,
    26,
    60,
)
_WITH_ADDRESSES = frozenset({_METADATA, _FIND_COORDINATOR, _DESCRIBE_CLUSTER})
_WRITES = frozenset({_PRODUCE, _END_TXN})
_JOIN_MAX = 5
"""The last version of joins of fixed layout; newer ones are passed on unseen."""


def group_of(join: bytes) -> bytes:
    """The group that a join request (without its length) names."""
    (size,) = struct.unpack_from(">h", join, 8)
    place = 10 + max(size, 0)
    (size,) = struct.unpack_from(">h", join, place)
    return join[place + 2 : place + 2 + size]


def is_joined(answer: bytes, version: int) -> bool:
    """Whether the answer to a join (without its length) is that of a round that is complete."""
    return bool(struct.unpack_from(">h", answer, 4 if version < 2 else 8)[0] == 0)


class BrokerFront:
    """Serves clients on `port` and asks the broker on `broker_port`, both on the loopback address."""

    def __init__(self, port: int, broker_port: int) -> None:
        self._port = port
        self._broker_port = broker_port
        self._theirs = HOST.encode() + struct.pack(">i", broker_port)
        self._ours = HOST.encode() + struct.pack(">i", port)
        self._written = asyncio.Event()
        self._joins: dict[bytes, _Joins] = {}
        self._aborted_ends: dict[tuple[bytes, int, AbortedTransaction], int] = {}

    async def serve(self) -> asyncio.Server:
        """Begin to serve.

        Raises:
            OSError: The port is taken.
        """
        return await asyncio.start_server(self._connected, HOST, self._port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker: _Broker | None = None
        # Either side may go at any time, and the loop may end; the other side is then let go as well.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                broker = _Broker(*await asyncio.open_connection(HOST, self._broker_port))
                while True:
                    answer = await self._answered(await _frame(reader), broker)
                    writer.write(struct.pack(">i", len(answer)) + answer)
                    await writer.drain()
            finally:
                writer.close()
                if broker is not None:
                    broker.writer.close()

    async def _answered(self, request: bytes, broker: "_Broker") -> bytes:
        api, version = struct.unpack_from(">hh", request)
        if api == FETCH:
            return await self._fetched(request, version, broker)
        if api == _JOIN and version <= _JOIN_MAX:
            return await self._joined(request, version, broker)
        answer = await broker.asked(request)
        if api == _API_VERSIONS:
            return offering_known_fetches(answer, version)
        if api in _WRITES:
            self._written.set()
            self._written = asyncio.Event()
        return answer.replace(self._theirs, self._ours) if api in _WITH_ADDRESSES else answer

    async def _joined(self, request: bytes, version: int, broker: "_Broker") -> bytes:
        joins = self._joins.setdefault(group_of(request), _Joins())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(JOIN_S_MAX):
                while joins.late:
                    await next(iter(joins.late)).wait()
        own = asyncio.Event()
        joins.asked.add(own)
        try:
            answer = await broker.asked(request)
            if is_joined(answer, version):
                joins.late = joins.asked - {own}
            return answer
        finally:
            joins.asked.discard(own)
            joins.late.discard(own)
            own.set()

    async def _fetched(self, request: bytes, version: int, broker: "_Broker") -> bytes:
        clock = asyncio.get_running_loop().time
        limits = bounds(request, version)
        deadline = clock() + limits.wait_s_max
        while True:
            written = self._written
            answer = await broker.asked(request)
            partitions = fetched_partitions(answer, version)
            if any(part.failed or part.size for part in partitions) or clock() >= deadline:
                return await self._within(answer, partitions, limits, broker)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await written.wait()
                    await asyncio.sleep(COALESCE_S)

    async def _within(
        self, answer: bytes, partitions: list[FetchedPartition], limits: Bounds, broker: "_Broker"
    ) -> bytes:
        """The answer within the bounds of its request, without the aborted transactions that ended before it."""
        parts, left = [], limits.bytes_max
        for part in partitions:
            # As in Kafka, something is always given: one batch of the first partition that has any.
            least = int(left == limits.bytes_max)
            most = min(left, limits.of_partitions.get((part.topic, part.number), left))
            size = bytes_within(answer, part, most, least)
            left -= size
            parts.append((part, await self._not_ended(answer, part, broker), size))
        return with_less(answer, parts)

    async def _not_ended(
        self, answer: bytes, part: FetchedPartition, broker: "_Broker"
    ) -> tuple[AbortedTransaction, ...]:
        """The aborted transactions of a partition but those that ended before its first message."""
        if not part.aborted:
            return ()
        begin = next((batch.first for batch in record_batches(answer, part.records_at, part.size)), None)
        if begin is None:
            return ()
        ends = [await self._end_of(part.topic, part.number, entry, broker) for entry in part.aborted]
        return tuple(entry for entry, end in zip(part.aborted, ends, strict=True) if end >= begin)

    async def _end_of(
        self, topic: bytes, partition: int, aborted: AbortedTransaction, broker: "_Broker"
    ) -> int:
        """Offset of the marker that ends an aborted transaction."""
        key = (topic, partition, aborted)
        if key not in self._aborted_ends:
            producer, offset = aborted
            while key not in self._aborted_ends:
                answer = await broker.asked(request_of(topic, partition, offset, SCAN_BYTES))
                (part,) = fetched_partitions(answer, FETCH_MIN)
                batches = list(record_batches(answer, part.records_at, part.size))
                if not batches:
                    raise OSError(f"no marker ends the aborted transaction at {aborted[1]} of {topic!r}")
                for batch in batches:
                    if batch.is_marker and batch.producer == producer and batch.first > aborted[1]:
                        self._aborted_ends[key] = batch.first
                        break
                offset = batches[-1].last + 1
        return self._aborted_ends[key]


@dataclass(slots=True)
class _Joins:
    """Joins of a group that the broker has not answered; of each its event of having been answered.

    Attributes:
        asked: All of them.
        late: Those of a round of which another was answered.
    """

    asked: set[asyncio.Event] = field(default_factory=set)
    late: set[asyncio.Event] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Broker:
    """A connection to the broker."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def asked(self, request: bytes) -> bytes:
        """The broker's answer to a request."""
        self.writer.write(struct.pack(">i", len(request)) + request)
        await self.writer.drain()
        return await _frame(self.reader)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)
