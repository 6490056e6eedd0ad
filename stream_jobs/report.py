"""What became of each delivery, for the customer who made it.

Reads `deliveries` and `delivery-tallies` whole and keeps the newest report of each delivery in
`delivery-reports`. Guarantee: a report follows from those two topics alone, so it can be thrown away and made
again; a restart repeats nothing that stands there already, and of two report jobs the older one is fenced.
A restart goes on from the newest snapshot, see `stream_jobs.snapshots`.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
from confluent_kafka import Message

from infra import telemetry
from infra.blobs import BlobStore
from infra.errors import UndecodableError
from infra.extents import extents
from infra.settings import Settings
from infra.topic_reader import TopicReader
from schemas.catalogue import DELIVERIES, DELIVERY_REPORTS, DELIVERY_TALLIES
from schemas.codec import Codec
from schemas.registry import Registry
from stream_jobs.deliveries import DELIVERY_SCHEMA, Delivery, DeliveryLog, deliveries_frame
from stream_jobs.ordering import wait_for
from stream_jobs.snapshots import Snapshot, Snapshots, SnapshotTimer, starts
from stream_jobs.transactions import Transactions
from stream_jobs.verdicts import Count

logger = logging.getLogger(__name__)

JOB = "report"

_POLL_S = 0.2
_START_S_MAX = 900.0
_FINAL = frozenset({"done", "rejected"})


@dataclass(slots=True)
class Tallied:
    """What was judged of a delivery, over all transactions.

    Attributes:
        count: Records by verdict.
        last_at: When the newest of them were judged, UTC.
    """

    count: Count
    last_at: datetime


class Tallies(dict[int, Tallied]):
    """What was judged, by delivery."""

    def apply(self, tally: Mapping[str, Any]) -> None:
        """Add one DeliveryTally; each must be given once."""
        own = self.setdefault(tally["delivery_id"], Tallied(Count(), tally["at"]))
        own.count.add(Count(tally["valid"], tally["invalid"], Counter(tally["by_code"])))
        own.last_at = max(own.last_at, tally["at"])

    def frame(self) -> pl.DataFrame:
        """The tallies as columns of `TALLY_SCHEMA`."""
        rows = [
            [number, own.count.valid, own.count.invalid, _listed(own.count.by_code), own.last_at]
            for number, own in self.items()
        ]
        return pl.DataFrame(rows, schema=TALLY_SCHEMA, orient="row")

    @classmethod
    def restored(cls, frame: pl.DataFrame) -> "Tallies":
        """The tallies of which these columns were made."""
        tallies = cls()
        for number, valid, invalid, by_code, last_at in frame.iter_rows():
            counts = Counter({one["code"]: one["records"] for one in by_code})
            tallies[number] = Tallied(Count(valid, invalid, counts), last_at)
        return tallies


TALLY_SCHEMA = pl.Schema(
    {
        "delivery_id": pl.Int64(),
        "valid": pl.Int64(),
        "invalid": pl.Int64(),
        "by_code": pl.List(pl.Struct({"code": pl.String(), "records": pl.Int64()})),
        "last_at": pl.Datetime("us", "UTC"),
    }
)


def _listed(by_code: Mapping[str, int]) -> list[dict[str, str | int]]:
    return [{"code": code, "records": records} for code, records in by_code.items()]


@dataclass(frozen=True, slots=True)
class Report:
    """A DeliveryReport without the time of its last change; fields as in the record."""

    delivery_id: int
    customer_id: str
    content: str
    format: str
    name: str
    size_bytes: int
    state: str
    records: int
    valid: int
    invalid: int
    by_code: Mapping[str, int]
    reason: str | None
    accepted_at: datetime
    done_at: datetime | None

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Report":
        """The report that a decoded DeliveryReport holds."""
        return cls(**{name: record[name] for name in cls.__dataclass_fields__})

    def record(self, updated_at: datetime) -> dict[str, Any]:
        """The DeliveryReport that holds this report."""
        fields = {name: getattr(self, name) for name in type(self).__dataclass_fields__}
        return {**fields, "by_code": dict(self.by_code), "updated_at": updated_at}


def reports(log: DeliveryLog, tallies: Tallies, wanted: Iterable[int] | None = None) -> list[Report]:
    """The report of each delivery, in the order of their ids.

    Args:
        log: The deliveries.
        tallies: What was judged of them.
        wanted: Deliveries to be told of; None for all.
    """
    ids = log.deliveries if wanted is None else sorted(set(wanted) & log.deliveries.keys())
    before = _lanes(log)
    return [_report(log.deliveries[delivery_id], log, tallies, before) for delivery_id in ids]


def _lanes(log: DeliveryLog) -> dict[str, list[int]]:
    """The open deliveries by content, in the order in which they are read."""
    lanes: dict[str, list[int]] = {}
    for delivery in log.open_deliveries():
        lanes.setdefault(delivery.content, []).append(delivery.delivery_id)
    return lanes


def _report(delivery: Delivery, log: DeliveryLog, tallies: Tallies, lanes: Mapping[str, list[int]]) -> Report:
    tallied = tallies.get(delivery.delivery_id)
    count = Count() if tallied is None else tallied.count
    told = Report(
        delivery_id=delivery.delivery_id,
        customer_id=delivery.customer_id,
        content=delivery.content,
        format=delivery.format,
        name=delivery.name,
        size_bytes=delivery.size_bytes,
        state="accepted",
        records=delivery.position,
        valid=count.valid,
        invalid=count.invalid,
        # Sales that were judged again count against what was said before.
        by_code={code: records for code, records in sorted(count.by_code.items()) if records},
        reason=None,
        accepted_at=delivery.accepted_at,
        done_at=None,
    )
    if delivery.rejected is not None:
        return replace(told, state="rejected", reason=delivery.rejected, done_at=delivery.rejected_at)
    if delivery.closed_at is None and delivery.position == 0:
        ahead = lanes.get(delivery.content, []).index(delivery.delivery_id)
        return replace(told, reason=_queue_words(ahead))
    if delivery.closed_at is None:
        return replace(told, state="reading", reason=_wait(delivery, log))
    judged = count.valid + count.invalid
    if judged == delivery.position:
        done_at = delivery.closed_at if tallied is None else max(delivery.closed_at, tallied.last_at)
        return replace(told, state="done", done_at=done_at)
    return replace(
        told, state="judging", reason=_wait(delivery, log) or _judging_words(delivery.position, judged)
    )


def _wait(delivery: Delivery, log: DeliveryLog) -> str | None:
    """What the delivery's sales wait for, or None."""
    if delivery.content != "sales":
        return None
    for master in log.master_deliveries_before(delivery.customer_id, delivery.delivery_id):
        if master.open:
            return f"waits for {wait_for(master).words}"
    return None


