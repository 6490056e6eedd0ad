"""An installation that tests deliver to without the ingest job: topics are written as ingest writes them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from confluent_kafka import KafkaError, Message

from infra.blobs import BlobStore, open_store
from infra.kafka import producer
from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import CATALOGUE
from schemas.codec import Codec
from schemas.registry import Registry
from tests.running import WAIT_S_MAX

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class World:
    """Writes and reads the topics of one installation for one customer."""

    def __init__(self, settings: Settings, customer: str) -> None:
        self.settings = settings
        self.customer = customer
        self.registry = Registry(settings)
        self.producer = producer(settings, linger_ms=1)
        self.codecs = {name: Codec(name, self.registry) for name in CATALOGUE}
        self.digests: dict[int, tuple[str, str, str]] = {}

    @property
    def store(self) -> BlobStore:
        return open_store(self.settings)

    def close(self) -> None:
        self.registry.close()

    def send(self, topic: str, partition: int, values: Sequence[bytes | None], keys: Sequence[str]) -> int:
        """Write messages and return the offset of the last."""
        offsets: list[int] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            offsets.append(message.offset() or 0)

        for value, key in zip(values, keys, strict=True):
            self.producer.produce(topic, value=value, key=key, partition=partition, on_delivery=delivered)
            self.producer.poll(0)
        assert self.producer.flush(30) == 0
        return max(offsets)

    def event(self, kind: str, customer: str, digest: str, **fields: Any) -> int:
        record = {
            "kind": kind,
            "customer_id": customer,
            "digest": digest,
            "at": NOON,
            "delivery_id": None,
            "content": None,
            "format": None,
            "compression": None,
            "name": None,
            "size_bytes": None,
            "blob": None,
            "position": 0,
            "refused": 0,
            "ends": [],
            "reason": None,
            **fields,
        }
        return self.send(
            "deliveries", 0, [self.codecs["deliveries"].encode_record(record)], [f"{customer}/{digest}"]
        )

    def accept(self, content: str, customer: str | None = None) -> int:
        """A delivery is accepted; returns its id."""
        customer = customer or self.customer
        digest = f"{len(self.digests):064x}"
        delivery_id = self.event(
            "accepted",
            customer,
            digest,
            content=content,
            format="csv",
            name=f"{content}.csv",
            size_bytes=100,
            blob=f"deliveries/{customer}/{digest}",
        )
        self.digests[delivery_id] = (customer, digest, content)
        return delivery_id

    def progress(self, delivery_id: int, position: int) -> None:
        customer, digest, _ = self.digests[delivery_id]
        self.event("progress", customer, digest, delivery_id=delivery_id, position=position)

    def close_delivery(self, delivery_id: int, position: int, ends: Mapping[tuple[str, int], int]) -> None:
        customer, digest, _ = self.digests[delivery_id]
        told = [{"topic": t, "partition": p, "offset": offset} for (t, p), offset in ends.items()]
        self.event("closed", customer, digest, delivery_id=delivery_id, position=position, ends=told)

    def reject(self, delivery_id: int, reason: str) -> None:
        customer, digest, _ = self.digests[delivery_id]
        self.event("rejected", customer, digest, delivery_id=delivery_id, reason=reason)

    def masters(self, delivery_id: int, ids: Sequence[str], **attributes: Any) -> dict[tuple[str, int], int]:
        """Records of locations or products, not closed; returns their ends."""
        customer, _, content = self.digests[delivery_id]
        frame = master_frame(content, customer, delivery_id, ids, **attributes)
        keys = [f"{customer}/{name}" for name in ids]
        return {(content, 0): self.send(content, 0, self.codecs[content].encode(frame), keys)}

    def deliver_masters(
        self, content: str, ids: Sequence[str], customer: str | None = None, **attributes: Any
    ) -> int:
        """A whole delivery of locations or products; returns its id."""
        delivery_id = self.accept(content, customer)
        self.close_delivery(delivery_id, len(ids), self.masters(delivery_id, ids, **attributes))
        return delivery_id

    def sales(self, delivery_id: int, partition: int, frame: pl.DataFrame) -> int:
        """Sales of a delivery into one partition; returns the last offset."""
        values = self.codecs["sales-input"].encode(frame)
        keys = [
            f"{customer}/{location or ''}"
            for customer, location in frame.select("customer_id", "location_id").rows()
        ]
        return self.send("sales-input", partition, values, keys)

    def deliver_sales(
        self, count: int, customer: str | None = None, partitions: Sequence[int] = (0, 1), **columns: Any
    ) -> int:
        """A whole delivery of sales of location L1 and product P1, `count` a partition; returns its id."""
        delivery_id = self.accept("sales", customer)
        ends = {}
        for number, partition in enumerate(partitions):
            frame = sales_frame(
                customer or self.customer, delivery_id, count, first=1 + number * count, **columns
            )
            ends["sales-input", partition] = self.sales(delivery_id, partition, frame)
        self.close_delivery(delivery_id, count * len(partitions), ends)
        return delivery_id

    def messages(self, topic: str) -> list[Message]:
        """All committed messages of a topic whose key is this customer's."""
        return [m for m in self._all(topic) if (m.key() or b"").startswith(f"{self.customer}/".encode())]

    def _all(self, topic: str) -> list[Message]:
        reader = TopicReader(self.settings, [topic], "test")
        try:
            return [message for batch in reader.read_to_end(WAIT_S_MAX) for message in batch]
        finally:
            reader.close()

    def records(self, topic: str) -> list[dict[str, Any]]:
        """All committed records of a topic that are this customer's."""
        found = [self.codecs[topic].decode_record(message.value()) for message in self._all(topic)]
        return [record for record in found if record["customer_id"] == self.customer]

    def with_stream(self, **changes: Any) -> Settings:
        """The settings with other ones of `stream`."""
        return self.settings.model_copy(update={"stream": self.settings.stream.model_copy(update=changes)})

    def judged(self) -> tuple[int, int]:
        """Records tallied so far: valid, invalid."""
        tallies = self.records("delivery-tallies")
        return sum(t["valid"] for t in tallies), sum(t["invalid"] for t in tallies)

    def report(self, delivery_id: int) -> dict[str, Any]:
        """The newest report of a delivery; empty when there is none."""
        found: dict[str, Any] = {}
        for record in self.records("delivery-reports"):
            if record["delivery_id"] == delivery_id:
                found = record
        return found


