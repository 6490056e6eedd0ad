"""Kafka's fetches as bytes: what is asked for, what is answered, and answers with less in them.

Requests and answers are without their length. Layouts are those of Kafka's protocol guide.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

FETCH = 1
FETCH_MIN, FETCH_MAX = 4, 11
"""Versions of fetches understood here: from the first with transactions to the last of fixed layout."""
_CONTROL = 0x20

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
    """The partitions of a fetch response.

    Raises:
        ValueError: The version is not one that is offered to clients.
    """
    _check(version)
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


def _check(version: int) -> None:
    if not FETCH_MIN <= version <= FETCH_MAX:
        raise ValueError(f"fetch version {version} is not one of {FETCH_MIN} to {FETCH_MAX}")


def record_batches(payload: bytes, place: int, size: int) -> Iterator[RecordBatch]:
    """The headers of the whole record batches that lie at a place."""
    end = place + size
    while place + 61 <= end:
        first, length = struct.unpack_from(">qi", payload, place)
        attributes, last = struct.unpack_from(">hi", payload, place + 21)
        (producer,) = struct.unpack_from(">q", payload, place + 43)
        yield RecordBatch(first, first + last, producer, bool(attributes & _CONTROL))
        place += 12 + length


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a fetch request bounds its answer by.

    Attributes:
        wait_s_max: Longest wait for messages, seconds.
        bytes_max: Most bytes of messages, of all partitions.
        of_partitions: Most bytes of messages of each partition, by topic and number.
    """

    wait_s_max: float
    bytes_max: int
    of_partitions: Mapping[tuple[bytes, int], int]


def bounds(request: bytes, version: int) -> Bounds:
    """The bounds of a fetch request.

    Raises:
        ValueError: The version is not one that is offered to clients.
    """
    _check(version)
    (size,) = struct.unpack_from(">h", request, 8)
    place = 10 + max(size, 0)
    wait_ms, _, bytes_max = struct.unpack_from(">iii", request, place + 4)
    place += 17 if version < 7 else 25
    of_partitions = {}
    (n_topics,) = struct.unpack_from(">i", request, place)
    place += 4
    # Number of the partition, its leader's epoch, offset, first offset of a replica.
    before = 12 + (4 if version >= 9 else 0) + (8 if version >= 5 else 0)
    for _ in range(n_topics):
        (size,) = struct.unpack_from(">h", request, place)
        topic = request[place + 2 : place + 2 + size]
        (n_partitions,) = struct.unpack_from(">i", request, place + 2 + size)
        place += 6 + size
        for _ in range(n_partitions):
            (number,) = struct.unpack_from(">i", request, place)
            (of_partitions[topic, number],) = struct.unpack_from(">i", request, place + before)
            place += before + 4
    return Bounds(wait_ms / 1000, bytes_max, of_partitions)


def bytes_within(payload: bytes, partition: FetchedPartition, bytes_max: int, least: int) -> int:
    """How many bytes the first whole record batches have that are within a bound.

    Args:
        payload: The response.
        partition: Where the batches lie.
        bytes_max: The bound.
        least: So many batches are taken whatever their size.
    """
    taken = count = 0
    while taken + 12 <= partition.size:
        (length,) = struct.unpack_from(">i", payload, partition.records_at + taken + 8)
        if count >= least and taken + 12 + length > bytes_max:
            break
        taken, count = taken + 12 + length, count + 1
    return min(taken, partition.size)


def with_less(
    payload: bytes, parts: Sequence[tuple[FetchedPartition, tuple[AbortedTransaction, ...], int]]
) -> bytes:
    """A fetch response in which partitions name other aborted transactions and have fewer bytes of record batches.

    Args:
        payload: The response.
        parts: All its partitions in their order, each with the transactions to name and the bytes to keep.
    """
    view, pieces, place = memoryview(payload), list[bytes | memoryview](), 0
    for part, aborted, size in parts:
        pieces.append(view[place : part.aborted_at])
        after = part.aborted_at + 4 + 16 * len(part.aborted)
        if aborted == part.aborted:
            pieces.append(view[part.aborted_at : after])
        else:
            pieces.append(struct.pack(">i", len(aborted)))
            pieces.extend(struct.pack(">qq", *entry) for entry in aborted)
        pieces += [view[after : part.records_at - 4], struct.pack(">i", size)]
        pieces.append(view[part.records_at : part.records_at + size])
        place = part.records_at + part.size
    return b"".join([*pieces, view[place:]])


def offering_known_fetches(payload: bytes, version: int) -> bytes:
    """An answer about the API's versions that offers no later version of fetches than is understood here."""
    changed = bytearray(payload)
    place, width = (10, 6) if version < 3 else (7, 7)
    while place + 6 <= len(changed):
        key, least, most = struct.unpack_from(">hhh", changed, place)
        if key == FETCH:
            struct.pack_into(">hhh", changed, place, key, max(least, FETCH_MIN), min(most, FETCH_MAX))
            return bytes(changed)
        place += width
    return payload


def request_of(topic: bytes, partition: int, offset: int, bytes_max: int) -> bytes:
    """A fetch of one partition, of committed and other messages."""
    header = struct.pack(">hhih", FETCH, FETCH_MIN, 0, -1)
    bounds = struct.pack(">iiiib", -1, 0, 1, bytes_max, 0)
    name = struct.pack(">ih", 1, len(topic)) + topic
    return header + bounds + name + struct.pack(">iiqi", 1, partition, offset, bytes_max)
