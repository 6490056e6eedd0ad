"""Stands before the embedded broker, passes Kafka's protocol on, and mends what noida-db answers wrongly.

- An empty fetch is answered at once, so that an idle consumer asks thousands of times a second. Here it is kept,
  as Kafka keeps it, until something is written or the consumer's longest wait is over.
- The list of aborted transactions in a fetch names all there ever were, also those that ended before the fetch's
  first message; a client then drops every later message of the same producer, committed ones as well. Here the
  list names only transactions that end within the fetch or later, as Kafka's does.
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
from collections.abc import Iterator
from dataclasses import dataclass, field

HOST = "127.0.0.1"
COALESCE_S = 0.003
"""A kept fetch looks again so long after a write, so that many small writes are not one look each."""
SCAN_BYTES = 1 << 20
"""Read at once in the search for the end of an aborted transaction."""

JOIN_S_MAX = 5.0
"""Longest wait of a join for those before it; one of them may belong to a member that is gone."""

_PRODUCE, _FETCH, _METADATA, _FIND_COORDINATOR, _JOIN, _API_VERSIONS, _END_TXN, _DESCRIBE_CLUSTER = (
    0,
    1,
    3,
    10,
    11,
    18,
    26,
    60,
)
_WITH_ADDRESSES = frozenset({_METADATA, _FIND_COORDINATOR, _DESCRIBE_CLUSTER})
_WRITES = frozenset({_PRODUCE, _END_TXN})
_FETCH_MIN, _FETCH_MAX = 4, 11
"""Versions of fetches understood here: from the first with transactions to the last of fixed layout."""
_CONTROL = 0x20

_JOIN_MAX = 5
"""The last version of joins of fixed layout; newer ones are passed on unseen."""

AbortedTransaction = tuple[int, int]
"""Its producer and the offset of its first message in a partition."""


@dataclass(frozen=True, slots=True)
class FetchedPartition:
    """Where the parts of one partition lie in a fetch response.

    Attributes:
        topic: Name of the topic.
        number: Number of the partition.
        failed: Whether the broker reports an error.
        aborted: The transactions it calls aborted.
        aborted_at: Place of their count, which they follow.
        records_at: Place of the record batches.
        size: Size of the record batches, bytes.
    """

    topic: bytes
    number: int
    failed: bool
    aborted: tuple[AbortedTransaction, ...]
    aborted_at: int
    records_at: int
    size: int


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """The header of a record batch: first and last offset, producer, and whether it is a transaction's marker."""

    first: int
    last: int
    producer: int
    is_marker: bool


def fetched_partitions(payload: bytes, version: int) -> list[FetchedPartition]:
    """The partitions of a fetch response (without its length); see Kafka's protocol guide.

    Raises:
        ValueError: The version is not one that is offered to clients.
    """
    if not _FETCH_MIN <= version <= _FETCH_MAX:
        raise ValueError(f"fetch version {version} is not one of {_FETCH_MIN} to {_FETCH_MAX}")
    found = []
    place = 8 if version < 7 else 14
    (n_topics,) = struct.unpack_from(">i", payload, place)
    place += 4
    for _ in range(n_topics):
        (size,) = struct.unpack_from(">h", payload, place)
        topic = payload[place + 2 : place + 2 + size]
        (n_partitions,) = struct.unpack_from(">i", payload, place + 2 + size)
        place += 6 + size
        for _ in range(n_partitions):
            number, error = struct.unpack_from(">ih", payload, place)
            aborted_at = place + (22 if version < 5 else 30)
            (n_aborted,) = struct.unpack_from(">i", payload, aborted_at)
            aborted = tuple(
                struct.unpack_from(">qq", payload, aborted_at + 4 + 16 * row) for row in range(n_aborted)
            )
            place = aborted_at + 4 + 16 * len(aborted) + (4 if version >= 11 else 0)
            (size,) = struct.unpack_from(">i", payload, place)
            size = max(size, 0)
            place += 4
            found.append(FetchedPartition(topic, number, error != 0, aborted, aborted_at, place, size))
            place += size
    return found


