"""How soon a sale is judged: from `sales-input` to `sales-validated`, read committed, and on to the lake.

Sales are written one by one at a steady rate, and read by the same process from where validate puts them; each
one's time is that between. The first second, in which clients find their partitions, does not count. Beside it
stands the broker's own round trip at the same rate: the same messages through a topic that no job touches.
Checked: each sale is in `sales-validated` once, in the order of its partition, and in the lake once.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from benchmarks.filled import CUSTOMER, Retailer, deliver_masters, deliver_sales
from benchmarks.own_stack import await_true, own_settings, running_kafka, running_parts
from infra.blobs import open_store
from infra.errors import FaultError
from infra.extents import extents
from infra.kafka import admin, consumer, producer
from infra.settings import Settings, load_settings
from infra.topic_reader import TopicReader
from lake.append import AppendTable
from schemas.catalogue import SALES_INPUT, SALES_VALIDATED
from schemas.codec import Codec
from schemas.registry import Registry
from stream_jobs.deliveries import DeliveryLog

Seconds = npt.NDArray[np.float64]

ECHO = "bench-echo"
JOBS = ("ingest-sales", "ingest-master", "report", "validate", "join")
ARRIVE_S_MAX = 120.0
TICK_S = 0.001


def main() -> None:
    """Measure, and print one JSON object last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=int, nargs="+", default=[100, 1_000, 10_000], help="Sales a second.")
    parser.add_argument("--seconds", type=float, default=10.0, help="How long each rate is kept.")
    parser.add_argument("--profile", default="latency", choices=["latency", "throughput"])
    parser.add_argument(
        "--on-kafka", action="store_true", help="Apache Kafka instead of the embedded broker."
    )
    arguments = parser.parse_args()
    os.environ["HEADRACE_PROFILE"] = arguments.profile
    # The profile's own, not that of other benchmarks.
    os.environ.setdefault("HEADRACE_STREAM__FLUSH_S_MAX", str(load_settings().stream.flush_s_max))
    with tempfile.TemporaryDirectory(prefix="headrace-latency-") as folder, ExitStack() as stack:
        if arguments.on_kafka:
            stack.enter_context(running_kafka(Path(folder)))
        settings = own_settings(Path(folder))
        supervisor = stack.enter_context(running_parts(settings, JOBS))
        deliver_masters(settings, Retailer())
        deliver_sales(settings, Retailer(refused=0.0), 1)
        for job in ("ingest-sales", "ingest-master", "report"):
            supervisor.stop_part(job)
        print(json.dumps(vars(arguments) | run(settings, arguments.rates, arguments.seconds)))


def run(settings: Settings, rates: Sequence[int], seconds: float) -> dict[str, object]:
    """Measure each rate; the percentiles of the whole are those of 1,000 sales a second."""
    client = admin(settings)
    client.create_topics([NewTopic(ECHO, settings.sales_partitions, 1)])[ECHO].result(30)
    sales = Sales(settings)
    _measure(settings, sales.batch(100), 100, 1.0, SALES_INPUT, SALES_VALIDATED)
    found: dict[str, dict[str, float]] = {}
    for rate in rates:
        count = int(rate * seconds)
        echo = _measure(settings, sales.batch(count), rate, seconds, ECHO, ECHO)
        values = sales.batch(count)
        lake = _LakeWatch(settings)
        judged = _measure(settings, values, rate, seconds, SALES_INPUT, SALES_VALIDATED)
        found[str(rate)] = {
            **_percentiles(judged.latency_s()[rate:], ""),
            **_percentiles(echo.latency_s()[rate:], "broker_"),
            **_percentiles((lake.arrived_s(sales.ids[-count:]) - judged.sent_s)[rate:], "lake_"),
        }
    main_rate = found.get("1000") or found[str(rates[0])]
    return {"p50_ms": main_rate["p50_ms"], "p99_ms": main_rate["p99_ms"], "by_rate": found}


class Sales:
    """Makes sales of one delivery that is accepted, all of them valid and each of an id of its own."""

    def __init__(self, settings: Settings) -> None:
        registry = Registry(settings)
        self._codec = Codec(SALES_INPUT, registry)
        self._delivery_id = _sales_delivery(settings, registry)
        self.ids: list[str] = []

    def batch(self, count: int) -> list[bytes]:
        """The values of so many further sales."""
        ids = [f"B{len(self.ids) + number}" for number in range(count)]
        self.ids += ids
        now = datetime.now(UTC).replace(microsecond=0)
        frame = pl.DataFrame(
            {
                "customer_id": CUSTOMER,
                "delivery_id": self._delivery_id,
                "position": range(len(self.ids) - count + 1, len(self.ids) + 1),
                "received_at": now,
                "sale_id": ids,
                "location_id": "L00001",
                "product_id": "P0000001",
                "sold_at": now - timedelta(days=1),
                "quantity": 2.0,
                "unit_price": 1.5,
                "voided": False,
                "repeated": False,
                "defect": None,
                "original": None,
            },
            schema_overrides={
                "received_at": pl.Datetime("us", "UTC"),
                "sold_at": pl.Datetime("us", "UTC"),
                "defect": pl.String,
                "original": pl.String,
            },
        )
        return self._codec.encode(frame)


