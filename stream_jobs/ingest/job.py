"""The ingest job: accepted files become records, exactly once.

It follows the topic `deliveries`. Each chunk of a file is one Kafka transaction: the records, of master data
also the refusals and a tally, and the event that says how far the file has been read. Guarantee: whatever is
killed whenever, each position of a delivery is committed once. A job that starts fences the one before it,
waits until that one's transactions have ended, and goes on behind the last committed position.
"""

import logging
import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
from polars.exceptions import PanicException

from infra import telemetry
from infra.blobs import BlobStore
from infra.errors import DeliveryError, FaultError, HeadraceError, UndecodableError
from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import DELIVERIES, DELIVERY_TALLIES, SALES_ERROR
from schemas.codec import Codec
from schemas.registry import Registry
from stream_jobs.deliveries import Delivery, DeliveryLog
from stream_jobs.ingest.blocks import Limits
from stream_jobs.ingest.chunks import Chunk, chunks_of
from stream_jobs.ingest.contents import CONTENTS, Content, content_of
from stream_jobs.ingest.readers import read_blocks, stored
from stream_jobs.ingest.writing import EndTransactions

logger = logging.getLogger(__name__)

JOB = "ingest"
START_S_MAX = 900.0
IDLE_S = 0.2


def run_ingest(settings: Settings, store: BlobStore, contents: frozenset[str], stop: threading.Event) -> None:
    """Read the accepted deliveries of some contents until told to stop.

    Args:
        settings: Where the brokers and the registry are, and the bounds on files.
        store: Where the accepted files are stored.
        contents: The contents that this job serves, its lane. A second job that serves one of them fences the
            first.
        stop: Ends the job between two transactions.

    Raises:
        FencedError: Another ingest job serves one of the contents.
        UnavailableError: Brokers, registry or store do not answer; starting again goes on.
        FaultError: Contents, topics or settings are wrong.
    """
    unknown = sorted(contents - set(CONTENTS))
    if unknown or not contents:
        raise FaultError(
            f"contents: expected some of {', '.join(CONTENTS)}; found {', '.join(unknown) or 'none'}"
        )
    with ExitStack() as stack:
        registry = stack.enter_context(closing(Registry(settings)))
        # Whoever wrote with these names before is fenced here, before the log is read.
        writers = {
            name: stack.enter_context(closing(EndTransactions(settings, f"ingest-{name}", JOB)))
            for name in sorted(contents)
        }
        reader = stack.enter_context(
            closing(TopicReader(settings, [DELIVERIES], "-".join([JOB, *sorted(contents)])))
        )
        job = _Ingest(settings, store, Codecs(registry), writers, reader)
        job.start(stop)
        telemetry.ready.set(1)
        try:
            while not stop.is_set():
                job.step(stop)
        finally:
            telemetry.ready.set(0)