def _queue_words(ahead: int) -> str:
    if ahead == 0:
        return "waits to be read"
    others = "delivery" if ahead == 1 else "deliveries"
    return f"waits to be read, after {ahead} other {others} of the same content"


def _judging_words(records: int, judged: int) -> str:
    if judged > records:
        return f"{judged} verdicts were found for {records} records; please report this fault"
    return f"{records - judged} of {records} records are still to be judged"


_SCHEMAS = {DELIVERIES: DELIVERY_SCHEMA, DELIVERY_TALLIES: TALLY_SCHEMA}
"""The topics read, and what of each is in a snapshot."""


def run_report(settings: Settings, store: BlobStore, stop: threading.Event) -> None:
    """Keep the reports up to date until `stop` is set.

    Args:
        settings: Where everything is.
        store: Where snapshots lie.
        stop: Set it to end in order.

    Raises:
        HeadraceError: What stops the job; start it again, or mend what the text says.
    """
    registry = Registry(settings)
    # From here on an older report job can write nothing more, so what is read next is its last word.
    transactions = Transactions(settings, JOB, JOB)
    reader: TopicReader | None = None
    try:
        reporter = Reporter(settings, registry, transactions)
        now = extents(settings, list(_SCHEMAS))
        snapshots = Snapshots(store, JOB)
        timer = SnapshotTimer(snapshots, settings.stream.snapshot_s)
        found = snapshots.newest(now, _SCHEMAS)
        if found is not None:
            reporter.restore(found)
            timer.restored(sum(found.positions.values()))
        reader = TopicReader(settings, list(_SCHEMAS), JOB, starts(found, now))
        topic_ids = {topic: extent.topic_id for (topic, _), extent in now.items()}
        for messages in reader.read_to_end(_START_S_MAX):
            reporter.apply(messages)
            if stop.is_set():
                return
        telemetry.ready.set(1)
        while not stop.is_set():
            reporter.publish(datetime.now(UTC))
            position = sum(reader.positions.values())
            if timer.due(position, time.monotonic()):
                timer.write(position, reporter.capture(reader.positions, topic_ids))
            reporter.apply(reader.poll(timeout_s=_POLL_S, gather_s=_POLL_S))
        reporter.publish(datetime.now(UTC))
        timer.close()
    finally:
        telemetry.ready.set(0)
        transactions.close()
        if reader is not None:
            reader.close()
        registry.close()


