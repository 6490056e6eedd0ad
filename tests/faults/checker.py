"""What became of the sales, read from the topics and the raw files by other means than the jobs' own."""

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import fastavro
import pyarrow.dataset as ds
from confluent_kafka import Consumer, KafkaError, TopicPartition

from infra.settings import Settings
from tests.faults.traffic import File
from tests.faults.windows import expected_windows, missummed
from tests.s3 import S3Server

SCHEMAS = Path(__file__).parents[2] / "schemas" / "avro"
Sale = tuple[int, int]
"""A delivery and a position in it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found wrong; all zero when every sale has its verdict and its row once.

    Attributes:
        lost: Sales without a verdict, and valid ones without a row in the lake.
        duplicated: Verdicts and rows too many.
        misjudged: Sales with another verdict than they must have.
        misreported: Deliveries whose last report has other counts than they must have.
        missummed: Windows with other sums than they must have, and late sales that are not named once.
    """

    lost: int
    duplicated: int
    misjudged: int
    misreported: int
    missummed: int

    @property
    def nothing(self) -> bool:
        """Whether all is as it must be."""
        return not any(astuple(self))


def check(settings: Settings, s3: S3Server, delivered: Mapping[int, File]) -> Found:
    """Compare topics and lake with what was delivered, by delivery id."""
    expected: dict[Sale, str] = {
        (delivery_id, position): file.codes.get(position, "")
        for delivery_id, file in delivered.items()
        if file.content == "sales"
        for position in range(1, file.records + 1)
    }
    verdicts: Counter[Sale] = Counter()
    misjudged = 0
    for topic, schema in (("sales-validated", "sale"), ("sales-error", "sale_error")):
        for record in _records(settings, topic, schema):
            sale = (record["delivery_id"], record["position"])
            if sale in expected:
                verdicts[sale] += 1
                misjudged += ",".join(record.get("codes", ())) != expected[sale]
    rows = Counter(_rows(settings, s3))
    valid = {sale for sale, code in expected.items() if not code}
    lost = len(expected.keys() - verdicts.keys()) + len(valid - rows.keys())
    many = sum(verdicts.values()) - len(verdicts) + sum(rows.values()) - len(rows)
    return Found(
        lost,
        many,
        misjudged + len(rows.keys() - valid),
        _misreported(settings, delivered),
        _missummed(settings, delivered),
    )


def _missummed(settings: Settings, delivered: Mapping[int, File]) -> int:
    partitions: dict[str, int] = {}
    last: Counter[int] = Counter()
    for partition, _, sale in _messages(settings, "sales-validated", "sale"):
        if sale is not None and sale["delivery_id"] in delivered:
            partitions[sale["location_id"]] = partition
            last[partition] = max(last[partition], sale["delivery_id"])
    expected = expected_windows(
        delivered, {location: last[partition] for location, partition in partitions.items()}
    )
    told = ((key, window) for _, key, window in _messages(settings, "sales-windows", "sales_window"))
    return missummed(expected, told, _records(settings, "sales-late", "late_sale"))


def _misreported(settings: Settings, delivered: Mapping[int, File]) -> int:
    reports = {
        record["delivery_id"]: record
        for record in _records(settings, "delivery-reports", "delivery_report", partitions=1)
    }
    return sum(
        [
            reports.get(delivery_id, {}).get(name)
            for name in ("state", "records", "valid", "invalid", "by_code")
        ]
        != [
            "done",
            file.records,
            file.records - len(file.codes),
            len(file.codes),
            Counter(file.codes.values()),
        ]
        for delivery_id, file in delivered.items()
    )


def _records(settings: Settings, topic: str, schema: str, partitions: int = 0) -> Iterator[dict[str, Any]]:
    for _, _, record in _messages(settings, topic, schema, partitions):
        assert record is not None, f"{topic} has a tombstone"
        yield record


def _messages(
    settings: Settings, topic: str, schema: str, partitions: int = 0
) -> Iterator[tuple[int, str, dict[str, Any] | None]]:
    """Partition, key and record of each committed message."""
    parsed = fastavro.parse_schema(json.loads((SCHEMAS / f"{schema}.avsc").read_text()))
    consumer = Consumer(
        {
            "bootstrap.servers": settings.broker,
            "group.id": "checker",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    try:
        left = set(range(partitions or settings.sales_partitions))
        consumer.assign([TopicPartition(topic, number, 0) for number in left])
        while left:
            for message in consumer.consume(10_000, 1.0):
                error = message.error()
                if error is None:
                    key, value = (message.key() or b"").decode(), message.value()
                    if value is None:
                        yield message.partition() or 0, key, None
                        continue
                    found = fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed, None)
                    assert isinstance(found, dict)
                    yield message.partition() or 0, key, found
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition() or 0)
    finally:
        consumer.close()


def _rows(settings: Settings, s3: S3Server) -> Iterator[Sale]:
    path = settings.lake.removeprefix("s3://") + "/sales_joined"
    table = ds.dataset(path, filesystem=s3.files()).to_table(columns=["delivery_id", "position"])
    yield from zip(table["delivery_id"].to_pylist(), table["position"].to_pylist(), strict=True)