class Codecs:
    """The codecs of the topics that are written, each made when it is first used."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[str, Codec] = {}

    def __getitem__(self, topic: str) -> Codec:
        """The codec of a topic."""
        if topic not in self._made:
            self._made[topic] = Codec(topic, self._registry)
        return self._made[topic]


class _Ingest:
    """The state of one job: what it knows of the deliveries, and its writers by content."""

    def __init__(
        self, settings: Settings, store: BlobStore, codecs: Codecs, writers: Mapping[str, EndTransactions],
        reader: TopicReader,
    ) -> None:  # fmt: skip
        self._limits = Limits.of(settings.ingest)
        self._scratch = settings.home
        self._store = store
        self._codecs = codecs
        self._writers = writers
        self._reader = reader
        self._log = DeliveryLog()
        # Deliveries that were ended here and whose end the log has not been told yet.
        self._ended: set[int] = set()

    def start(self, stop: threading.Event) -> None:
        """Learn what was delivered, and how far it has been read."""
        for messages in self._reader.read_to_end(START_S_MAX):
            self._apply(messages)
            if stop.is_set():
                return

    def step(self, stop: threading.Event) -> None:
        """Read what is next, or wait a moment for a delivery."""
        delivery = self._next()
        if delivery is None:
            self._apply(self._reader.poll(timeout_s=IDLE_S))
            return
        self._read(delivery, stop)
        # An accepted location file of a lower id must not wait behind what came after it.
        while messages := self._reader.poll(timeout_s=0):
            self._apply(messages)

    def _apply(self, messages: list[Any]) -> None:
        for message in messages:
            try:
                event = self._codecs[DELIVERIES].decode_record(message.value())
            except UndecodableError as error:
                logger.warning(
                    "deliveries offset %d: passed over an event that cannot be decoded: %s; "
                    "look for a foreign writer to the topic",
                    message.offset(),
                    error,
                )
                continue
            self._log.apply(message.offset(), event)

    def _next(self) -> Delivery | None:
        still_open = self._log.open_deliveries()
        self._ended &= {delivery.delivery_id for delivery in still_open}
        for delivery in still_open:
            if delivery.content in self._writers and delivery.delivery_id not in self._ended:
                return delivery
        return None

    def _read(self, delivery: Delivery, stop: threading.Event) -> None:
        """Read a delivery to its end, or until told to stop."""
        content, name = (
            content_of(delivery.content),
            f"delivery {delivery.delivery_id} of {delivery.customer_id}",
        )
        writer = self._writers[content.name]
        progress = Progress(delivery.position, delivery.refused, delivery.ends)
        logger.info("%s: reading %s behind record %d", name, content.name, progress.position)
        with closing(_with_last(self._chunks(delivery, content))) as chunks:
            while not stop.is_set():
                try:
                    with telemetry.batch_seconds.labels(JOB).time():
                        chunk, last = next(chunks)
                except DeliveryError as error:
                    self._tell(writer, delivery, "rejected", progress, str(error))
                    logger.info("%s: rejected behind record %d: %s", name, progress.position, error)
                    return
                if chunk is not None:
                    progress = self._write(writer, content, delivery, chunk, progress)
                self._tell(writer, delivery, "closed" if last else "progress", progress)
                if last:
                    logger.info("%s: %d records read, %d refused", name, progress.position, progress.refused)
                    return

    def _chunks(self, delivery: Delivery, content: Content) -> Generator[Chunk, None, None]:
        """The chunks of a stored file; what a reader trips over is a DeliveryError."""
        with stored(self._store.open(delivery.blob)) as file:
            try:
                blocks = read_blocks(
                    file, content, delivery.format, delivery.compression, self._limits, self._scratch
                )
                yield from chunks_of(blocks, delivery, content, self._limits, datetime.now(UTC))
            except (HeadraceError, OSError, MemoryError):
                raise
            except (Exception, PanicException) as error:
                # One file that we fail to read must not keep all those behind it from being read.
                logger.exception(
                    "delivery %d: a reader failed; the stored file %s shows why",
                    delivery.delivery_id,
                    delivery.blob,
                )
                raise DeliveryError(
                    "the file could not be read because of a fault in Headrace itself, which was logged; "
                    f"ask its operator about delivery {delivery.delivery_id}"
                ) from error

    def _write(
        self, writer: EndTransactions, content: Content, delivery: Delivery, chunk: Chunk, before: "Progress"
    ) -> "Progress":
        """Write a chunk into the open transaction; tells how far the delivery has come with it."""
        records, refused = chunk.records, chunk.refused
        writer.spread(
            content.topic, keys_of(records, content.key), self._codecs[content.topic].encode(records)
        )
        if refused.height:
            keys = keys_of(refused, tuple(name for name in content.key if name in refused.columns))
            writer.spread(SALES_ERROR, keys, self._codecs[SALES_ERROR].encode(refused))
        tallies = chunk.tally.records(datetime.now(UTC))
        writer.spread(
            DELIVERY_TALLIES, pl.Series([str(delivery.delivery_id)] * len(tallies), dtype=pl.String),
            [self._codecs[DELIVERY_TALLIES].encode_record(tally) for tally in tallies],
        )  # fmt: skip
        telemetry.records_in.labels(JOB, content.topic).inc(records.height + refused.height)
        return Progress(
            chunk.last_position, before.refused + refused.height, {**before.ends, **writer.ends()}
        )

    def _tell(
        self,
        writer: EndTransactions,
        delivery: Delivery,
        kind: str,
        progress: "Progress",
        reason: str | None = None,
    ) -> None:
        """Write how far the delivery has come, and commit that with what was written before."""
        key = f"{delivery.customer_id}/{delivery.digest}"
        event = self._codecs[DELIVERIES].encode_record(
            event_of(delivery, kind, progress, datetime.now(UTC), reason)
        )
        writer.spread(DELIVERIES, pl.Series([key]), [event])
        writer.ends()
        writer.commit()
        if kind != "progress":
            self._ended.add(delivery.delivery_id)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a delivery has been written.

    Attributes:
        position: Records written.
        refused: Records of master data among them that were refused.
        ends: Per (topic, partition) the last offset written.
    """

    position: int
    refused: int
    ends: Mapping[tuple[str, int], int]


def event_of(
    delivery: Delivery, kind: str, progress: Progress, at: datetime, reason: str | None = None
) -> dict[str, Any]:
    """The DeliveryEvent of an accepted delivery's further life."""
    described = dict.fromkeys(("content", "format", "compression", "name", "size_bytes", "blob"))
    return {
        "kind": kind, "customer_id": delivery.customer_id, "digest": delivery.digest, "at": at,
        "delivery_id": delivery.delivery_id, **described,
        "position": progress.position, "refused": progress.refused,
        "ends": [
            {"topic": topic, "partition": partition, "offset": offset}
            for (topic, partition), offset in sorted(progress.ends.items())
        ],
        "reason": reason,
    }  # fmt: skip


def keys_of(records: pl.DataFrame, fields: tuple[str, ...]) -> pl.Series:
    """Message keys: the customer and some fields, joined by slashes; a missing field is empty."""
    parts = [pl.col(name).cast(pl.String).fill_null("") for name in ("customer_id", *fields)]
    return records.select(key=pl.concat_str(parts, separator="/"))["key"]


def _with_last(chunks: Generator[Chunk, None, None]) -> Generator[tuple[Chunk | None, bool], None, None]:
    """Each chunk with whether it is the last; one empty last one if there is none."""
    with closing(chunks):
        held = next(chunks, None)
        while held is not None:
            following = next(chunks, None)
            yield held, following is None
            held = following
            if held is None:
                return
        yield None, True