def record_batches(payload: bytes, place: int, size: int) -> Iterator[RecordBatch]:
    """The headers of the whole record batches that lie at a place."""
    end = place + size
    while place + 61 <= end:
        first, length = struct.unpack_from(">qi", payload, place)
        attributes, last = struct.unpack_from(">hi", payload, place + 21)
        (producer,) = struct.unpack_from(">q", payload, place + 43)
        yield RecordBatch(first, first + last, producer, bool(attributes & _CONTROL))
        place += 12 + length


def with_aborted(
    payload: bytes, partition: FetchedPartition, aborted: tuple[AbortedTransaction, ...]
) -> bytes:
    """A fetch response in which the aborted transactions of one partition are these."""
    after = partition.aborted_at + 4 + 16 * len(partition.aborted)
    entries = b"".join(struct.pack(">qq", *entry) for entry in aborted)
    return payload[: partition.aborted_at] + struct.pack(">i", len(aborted)) + entries + payload[after:]


def group_of(join: bytes) -> bytes:
    """The group that a join request (without its length) names."""
    (size,) = struct.unpack_from(">h", join, 8)
    place = 10 + max(size, 0)
    (size,) = struct.unpack_from(">h", join, place)
    return join[place + 2 : place + 2 + size]


def is_joined(answer: bytes, version: int) -> bool:
    """Whether the answer to a join (without its length) is that of a round that is complete."""
    return bool(struct.unpack_from(">h", answer, 4 if version < 2 else 8)[0] == 0)


def longest_wait_s(request: bytes) -> float:
    """The longest wait that a fetch request (without its length) asks for, seconds."""
    (size,) = struct.unpack_from(">h", request, 8)
    (wait_ms,) = struct.unpack_from(">i", request, 10 + max(size, 0) + 4)
    return float(wait_ms) / 1000


def offering_known_fetches(payload: bytes, version: int) -> bytes:
    """An answer about the API's versions that offers no later version of fetches than is understood here."""
    changed = bytearray(payload)
    place, width = (10, 6) if version < 3 else (7, 7)
    while place + 6 <= len(changed):
        key, least, most = struct.unpack_from(">hhh", changed, place)
        if key == _FETCH:
            struct.pack_into(">hhh", changed, place, key, max(least, _FETCH_MIN), min(most, _FETCH_MAX))
            return bytes(changed)
        place += width
    return payload


def scan_request(topic: bytes, partition: int, offset: int) -> bytes:
    """A fetch of one partition, of committed and other messages."""
    header = struct.pack(">hhih", _FETCH, _FETCH_MIN, 0, -1)
    bounds = struct.pack(">iiiib", -1, 0, 1, SCAN_BYTES, 0)
    name = struct.pack(">ih", 1, len(topic)) + topic
    return header + bounds + name + struct.pack(">iiqi", 1, partition, offset, SCAN_BYTES)


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
        if api == _FETCH:
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
        deadline = clock() + longest_wait_s(request)
        while True:
            written = self._written
            answer = await broker.asked(request)
            partitions = fetched_partitions(answer, version)
            if any(part.failed or part.size for part in partitions) or clock() >= deadline:
                # From the end, so that the places before a change stay what they are.
                for part in reversed(partitions):
                    answer = await self._without_ended(answer, part, broker)
                return answer
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await written.wait()
                    await asyncio.sleep(COALESCE_S)

    async def _without_ended(self, answer: bytes, part: FetchedPartition, broker: "_Broker") -> bytes:
        """The answer without the aborted transactions of a partition that ended before its first message."""
        if not part.aborted:
            return answer
        begin = next((batch.first for batch in record_batches(answer, part.records_at, part.size)), None)
        if begin is None:
            return with_aborted(answer, part, ())
        ends = [await self._end_of(part.topic, part.number, entry, broker) for entry in part.aborted]
        return with_aborted(
            answer, part, tuple(entry for entry, end in zip(part.aborted, ends, strict=True) if end >= begin)
        )

    async def _end_of(
        self, topic: bytes, partition: int, aborted: AbortedTransaction, broker: "_Broker"
    ) -> int:
        """Offset of the marker that ends an aborted transaction."""
        key = (topic, partition, aborted)
        if key not in self._aborted_ends:
            producer, offset = aborted
            while key not in self._aborted_ends:
                answer = await broker.asked(scan_request(topic, partition, offset))
                (part,) = fetched_partitions(answer, _FETCH_MIN)
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
