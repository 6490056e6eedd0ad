"""What a worker must know before it may judge: the deliveries, and the locations and products of them all.

Guarantee: what is in the tables and in the log is what stood below `positions`, all of it, in order. It is
restored from the newest good snapshot and the topics from there on, see `stream_jobs.snapshots`; every process
that holds it may write the next snapshot.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

import polars as pl
from confluent_kafka import Message

from infra.blobs import BlobStore
from infra.errors import UndecodableError
from infra.extents import extents
from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import DELIVERIES, LOCATIONS, PRODUCTS
from schemas.codec import Codec
from schemas.registry import Registry
from stream_jobs.deliveries import DELIVERY_SCHEMA, DeliveryLog, deliveries_frame
from stream_jobs.master_tables import (
    LOCATION_COLUMNS,
    PRODUCT_COLUMNS,
    MasterTables,
    VersionedTable,
    state_schema,
)
from stream_jobs.snapshots import Place, Snapshot, Snapshots, SnapshotTimer, starts

logger = logging.getLogger(__name__)

STATE = "master"
"""Name of the snapshots."""

_TOPICS = (DELIVERIES, LOCATIONS, PRODUCTS)
_SCHEMAS = {
    DELIVERIES: DELIVERY_SCHEMA,
    LOCATIONS: state_schema(LOCATION_COLUMNS),
    PRODUCTS: state_schema(PRODUCT_COLUMNS),
}
_BAD_LOGGED_MAX = 5
_START_S_MAX = 900.0
_CATCH_UP_S_MAX = 90.0


class MasterReader:
    """Follows `deliveries`, `locations` and `products`.

    Args:
        settings: Where the brokers are, and how often a snapshot is written.
        registry: Where schemas have their ids.
        store: Where snapshots lie.
        name: Name of the job, for the brokers' logs.

    Raises:
        MissingPartError: No broker answers, or a topic does not exist.
        FaultError: Messages that no snapshot covers are gone from a topic.
    """

    def __init__(self, settings: Settings, registry: Registry, store: BlobStore, name: str) -> None:
        self._events = Codec(DELIVERIES, registry)
        self._locations = Codec(LOCATIONS, registry)
        self._products = Codec(PRODUCTS, registry)
        self._snapshots = Snapshots(store, STATE)
        self._timer = SnapshotTimer(self._snapshots, settings.stream.snapshot_s)
        began = time.monotonic()
        now = extents(settings, _TOPICS)
        found = self._snapshots.newest(now, _SCHEMAS)
        read_s = time.monotonic() - began
        self.log, self.tables = DeliveryLog(), MasterTables.empty()
        if found is not None:
            self.log, self.tables = _restored(found)
            self._timer.restored(sum(found.positions.values()))
            restored_s = time.monotonic() - began - read_s
            logger.info("snapshot read in %.2f s, tables made of it in %.2f s", read_s, restored_s)
        self._topic_ids = {topic: extent.topic_id for (topic, _), extent in now.items()}
        self._applied: dict[Place, int] = starts(found, now)
        self._reader = TopicReader(settings, _TOPICS, name, self._applied)

    @property
    def positions(self) -> Mapping[Place, int]:
        """Next offset of each (topic, partition) that is not yet in the tables and the log."""
        return self._applied

    def start(self, stop: threading.Event) -> None:
        """Read what is there, or until `stop` is set; may block for as long as the topics are large."""
        began, first = time.monotonic(), sum(self._applied.values())
        self._read_to_end(_START_S_MAX, stop)
        logger.info(
            "%d more messages read in %.2f s; knows %d deliveries, %d locations and %d products",
            sum(self._applied.values()) - first,
            time.monotonic() - began,
            len(self.log.deliveries),
            self.tables.locations.keys,
            self.tables.products.keys,
        )

    def catch_up(self) -> None:
        """Take in everything that was written before this call.

        Raises:
            UnavailableError: The ends were not reached in time.
        """
        self._read_to_end(_CATCH_UP_S_MAX, None)

    def _read_to_end(self, timeout_s: float, stop: threading.Event | None) -> None:
        for messages in self._reader.read_to_end(timeout_s):
            self._apply(messages)
            if stop is not None and stop.is_set():
                return
        self._applied = dict(self._reader.positions)

    def follow(self, timeout_s: float = 0.0) -> bool:
        """Take in what has come, waiting at most `timeout_s` for the first; returns whether anything has."""
        before = self._applied
        self._apply(self._reader.poll(timeout_s=timeout_s))
        position = sum(self._applied.values())
        if self._timer.due(position, time.monotonic()):
            self._timer.write(position, self.capture())
        return self._applied != before

    def capture(self) -> Callable[[], Snapshot]:
        """What makes a snapshot of what is known now, later and in any thread."""
        positions, deliveries = self._applied, list(self.log.deliveries.values())
        locations, products = self.tables.locations.capture(), self.tables.products.capture()

        def snapshot() -> Snapshot:
            frames = {
                DELIVERIES: deliveries_frame(deliveries),
                LOCATIONS: locations(),
                PRODUCTS: products(),
            }
            return Snapshot(positions, frames, self._topic_ids)

        return snapshot

    def close(self) -> None:
        """Leave the brokers; a snapshot that is being written is finished."""
        self._timer.close()
        self._reader.close()

    def _apply(self, messages: list[Message]) -> None:
        by_topic: dict[str, list[Message]] = defaultdict(list)
        for message in messages:
            by_topic[message.topic() or ""].append(message)
        for topic, some in by_topic.items():
            if topic == DELIVERIES:
                self._apply_events(some)
            else:
                self._apply_masters(topic, some)
        self._applied = dict(self._reader.positions)

    def _apply_events(self, messages: list[Message]) -> None:
        for message in messages:
            try:
                event = self._events.decode_record(message.value())
            except UndecodableError as error:
                _passed_over(message, str(error))
                continue
            self.log.apply(message.offset() or 0, event)

    def _apply_masters(self, topic: str, messages: list[Message]) -> None:
        codec = self._locations if topic == LOCATIONS else self._products
        decoded = codec.decode([message.value() for message in messages])
        for place, reason in list(decoded.bad.items())[:_BAD_LOGGED_MAX]:
            _passed_over(messages[place], reason)
        if len(decoded.bad) > _BAD_LOGGED_MAX:
            logger.error("%s: passed over %d more such messages", topic, len(decoded.bad) - _BAD_LOGGED_MAX)
        offsets = pl.Series([messages[row].offset() for row in decoded.rows.tolist()], dtype=pl.Int64)
        if topic == LOCATIONS:
            self.tables.add_locations(decoded.frame, offsets)
        else:
            self.tables.add_products(decoded.frame, offsets)


def _restored(snapshot: Snapshot) -> tuple[DeliveryLog, MasterTables]:
    log = DeliveryLog.restored(snapshot.frames[DELIVERIES], snapshot.positions[DELIVERIES, 0])
    tables = MasterTables(
        VersionedTable.restored(LOCATION_COLUMNS, snapshot.frames[LOCATIONS]),
        VersionedTable.restored(PRODUCT_COLUMNS, snapshot.frames[PRODUCTS]),
    )
    return log, tables


def _passed_over(message: Message, reason: str) -> None:
    logger.error(
        "%s [%s] offset %s: passed over a message that cannot be read: %s; look for a foreign writer",
        message.topic(),
        message.partition(),
        message.offset(),
        reason,
    )