def master_frame(
    content: str, customer: str, delivery_id: int, ids: Sequence[str], **attributes: Any
) -> pl.DataFrame:
    """Records of locations or products."""
    base = pl.DataFrame(
        {
            "customer_id": customer,
            "delivery_id": delivery_id,
            "position": list(range(1, len(ids) + 1)),
            f"{content[:-1]}_id": list(ids),
            **attributes,
        },
        schema_overrides={"delivery_id": pl.Int64, "position": pl.Int64},
    )
    return base.with_columns(pl.lit(NOON).cast(pl.Datetime("us", "UTC")).alias("received_at"))


def sales_frame(customer: str, delivery_id: int, count: int, first: int = 1, **columns: Any) -> pl.DataFrame:
    """Good sales, one a minute; `columns` replace some."""
    numbers = list(range(first, first + count))
    return pl.DataFrame(
        {
            "customer_id": customer,
            "delivery_id": delivery_id,
            "position": numbers,
            "received_at": NOON,
            "sale_id": [f"{delivery_id}-{number}" for number in numbers],
            "location_id": "L1",
            "product_id": "P1",
            "sold_at": [NOON - timedelta(minutes=number % 600) for number in numbers],
            "quantity": 2.0,
            "unit_price": 1.5,
            "voided": False,
            "repeated": False,
            "defect": None,
            "original": None,
            **columns,
        },
        schema_overrides={
            "delivery_id": pl.Int64,
            "position": pl.Int64,
            "received_at": pl.Datetime("us", "UTC"),
            "sale_id": pl.String,
            "location_id": pl.String,
            "product_id": pl.String,
            "sold_at": pl.Datetime("us", "UTC"),
            "quantity": pl.Float64,
            "unit_price": pl.Float64,
            "defect": pl.String,
            "original": pl.String,
        },
    )