class Reporter:
    """Holds the deliveries, their tallies and the reports that stand written.

    Args:
        settings: Where the brokers are.
        registry: Where schemas have their ids.
        transactions: What reports are written with; begun before this is made.
    """

    def __init__(self, settings: Settings, registry: Registry, transactions: Transactions) -> None:
        self._log = DeliveryLog()
        self._tallies = Tallies()
        self._events = Codec(DELIVERIES, registry)
        self._counts = Codec(DELIVERY_TALLIES, registry)
        self._reports = Codec(DELIVERY_REPORTS, registry)
        self._transactions = transactions
        self._written = self._standing(settings)
        # What may have changed: the deliveries touched since, and all whose reason may follow from others.
        self._touched: set[int] = set()
        self._unfinished: set[int] = set()

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot; nothing was applied before."""
        self._log = DeliveryLog.restored(snapshot.frames[DELIVERIES], snapshot.positions[DELIVERIES, 0])
        self._tallies = Tallies.restored(snapshot.frames[DELIVERY_TALLIES])
        # What was written since, and whether, is seen by comparing with what stands written.
        self._touched.update(self._log.deliveries)

    def capture(
        self, positions: Mapping[tuple[str, int], int], topic_ids: Mapping[str, str]
    ) -> Callable[[], Snapshot]:
        """What makes a snapshot of what is known now, in any thread."""
        frames = {
            DELIVERIES: deliveries_frame(self._log.deliveries.values()),
            DELIVERY_TALLIES: self._tallies.frame(),
        }
        snapshot = Snapshot(dict(positions), frames, topic_ids)
        return lambda: snapshot

    def _standing(self, settings: Settings) -> dict[int, Report]:
        """The newest report of each delivery, as it stands in the topic."""
        found: dict[int, Report] = {}
        reader = TopicReader(settings, [DELIVERY_REPORTS], JOB)
        try:
            for messages in reader.read_to_end(_START_S_MAX):
                for message in messages:
                    record = _decoded(self._reports, message)
                    if record is not None:
                        found[record["delivery_id"]] = Report.of_record(record)
        finally:
            reader.close()
        return found

    def apply(self, messages: Iterable[Message]) -> None:
        """Take in events and tallies, in order."""
        for message in messages:
            offset = message.offset() or 0
            telemetry.records_in.labels(JOB, message.topic() or "").inc()
            if message.topic() == DELIVERIES:
                event = _decoded(self._events, message)
                if event is not None:
                    self._log.apply(offset, event)
                    self._touched.add(offset if event["delivery_id"] is None else event["delivery_id"])
            else:
                tally = _decoded(self._counts, message)
                if tally is not None:
                    self._tallies.apply(tally)
                    self._touched.add(tally["delivery_id"])

    def publish(self, now: datetime) -> int:
        """Write the reports that differ from what stands written; returns how many.

        Raises:
            FencedError: Another report job has taken over.
            UnavailableError: They were not written, or nobody knows.
        """
        if not self._touched:
            return 0
        changed = []
        for report in reports(self._log, self._tallies, self._touched | self._unfinished):
            if report.state in _FINAL:
                self._unfinished.discard(report.delivery_id)
            else:
                self._unfinished.add(report.delivery_id)
            if self._written.get(report.delivery_id) != report:
                changed.append(report)
        self._touched.clear()
        if changed:
            values = [self._reports.encode_record(report.record(now)) for report in changed]
            keys = [str(report.delivery_id) for report in changed]
            self._transactions.write(DELIVERY_REPORTS, 0, values, keys)
            self._transactions.commit()
            self._written.update({report.delivery_id: report for report in changed})
        return len(changed)


def _decoded(codec: Codec, message: Message) -> dict[str, Any] | None:
    """The record in a message; None when it cannot be read, which the log tells."""
    try:
        return codec.decode_record(message.value())
    except UndecodableError as error:
        logger.error(  # noqa: TRY400  The trace says nothing that the text does not.
            "%s [%s] offset %s: passed over a message that cannot be read: %s; look for a foreign writer",
            message.topic(),
            message.partition(),
            message.offset(),
            error,
        )
        return None
