"""Topics into the lake, each message once: buffers of a partition become one file of its chain.

Guarantee: a partition is resumed from the end of its chain of files and from nothing else, and the write of a
file is its commit; so a message is in the lake once, whenever a worker is killed and however many of them
believe that they own a partition. The group only divides the partitions; its offsets are hints for watching
the lag.
"""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import polars as pl

from infra import telemetry
from infra.blobs import BlobStore
from infra.errors import AlreadyExistsError, FaultError, FencedError
from infra.settings import Settings
from lake.append import AppendTable, ChainEnd
from schemas.catalogue import EVENTS, LOCATIONS, PRICES, PRODUCTS, SALES_ERROR
from schemas.codec import Codec
from schemas.registry import Registry
from stream_jobs.batches import Batch, Place, Rows
from stream_jobs.runtime import Stream

logger = logging.getLogger(__name__)

JOB = "sink"

SINK_TABLES: Mapping[str, str] = {
    SALES_ERROR: "sales_error",
    LOCATIONS: "changes_locations",
    PRODUCTS: "changes_products",
    PRICES: "changes_prices",
    EVENTS: "changes_events",
}
"""Topics that go to the lake as they are, and their tables."""


def group_of(job: str, settings: Settings) -> str:
    """Consumer group of a job that writes the lake; a dataset has its own, and its own workers."""
    return f"{job}-{settings.dataset}" if settings.dataset else job


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows for one partition's chain.

    Attributes:
        place: The partition.
        first_offset: Offset of the first message.
        first_timestamp_ms: Kafka's timestamp of the first message, milliseconds since 1970.
        next_offset: Offset after the last message.
        frame: The rows, with the columns of the table; may have fewer rows than there were messages.
    """

    place: Place
    first_offset: int
    first_timestamp_ms: int
    next_offset: int
    frame: pl.DataFrame


class Intake(Protocol):
    """Turns messages into rows of the lake. All may block; all is called from one thread."""

    def take(self, batch: Batch) -> Iterable[Piece]:
        """Rows of a batch, in the order of each partition."""

    def turn(self, now_s: float) -> Iterable[Piece]:
        """Rows that were held back until now."""

    def drop(self, places: Sequence[Place]) -> None:
        """Forget what is held back of these partitions."""


@dataclass(slots=True)
class _Buffer:
    first_offset: int
    first_timestamp_ms: int
    oldest_s: float
    next_offset: int
    frames: list[pl.DataFrame] = field(default_factory=list)
    rows: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Flush:
    place: Place
    rows: int
    future: "Future[ChainEnd]"


class Sink:
    """Gathers pieces and flushes them by rows, bytes or age; a `runtime.Handler`.

    Args:
        settings: When a file is closed.
        stream: The loop.
        tables: Table of each topic.
        intake: Turns messages into rows.
    """

    def __init__(
        self, settings: Settings, stream: Stream, tables: Mapping[str, AppendTable], intake: Intake
    ) -> None:
        self._limits = settings.stream
        self._stream = stream
        self._tables = tables
        self._intake = intake
        self._ends: dict[Place, ChainEnd | None] = {}
        self._buffers: dict[Place, _Buffer] = {}
        self._beaten: set[Place] = set()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._flush_under_way: _Flush | None = None

    def assigned(self, places: Sequence[Place]) -> Mapping[Place, int]:
        """Go on at the ends of the chains."""
        for place in places:
            self._ends[place] = self._tables[place[0]].chain_end(place[1])
        return {place: end.next_offset for place in places if (end := self._ends[place]) is not None}

    def revoked(self, places: Sequence[Place]) -> None:
        """Drop what is buffered: the next owner reads it again, and files stay few and large."""
        self._intake.drop(places)
        if self._flush_under_way is not None and self._flush_under_way.place in places:
            # It is a commit like any other, and whoever gets the partition asks for the chain's end.
            wait([self._flush_under_way.future])
            self._flush_under_way = None
        for place in places:
            self._buffers.pop(place, None)
            self._ends.pop(place, None)
            self._beaten.discard(place)

    def lost(self, places: Sequence[Place]) -> None:
        """Drop what is buffered; somebody else may have written it already."""
        self.revoked(places)

    def take(self, batch: Batch) -> None:
        """Buffer the rows of a batch."""
        self._gather(self._intake.take(batch))

    def turn(self, now_s: float) -> None:
        """Buffer what is no longer held back, and flush what is full or old enough.

        Here and nowhere else, because a flush that was beaten goes back in its partition: no messages that were
        taken before may be in hand then.
        """
        self._gather(self._intake.turn(now_s))
        if self._flush_under_way is not None and self._flush_under_way.future.done():
            self._settle()
        for place, buffer in list(self._buffers.items()):
            if buffer.rows and self._is_due(buffer, now_s):
                self._flush(place)
        while sum(one.size_bytes for one in self._buffers.values()) > self._limits.buffer_bytes_max:
            self._flush(max(self._buffers, key=lambda place: self._buffers[place].size_bytes))

    def _is_due(self, buffer: _Buffer, now_s: float) -> bool:
        limits = self._limits
        return (
            buffer.rows >= limits.flush_rows_max
            or buffer.size_bytes >= limits.flush_bytes_max
            or now_s - buffer.oldest_s >= limits.flush_s_max
        )

    def finish(self) -> None:
        """Flush everything."""
        for place, buffer in list(self._buffers.items()):
            if buffer.rows:
                self._flush(place)
        self._settle()

    def _gather(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            buffer = self._buffers.get(piece.place)
            if buffer is None:
                buffer = _Buffer(
                    piece.first_offset, piece.first_timestamp_ms, time.monotonic(), piece.next_offset
                )
                self._buffers[piece.place] = buffer
            buffer.next_offset = piece.next_offset
            if piece.frame.height:
                buffer.frames.append(piece.frame)
                buffer.rows += piece.frame.height
                buffer.size_bytes += int(piece.frame.estimated_size())

    def _flush(self, place: Place) -> None:
        """Write what is buffered of a partition, beside the work; one flush at a time."""
        self._settle()
        # That may have been of the same partition, and beaten.
        buffer = self._buffers.pop(place, None)
        if buffer is not None:
            self._flush_under_way = _Flush(
                place, buffer.rows, self._writer.submit(self._append, place, buffer, self._ends[place])
            )

    def _append(self, place: Place, buffer: _Buffer, previous: ChainEnd | None) -> ChainEnd:
        return self._tables[place[0]].append(
            place[1],
            buffer.first_offset,
            buffer.next_offset,
            datetime.fromtimestamp(buffer.first_timestamp_ms / 1000, UTC),
            pl.concat(buffer.frames),
            previous,
        )

    def _settle(self) -> None:
        """Wait for the flush that is under way, if one is, and take in what became of it."""
        flush, self._flush_under_way = self._flush_under_way, None
        if flush is None:
            return
        place, table = flush.place, self._tables[flush.place[0]]
        try:
            end = flush.future.result()
        except AlreadyExistsError as error:
            self._give_way(place, error)
            return
        self._ends[place] = end
        self._beaten.discard(place)
        telemetry.objects_written.labels(table.name).inc()
        telemetry.rows_written.labels(table.name).inc(flush.rows)
        self._stream.hint(place, end.next_offset)

    def _give_way(self, place: Place, error: AlreadyExistsError) -> None:
        """Somebody wrote this file first: go on behind it, if the partition is still ours at all."""
        self._intake.drop([place])
        self._buffers.pop(place, None)
        end = self._tables[place[0]].chain_end(place[1])
        if end is None:
            raise FaultError(
                f"{place[0]} [{place[1]}]: a file exists that no listing shows: {error}"
            ) from error
        if place in self._beaten or not self._stream.still_owns(place, end.next_offset):
            raise FencedError(
                f"{place[0]} [{place[1]}] is written to the lake by another worker as well: {error}. "
                "This one stops."
            ) from error
        logger.warning(
            "%s [%d]: another worker had written up to offset %d; going on from there",
            *place,
            end.next_offset,
        )
        self._beaten.add(place)
        self._ends[place] = end
        self._stream.resume([place])
        self._stream.seek(place, end.next_offset)


class PlainIntake:
    """Messages whose columns are the table's own, and their source where the table has it.

    Args:
        registry: Where schemas have their ids.
        tables: Table of each topic.
    """

    def __init__(self, registry: Registry, tables: Mapping[str, AppendTable]) -> None:
        self._codecs = {topic: Codec(topic, registry) for topic in tables}
        self._tables = tables

    def take(self, batch: Batch) -> Iterable[Piece]:
        """Rows of a batch, in the order of each partition."""
        decoded = self._codecs[batch.topic].decode(batch.values)
        if decoded.bad:
            check_passable(batch, decoded.bad)
        columns = self._tables[batch.topic].table.file_schema.names
        frame = with_source(decoded.frame, batch, decoded.rows)
        return pieces(batch, frame.select(columns), decoded.rows)

    def turn(self, now_s: float) -> Iterable[Piece]:  # noqa: ARG002
        """Nothing is ever held back."""
        return ()

    def drop(self, places: Sequence[Place]) -> None:
        """Nothing is ever held back."""


def check_passable(batch: Batch, bad: Mapping[int, str]) -> None:
    """Pass over unreadable messages of master data, which cost themselves only; stop at lost sales.

    Raises:
        FaultError: A message with a sale or a refusal cannot be read; to go on would be to lose it.
    """
    for row, reason in sorted(bad.items()):
        place = f"{batch.topic} [{batch.partitions[row]}] offset {batch.offsets[row]}"
        if batch.topic not in (LOCATIONS, PRODUCTS, PRICES, EVENTS):
            raise FaultError(
                f"{place} cannot be read: {reason}. Only our own jobs write there, and to go on would lose it: "
                "look which version or program wrote it, and whether the registry has its schema."
            )
        logger.error(
            "%s: passed over, it cannot be read: %s; look for a foreign writer to the topic", place, reason
        )


def with_source(frame: pl.DataFrame, batch: Batch, rows: Rows) -> pl.DataFrame:
    """The frame with `source_partition` and `source_offset`, unless its records tell of their source."""
    if "source_offset" in frame.columns:
        return frame
    return frame.with_columns(
        pl.Series("source_partition", batch.partitions[rows], dtype=pl.Int32),
        pl.Series("source_offset", batch.offsets[rows], dtype=pl.Int64),
    )


def pieces(batch: Batch, frame: pl.DataFrame, rows: Rows) -> list[Piece]:
    """A batch by partition.

    Args:
        batch: The messages.
        frame: The rows that came of them, columns of the table.
        rows: Place in the batch of the message of each row, rising.
    """
    found = []
    next_offsets = batch.next_offsets()
    for place in batch.places():
        first = int(np.argmax(batch.partitions == place[1]))
        own = batch.partitions[rows] == place[1]
        found.append(
            Piece(
                place,
                int(batch.offsets[first]),
                batch.timestamp_ms(first),
                next_offsets[place],
                frame if own.all() else frame.filter(pl.Series(own)),
            )
        )
    return found


def run_sink(
    settings: Settings,
    store: BlobStore,
    stop: threading.Event,
    topics: Sequence[str] = tuple(SINK_TABLES),
) -> None:
    """Write topics to the lake as they are until `stop` is set.

    Args:
        settings: Where everything is, and when a file is closed.
        store: The lake.
        stop: Set it to flush what is buffered and end.
        topics: Topics to be written; of those in `SINK_TABLES`.

    Raises:
        HeadraceError: What stops the job; start it again, or mend what the text says.
    """
    registry = Registry(settings)
    try:
        tables = {topic: AppendTable(store, SINK_TABLES[topic]) for topic in topics}
        stream = Stream(settings, topics, group_of(JOB, settings))
        stream.run(Sink(settings, stream, tables, PlainIntake(registry, tables)), stop)
    finally:
        registry.close()