def _sales_delivery(settings: Settings, registry: Registry) -> int:
    """The id of the delivery of sales that is there."""
    codec, log = Codec("deliveries", registry), DeliveryLog()
    reader = TopicReader(settings, ["deliveries"], "bench")
    try:
        for messages in reader.read_to_end():
            for message in messages:
                log.apply(message.offset() or 0, codec.decode_record(message.value()))
    finally:
        reader.close()
    return next(number for number, one in log.deliveries.items() if one.content == "sales")


@dataclass(frozen=True, slots=True)
class Passed:
    """When messages were sent and when they were read, on one clock.

    Attributes:
        sent_s: Shape `(n_messages,)`.
        read_s: Shape `(n_messages,)`.
    """

    sent_s: Seconds
    read_s: Seconds

    def latency_s(self) -> Seconds:
        """Seconds between, shape `(n_messages,)`."""
        return self.read_s - self.sent_s


def _measure(
    settings: Settings, values: Sequence[bytes], rate: int, seconds: float, source: str, target: str
) -> Passed:
    """Send messages at a rate, and read them where they come out.

    Raises:
        FaultError: They did not come out once each, or not in the order of their partitions.
    """
    partitions = settings.sales_partitions
    reader = consumer(settings, "bench-reader", fetch_wait_max_ms=100)
    ends = extents(settings, [target])
    reader.assign([TopicPartition(*place, extent.end) for place, extent in ends.items()])
    read: list[tuple[float, int, bytes]] = []

    def follow() -> None:
        deadline = time.monotonic() + seconds + ARRIVE_S_MAX
        while len(read) < len(values) and time.monotonic() < deadline:
            first = reader.poll(0.1)
            taken = [] if first is None else [first, *reader.consume(10_000, 0)]
            now = time.monotonic()
            read.extend((now, m.partition() or 0, m.value() or b"") for m in taken if m.error() is None)

    thread = threading.Thread(target=follow)
    thread.start()
    writer = producer(settings, linger_ms=0)
    sent = np.empty(len(values))
    began = time.monotonic()
    for number, value in enumerate(values):
        due = began + number / rate
        while (now := time.monotonic()) < due:
            time.sleep(min(due - now, TICK_S))
        sent[number] = time.monotonic()
        writer.produce(source, value, f"{CUSTOMER}/L00001", number % partitions)
        if number % 100 == 0:
            writer.poll(0)
    writer.flush(30)
    thread.join()
    reader.close()
    return Passed(sent, _arrivals(values, read, partitions))


def _arrivals(values: Sequence[bytes], read: Sequence[tuple[float, int, bytes]], partitions: int) -> Seconds:
    numbers = {value: number for number, value in enumerate(values)}
    order = [numbers.get(value, -1) for _, _, value in read]
    if sorted(order) != list(range(len(values))):
        raise FaultError(
            f"expected {len(values)} messages once each, found {len(read)}, {len(set(order))} different ones"
        )
    for partition in range(partitions):
        own = [number for number, (_, place, _) in zip(order, read, strict=True) if place == partition]
        if own != sorted(own) or any(number % partitions != partition for number in own):
            raise FaultError(
                f"expected the messages of partition {partition} in the order in which they were sent"
            )
    found = np.empty(len(values))
    found[order] = [at for at, _, _ in read]
    return found


class _LakeWatch:
    """Sees files of `sales_joined` come, from when it is made."""

    def __init__(self, settings: Settings) -> None:
        self._table = AppendTable(open_store(settings), "sales_joined")
        self._seen: dict[str, float] = {file.path: 0.0 for file in self._table.files()}
        self._stop = threading.Event()
        self._arrived: dict[str, float] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            for file in self._table.files():
                if file.path not in self._seen:
                    self._seen[file.path] = at = time.monotonic()
                    rows = pl.read_parquet(self._table.store.read(file.path), columns=["sale_id"])
                    for sale_id in rows["sale_id"]:
                        if sale_id in self._arrived:
                            raise FaultError(f"expected sale {sale_id} in the lake once, found it twice")
                        self._arrived[sale_id] = at

    def arrived_s(self, ids: Sequence[str]) -> Seconds:
        """When each sale could be read in the lake; waits for them all."""
        await_true(lambda: all(one in self._arrived for one in ids), "the sales in the lake", ARRIVE_S_MAX)
        self._stop.set()
        self._thread.join()
        return np.array([self._arrived[one] for one in ids])


def _percentiles(seconds: Seconds, prefix: str) -> dict[str, float]:
    p50, p99 = np.percentile(seconds * 1000, [50, 99])
    return {f"{prefix}p50_ms": round(float(p50), 2), f"{prefix}p99_ms": round(float(p99), 2)}


if __name__ == "__main__":
    main()
