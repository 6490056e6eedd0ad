"""What the stream says of deliveries and master data, kept in memory for people to ask.

Follows `deliveries`, `delivery-reports`, `locations` and `products` from their beginning. Every question is
answered from memory and may be asked from any thread; one thread at a time may `follow` or `read_to_end`.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from confluent_kafka import Message

from infra.errors import UnavailableError
from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import DELIVERIES, DELIVERY_REPORTS, LOCATIONS, PRODUCTS
from schemas.codec import Codec
from schemas.registry import Registry
from serving.ports import Delivery, MasterTable, PartHealth, State
from stream_jobs.deliveries import DeliveryLog

logger = logging.getLogger(__name__)

RETRY_S = 5.0
MASTER_IDS = {LOCATIONS: "location_id", PRODUCTS: "product_id"}


class StreamView:
    """Deliveries, their reports, locations and products, as the stream tells them.

    Args:
        settings: Where broker and registry are.

    Raises:
        MissingPartError: The broker does not answer, or has no such topics.
    """

    def __init__(self, settings: Settings) -> None:
        registry = Registry(settings)
        self._codecs = {
            topic: Codec(topic, registry) for topic in (DELIVERIES, DELIVERY_REPORTS, LOCATIONS, PRODUCTS)
        }
        self._reader = TopicReader(settings, list(self._codecs), "view")
        self._lock = threading.Lock()
        self._log = DeliveryLog()
        self._reports: dict[int, Delivery] = {}
        self._masters: dict[tuple[str, str], list[pl.DataFrame]] = defaultdict(list)
        self._offsets: dict[tuple[str, int], int] = {}
        self._trouble = "has not read the stream to its end yet"

    def read_to_end(self) -> None:
        """Take in everything that is there now.

        Raises:
            UnavailableError: The end was not reached in time.
        """
        for batch in self._reader.read_to_end():
            self._apply(batch)
        self._trouble = ""

    def follow(self, stop: threading.Event) -> None:
        """Take in what comes until told to stop; trouble is logged, shown in `parts`, and tried again."""
        while not stop.is_set():
            try:
                if self._trouble:
                    self.read_to_end()
                self._apply(self._reader.poll(timeout_s=0.2))
            except UnavailableError as error:
                self._trouble = str(error)
                logger.warning("%s; trying again in %g s", error, RETRY_S)
                stop.wait(RETRY_S)

    def close(self) -> None:
        """Leave the broker."""
        self._reader.close()

    def customers(self) -> Sequence[str]:
        """Ids of the customers that have delivered anything, sorted."""
        with self._lock:
            return sorted({delivery.customer_id for delivery in self._log.deliveries.values()})

    def get(self, delivery_id: int) -> Delivery | None:
        """One delivery; None if there is none of that id."""
        with self._lock:
            return self._delivery(delivery_id) if delivery_id in self._log.deliveries else None

    def page(
        self, customer_id: str | None, state: State | None, before: int | None, limit: int
    ) -> Sequence[Delivery]:
        """The newest deliveries, newest first, of one customer or of all."""
        found: list[Delivery] = []
        with self._lock:
            for delivery_id in reversed(tuple(self._log.deliveries)):
                if len(found) == limit:
                    break
                if before is not None and delivery_id >= before:
                    continue
                delivery = self._delivery(delivery_id)
                if customer_id in {None, delivery.customer_id} and state in {None, delivery.state}:
                    found.append(delivery)
        return found

    def locations(self, customer_id: str) -> MasterTable:
        """The customer's locations."""
        return self._master(LOCATIONS, customer_id)

    def products(self, customer_id: str) -> MasterTable:
        """The customer's products."""
        return self._master(PRODUCTS, customer_id)

    def parts(self) -> Sequence[PartHealth]:
        """Whether the stream is being followed."""
        return [PartHealth("stream", not self._trouble, self._trouble or "followed to its end")]

    def _delivery(self, delivery_id: int) -> Delivery:
        report = self._reports.get(delivery_id)
        if report is not None:
            return report
        # The report job has not spoken of it yet; what is certain is that it was accepted.
        seen = self._log.deliveries[delivery_id]
        return Delivery(
            delivery_id=delivery_id, customer_id=seen.customer_id, content=seen.content, format=seen.format,
            name=seen.name, size_bytes=seen.size_bytes, state="accepted", records=0, valid=0, invalid=0,
            accepted_at=seen.accepted_at, updated_at=seen.accepted_at, reason="waits for the report job",
        )  # fmt: skip

    def _master(self, topic: str, customer_id: str) -> MasterTable:
        with self._lock:
            frames = self._masters.get((topic, customer_id), [])
            rows = self._codecs[topic].empty if not frames else _newest(pl.concat(frames), MASTER_IDS[topic])
            # What was merged once need not be merged again.
            frames[:] = [rows]
            offsets = {number: offset for (name, number), offset in self._offsets.items() if name == topic}
        return MasterTable(rows, offsets)

    def _apply(self, messages: Sequence[Message]) -> None:
        by_topic: dict[str, list[Message]] = defaultdict(list)
        for message in messages:
            by_topic[str(message.topic())].append(message)
        frames = {topic: self._codecs[topic].decode([m.value() for m in by_topic[topic]]).frame
                  for topic in MASTER_IDS if topic in by_topic}  # fmt: skip
        with self._lock:
            for message in by_topic[DELIVERIES]:
                self._log.apply(message.offset() or 0, self._record(message))
            for message in by_topic[DELIVERY_REPORTS]:
                report = self._record(message)
                self._reports[report["delivery_id"]] = Delivery(**report)
            for topic, frame in frames.items():
                for (customer,), rows in frame.group_by(["customer_id"]):
                    self._masters[topic, str(customer)].append(rows)
            self._offsets.update(self._reader.positions)

    def _record(self, message: Message) -> Mapping[str, Any]:
        return self._codecs[str(message.topic())].decode_record(message.value() or b"")


def _newest(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """The newest version of each record, sorted by its id."""
    return rows.sort("delivery_id", "position").unique(key, keep="last").sort(key)
