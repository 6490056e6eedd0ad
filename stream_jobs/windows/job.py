"""The window job: valid sales become windowed sums, and late ones are named.

Reads `sales-validated`; writes the windows that changed to the same partition of `sales-windows`, a few seconds'
changes at once, and sales that came too late for a closed window to `sales-late`.

Guarantee: exactly once. What is written and the offsets it was made from are one Kafka transaction. The state of a
partition is a snapshot in the blob store and the tail of the partition from there to the group's committed
offset, which is taken in again without a word; so a partition may move to another worker at any moment, and a
restart reads what was read since the last snapshot and nothing before.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from infra import telemetry
from infra.blobs import BlobStore
from infra.extents import Extent, extents
from infra.settings import Settings
from schemas.catalogue import SALES_LATE, SALES_VALIDATED, SALES_WINDOWS
from schemas.codec import Codec
from schemas.registry import Registry
from stream_jobs.batches import Batch, Place
from stream_jobs.local_days import clock_times, moments_of
from stream_jobs.master_reader import MasterReader
from stream_jobs.master_tables import UNKNOWN, coded_keys, or_oldest
from stream_jobs.runtime import Stream
from stream_jobs.sink import check_passable
from stream_jobs.snapshots import Snapshot, Snapshots, SnapshotTimer, starts
from stream_jobs.transactions import Transactions
from stream_jobs.waiting import Gate, WaitingRoom, Work
from stream_jobs.windows.kinds import Windows
from stream_jobs.windows.lines import LINE_SCHEMA, MILLIONTHS, millionths
from stream_jobs.windows.state import STATE_SCHEMAS, Changes, WindowState

logger = logging.getLogger(__name__)

JOB = "window"

ROWS_MAX = 250_000
"""Sales after which changes are written, though the time has not come."""

_TEXT_TIME = "%Y-%m-%dT%H:%M:%S%.fZ"


def run_window(settings: Settings, store: BlobStore, stop: threading.Event) -> None:
    """Keep the windows until `stop` is set.

    Args:
        settings: Where everything is, and which windows are kept.
        store: Where snapshots lie.
        stop: Set it to write what has changed and end.

    Raises:
        HeadraceError: What stops the job; start it again, or mend what the text says.
    """
    windows = Windows.parsed(settings.stream.windows, settings.stream.window_grace)
    registry = Registry(settings)
    # The transactions of a predecessor of this name end before its offsets are asked for.
    transactions = Transactions(settings, f"{JOB}-{settings.stream.worker}", JOB)
    reader: MasterReader | None = None
    worker: WindowJob | None = None
    try:
        reader = MasterReader(settings, registry, store, JOB)
        reader.start(stop)
        stream = Stream(settings, [SALES_VALIDATED], JOB)
        worker = WindowJob(settings, stream, reader, transactions, Shelf(settings, store, windows), registry)
        stream.run(worker, stop)
    finally:
        transactions.close()
        if worker is not None:
            worker.close()
        if reader is not None:
            reader.close()
        registry.close()


@dataclass(slots=True)
class Kept:
    """A partition's state.

    Attributes:
        state: The windows.
        position: Next offset that is not in the state.
        told: Offset up to which the topics tell of it already.
        timer: Writes its snapshots.
    """

    state: WindowState
    position: int
    told: int
    timer: SnapshotTimer


class Shelf:
    """Where the states of partitions are stored; those of other windows lie elsewhere.

    Args:
        settings: How often a snapshot is written.
        store: The blob store.
        windows: The windows that are kept.
    """

    def __init__(self, settings: Settings, store: BlobStore, windows: Windows) -> None:
        self._settings = settings
        self._store = store
        self._windows = windows
        self._digest = hashlib.sha256(windows.text.encode()).hexdigest()[:8]
        self._topic_id = ""

    def restored(self, places: Sequence[Place], committed: Mapping[Place, int]) -> dict[Place, Kept]:
        """The states of partitions as of their newest snapshots.

        Raises:
            FaultError: Messages that no snapshot covers are gone from the topic.
        """
        now = extents(self._settings, [SALES_VALIDATED])
        self._topic_id = next(iter(now.values())).topic_id
        return {place: self._one(place, now[place], committed.get(place, 0)) for place in places}

    def _one(self, place: Place, extent: Extent, committed: int) -> Kept:
        began = time.monotonic()
        snapshots = Snapshots(self._store, f"windows-{self._digest}/p{place[1]:05d}")
        timer = SnapshotTimer(snapshots, self._settings.stream.snapshot_s)
        found = snapshots.newest({place: extent}, STATE_SCHEMAS, {place: committed})
        # Whoever never read the topic begins where it begins; nobody else may skip anything.
        is_new = found is None and not committed
        position = extent.first if is_new else starts(found, {place: extent})[place]
        if found is None:
            return Kept(WindowState(self._windows), position, committed, timer)
        state = WindowState.restored(self._windows, found.frames)
        timer.restored(position)
        took_s = time.monotonic() - began
        logger.info("%s [%d]: restored as of offset %d in %.2f s", *place, position, took_s)
        return Kept(state, position, committed, timer)

    def store(self, place: Place, kept: Kept) -> None:
        """Write a snapshot of a state that has told all its changes, when it is time."""
        if kept.timer.due(kept.position, time.monotonic()):
            snapshot = Snapshot(
                {place: kept.position}, kept.state.frames(), {SALES_VALIDATED: self._topic_id}
            )
            kept.timer.write(kept.position, lambda: snapshot)


class WindowJob:
    """Sums what the loop hands over; a `runtime.Handler`."""

    def __init__(
        self,
        settings: Settings,
        stream: Stream,
        reader: MasterReader,
        transactions: Transactions,
        shelf: Shelf,
        registry: Registry,
    ) -> None:
        self._stream = stream
        self._reader = reader
        self._transactions = transactions
        self._shelf = shelf
        self._sales = Codec(SALES_VALIDATED, registry)
        self._windows = Codec(SALES_WINDOWS, registry)
        self._late = Codec(SALES_LATE, registry)
        self._gate = Gate(reader, settings.stream.master_wait_s_max)
        self._waiting = WaitingRoom(self._gate, stream, JOB)
        self._update_s = settings.stream.window_update_s
        self._kept: dict[Place, Kept] = {}
        self._changed: set[Place] = set()
        self._rows = 0
        self._began_s = 0.0

    def assigned(self, places: Sequence[Place]) -> Mapping[Place, int]:
        """Restore the partitions' states, and read on from where they are."""
        self._kept.update(self._shelf.restored(places, self._stream.committed(places)))
        return {place: self._kept[place].position for place in places}

    def revoked(self, places: Sequence[Place]) -> None:
        """Tell what has changed before the partitions go."""
        self._waiting.drop(places)
        self._commit()
        self._forget(places)

    def lost(self, places: Sequence[Place]) -> None:
        """Drop what is in hand of partitions that somebody else works on now; nothing of it was written."""
        self._waiting.drop(places)
        self._changed.difference_update(places)
        self._forget(places)

    def _forget(self, places: Sequence[Place]) -> None:
        for place in places:
            if kept := self._kept.pop(place, None):
                kept.timer.close()

    def take(self, batch: Batch) -> None:
        """Sum what is ready of a batch, hold the rest."""
        work = Work.decoded(batch, self._sales)
        check_passable(batch, work.bad)
        self._count(self._waiting.admit(work, time.monotonic()))

    def turn(self, now_s: float) -> None:
        """Follow the master data, sum what has become ready, tell what has changed when it is time."""
        if self._reader.follow():
            self._gate.forget()
        for work in self._waiting.released(now_s):
            self._count(work)
        if self._rows >= ROWS_MAX or (self._changed and now_s - self._began_s >= self._update_s):
            self._commit()

    def finish(self) -> None:
        """Tell what has changed; what is held is read again by the next process."""
        self._commit()

    def close(self) -> None:
        """Finish the snapshots that are being written."""
        self._forget(list(self._kept))

    def _count(self, work: Work) -> None:
        if not len(work.batch):
            return
        rows = self._lines(work.frame).with_columns(
            partition=pl.Series(work.batch.partitions[work.rows]),
            offset=pl.Series(work.batch.offsets[work.rows]),
        )
        for place, position in work.batch.next_offsets().items():
            self._count_one(place, rows.filter(pl.col("partition") == place[1]), position)

    def _count_one(self, place: Place, rows: pl.DataFrame, position: int) -> None:
        kept = self._kept[place]
        if kept.position < kept.told:
            kept.state.take(rows.filter(pl.col("offset") < kept.told))
            rows = rows.filter(pl.col("offset") >= kept.told)
            kept.position = min(position, kept.told)
            if kept.position == kept.told:
                kept.state.drain()
        if position <= kept.told:
            return
        kept.state.take(rows)
        kept.position = kept.told = position
        if not self._changed:
            self._began_s = time.monotonic()
        self._changed.add(place)
        self._rows += rows.height

    def _lines(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Sales as the states take them."""
        zones = self._zones(frame)
        # A withdrawal need not say when the sale was; its own coming stands for it.
        moments = frame.select(at=pl.coalesce("sold_at", "received_at"))["at"]
        return frame.with_columns(
            zones,
            clock_times(moments, zones).alias("at"),
            millionths(pl.col("quantity")).alias("quantity"),
            millionths(pl.col("quantity") * pl.col("unit_price")).alias("revenue"),
        ).select(*(name for name in LINE_SCHEMA if name != "mark"), "time_zone")

    def _zones(self, frame: pl.DataFrame) -> pl.Series:
        """The time zone of each sale's location as of its delivery."""
        keys = coded_keys(frame, "location_id")
        locations = self._reader.tables.locations
        rows = locations.lookup(keys, frame["delivery_id"])
        if (rows == UNKNOWN).any():
            self._reader.catch_up()
            rows = locations.lookup(keys, frame["delivery_id"])
            rows = or_oldest(rows, rows == UNKNOWN, frame, "location_id", locations)
        return locations.gather(rows, ["time_zone"])["time_zone"]

    def _commit(self) -> None:
        if not self._changed:
            return
        changed, self._changed, self._rows = self._changed, set(), 0
        for place in changed:
            self._tell(place[1], self._kept[place].state.drain())
        offsets = {place: self._kept[place].position for place in changed}
        # Should the group have moved on, this is aborted, and the states are restored: they have told it already.
        self._transactions.commit(offsets, self._stream.consumer)
        for place in changed:
            self._shelf.store(place, self._kept[place])

    def _tell(self, partition: int, changes: Changes) -> None:
        gone = _published(changes.withdrawn)
        if gone.height:
            self._transactions.write(SALES_WINDOWS, partition, [None] * gone.height, _keys(gone))
        now = datetime.now(UTC)
        for frame, final in ((changes.updated, False), (changes.closed, True)):
            if frame.height:
                told = _published(frame).with_columns(_amounts(final=final, now=now))
                self._transactions.write(SALES_WINDOWS, partition, self._windows.encode(told), _keys(told))
        if changes.late.height:
            late = _published(changes.late).with_columns(late_s=pl.col("late_us") / 1_000_000)
            keys = late.select(pl.concat_str("customer_id", "location_id", separator="/"))
            self._transactions.write(
                SALES_LATE, partition, self._late.encode(late), keys.to_series().to_list()
            )
            for window, outcome, count in late.group_by("window", "outcome").len().rows():
                telemetry.late_sales.labels(window, outcome).inc(count)


def _published(windows: pl.DataFrame) -> pl.DataFrame:
    """Windows with the moments of their start and end."""
    zones = windows["time_zone"]
    return windows.with_columns(
        moments_of(windows["start"], zones).alias("starts_at"),
        moments_of(windows["end"], zones).alias("ends_at"),
    )


def _amounts(*, final: bool, now: datetime) -> list[pl.Expr]:
    return [
        _numbers(pl.col("quantity")),
        pl.when(pl.col("priced") > 0).then(_numbers(pl.col("revenue"))).alias("revenue"),
        pl.lit(final).alias("final"),
        pl.lit(now).cast(pl.Datetime("us", "UTC")).alias("updated_at"),
    ]


def _numbers(amounts: pl.Expr) -> pl.Expr:
    """Millionths as the nearest numbers; the quotient alone would be 1.0999999999999999 for 1.1."""
    return (amounts / MILLIONTHS).round(6)


def _keys(windows: pl.DataFrame) -> list[str]:
    begins = pl.col("starts_at").dt.strftime(_TEXT_TIME)
    parts = ["customer_id", "location_id", "product_id", "window", begins]
    return windows.select(key=pl.concat_str(parts, separator="/"))["key"].to_list()
