"""What the stream says of deliveries and master data, kept in memory for people to ask.

Follows `deliveries`, `delivery-reports`, `locations` and `products`. Every question is answered from memory
and may be asked from any thread; one thread at a time may `follow` or `read_to_end`.
"""

import logging
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import polars as pl
from confluent_kafka import Message

from infra.blobs import BlobStore
from infra.errors import UnavailableError
from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import DELIVERY_REPORTS, LOCATIONS, PRODUCTS
from schemas.codec import Codec
from schemas.registry import Registry
from serving.ports import Delivery, Finish, MasterTable, PartHealth, State
from stream_jobs.master_reader import MasterReader

logger = logging.getLogger(__name__)

RETRY_S = 5.0
FOLLOW_S = 0.2


class StreamView:
    """Deliveries, their reports, locations and products, as the stream tells them.

    Args:
        settings: Where broker and registry are.
        store: Where snapshots lie.

    Raises:
        MissingPartError: The broker does not answer, or has no such topics.
    """

    def __init__(self, settings: Settings, store: BlobStore) -> None:
        registry = Registry(settings)
        self._masters = MasterReader(settings, registry, store, "view")
        self._codec = Codec(DELIVERY_REPORTS, registry)
        self._reader = TopicReader(settings, [DELIVERY_REPORTS], "view")
        self._lock = threading.Lock()
        self._reports: dict[int, Delivery] = {}
        self._finishes: dict[str, list[Finish]] = {}
        self._shown: dict[tuple[str, str], tuple[int, pl.DataFrame]] = {}
        self._trouble = "has not read the stream to its end yet"

    def read_to_end(self) -> None:
        """Take in everything that is there now.

        Raises:
            UnavailableError: The end was not reached in time.
        """
        with self._lock:
            self._masters.catch_up()
            for batch in self._reader.read_to_end():
                self._apply(batch)
        self._trouble = ""

    def follow(self, stop: threading.Event) -> None:
        """Take in what comes until told to stop; trouble is logged, shown in `parts`, and tried again."""
        while not stop.is_set():
            try:
                if self._trouble:
                    self.read_to_end()
                messages = self._reader.poll(timeout_s=FOLLOW_S)
                with self._lock:
                    self._apply(messages)
                    self._masters.follow()
            except UnavailableError as error:
                self._trouble = str(error)
                logger.warning("%s; trying again in %g s", error, RETRY_S)
                stop.wait(RETRY_S)

    def close(self) -> None:
        """Leave the broker."""
        self._masters.close()
        self._reader.close()

    def customers(self) -> Sequence[str]:
        """Ids of the customers that have delivered anything, sorted."""
        with self._lock:
            return sorted({delivery.customer_id for delivery in self._masters.log.deliveries.values()})

    def get(self, delivery_id: int) -> Delivery | None:
        """One delivery; None if there is none of that id."""
        with self._lock:
            return self._delivery(delivery_id) if delivery_id in self._masters.log.deliveries else None

    def page(
        self, customer_id: str | None, state: State | None, before: int | None, limit: int
    ) -> Sequence[Delivery]:
        """The newest deliveries, newest first, of one customer or of all."""
        found: list[Delivery] = []
        with self._lock:
            for delivery_id in reversed(tuple(self._masters.log.deliveries)):
                if len(found) == limit:
                    break
                if before is not None and delivery_id >= before:
                    continue
                delivery = self._delivery(delivery_id)
                if customer_id in {None, delivery.customer_id} and state in {None, delivery.state}:
                    found.append(delivery)
        return found

    def last_finish(self, customer_id: str) -> Finish | None:
        """The last of a customer's deliveries that was done or rejected; None when none was."""
        with self._lock:
            found = self._finishes.get(customer_id)
            return found[-1] if found else None

    def finished(self, customer_id: str, after: Finish | None, limit: int) -> Sequence[Delivery]:
        """A customer's deliveries that were done or rejected, in that order, behind one of them."""
        with self._lock:
            found = self._finishes.get(customer_id, [])
            first = 0 if after is None else bisect_right(found, after)
            reports = [(finish, self._reports[finish[1]]) for finish in found[first : first + limit]]
        # A delivery whose refused sales were judged again was done once more; it is told as of then.
        return [report for finish, report in reports if report.done_at == finish[0]]

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
        seen = self._masters.log.deliveries[delivery_id]
        return Delivery(
            delivery_id=delivery_id, customer_id=seen.customer_id, content=seen.content, format=seen.format,
            name=seen.name, size_bytes=seen.size_bytes, state="accepted", records=0, valid=0, invalid=0,
            accepted_at=seen.accepted_at, updated_at=seen.accepted_at, reason="waits for the report job",
        )  # fmt: skip

    def _master(self, topic: str, customer_id: str) -> MasterTable:
        with self._lock:
            tables, positions = self._masters.tables, self._masters.positions
            table = tables.locations if topic == LOCATIONS else tables.products
            version, rows = self._shown.get((topic, customer_id), (-1, pl.DataFrame()))
            if version != len(table):
                rows = table.newest(customer_id).rename({"id": f"{topic.removesuffix('s')}_id"})
                self._shown[topic, customer_id] = len(table), rows
            offsets = {number: offset for (name, number), offset in positions.items() if name == topic}
        return MasterTable(rows, offsets)

    def _apply(self, messages: Sequence[Message]) -> None:
        for message in messages:
            report = Delivery(**self._codec.decode_record(message.value()))
            self._reports[report.delivery_id] = report
            if report.done_at is not None:
                finishes = self._finishes.setdefault(report.customer_id, [])
                finish = (report.done_at, report.delivery_id)
                place = bisect_left(finishes, finish)
                if finishes[place : place + 1] != [finish]:
                    finishes.insert(place, finish)
