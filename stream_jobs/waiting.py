"""Holds back what must not be judged yet: one batch of a partition, while the partition is paused.

Guarantee: a partition's messages leave in their order; a partition that waits takes no further messages, so
what is held is bounded by one batch of each. Nothing spins: whether a wait is over is looked at once a turn.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from infra import telemetry
from schemas.codec import Codec
from stream_jobs.batches import Batch, Place, Rows
from stream_jobs.master_reader import MasterReader
from stream_jobs.ordering import Decision, Wait, decide, is_known
from stream_jobs.runtime import Stream

logger = logging.getLogger(__name__)

Pair = tuple[str, int]
"""A customer and a delivery."""

WARN_AFTER_S = 10.0
_READY_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Work:
    """A batch of sales, decoded.

    Attributes:
        batch: The messages.
        frame: Columns of those that could be decoded.
        rows: Place in the batch of each row of the frame, rising.
        bad: Place in the batch of each other message, with the reason.
        without: By delivery what its sales are judged without, in words, because the wait was too long.
    """

    batch: Batch
    frame: pl.DataFrame
    rows: Rows
    bad: Mapping[int, str]
    without: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def decoded(cls, batch: Batch, codec: Codec) -> "Work":
        """Decode a batch."""
        decoded = codec.decode(batch.values)
        return cls(batch, decoded.frame, decoded.rows, decoded.bad)

    def part(self, keep: npt.NDArray[np.bool_]) -> "Work":
        """The work on some of the messages; `keep` is a mask over the batch."""
        place = np.cumsum(keep) - 1
        kept = keep[self.rows]
        return Work(
            self.batch.take(keep.nonzero()[0]),
            self.frame.filter(pl.Series(kept)),
            place[self.rows[kept]],
            {int(place[row]): reason for row, reason in self.bad.items() if keep[row]},
            self.without,
        )


class Gate:
    """Remembers, for the ordering rule, what is ready for good and since when the rest is waited for.

    Args:
        reader: What this process knows of deliveries and master data.
        wait_s_max: Longest wait for one delivery, seconds.
    """

    def __init__(self, reader: MasterReader, wait_s_max: float) -> None:
        self._reader = reader
        self._wait_s_max = wait_s_max
        self._ready: set[Pair] = set()
        self._since: dict[tuple[int, str | None], float] = {}

    def decide(self, pair: Pair, now_s: float) -> Decision:
        """Whether sales of this customer's delivery may be judged now."""
        if pair in self._ready:
            return Decision(ready=True)
        log, positions = self._reader.log, self._reader.positions
        decision = decide(log, positions, *pair, self._since, now_s, self._wait_s_max)
        for wait in decision.waits:
            self._since.setdefault(wait.key, now_s)
        if not decision.waits:
            if len(self._ready) >= _READY_KEPT:
                self._ready.clear()
            self._ready.add(pair)
        return decision

    def forget(self) -> None:
        """Drop the clocks of what nothing waits for any more."""
        for delivery_id, content in list(self._since):
            delivery = self._reader.log.deliveries.get(delivery_id)
            if content is None:
                over = self._reader.log.position > delivery_id
            else:
                over = delivery is None or is_known(delivery, self._reader.positions)
            if over:
                del self._since[delivery_id, content]


@dataclass(frozen=True, slots=True)
class _Held:
    work: Work
    first: Pair
    since_s: float
    warned: bool = False


class WaitingRoom:
    """Lets through what is ready and holds the rest.

    Args:
        gate: Says what is ready.
        stream: The loop whose partitions are paused.
        job: Name of the job in the metrics.
    """

    def __init__(self, gate: Gate, stream: Stream, job: str) -> None:
        self._gate = gate
        self._stream = stream
        self._job = job
        self._held: dict[Place, _Held] = {}

    def admit(self, work: Work, now_s: float) -> Work:
        """The part of a batch that may be judged now; the rest is held and its partitions are paused."""
        blocked, without = self._blocked(work.frame, now_s)
        work = replace(work, without=without) if without else work
        if not blocked:
            return work
        keep = np.ones(len(work.batch), dtype=np.bool_)
        waiting = np.zeros(work.frame.height, dtype=np.bool_)
        for customer_id, delivery_id in blocked:
            same = (pl.col("customer_id") == customer_id) & (pl.col("delivery_id") == delivery_id)
            waiting |= work.frame.select(same=same)["same"].to_numpy()
        waiting_rows = work.rows[waiting]
        firsts: dict[int, int] = {}
        for row in waiting_rows.tolist():
            firsts.setdefault(int(work.batch.partitions[row]), row)
        for partition, first in firsts.items():
            rest = work.batch.partitions == partition
            rest[:first] = False
            keep[rest] = False
            pair = work.frame.row(int(np.searchsorted(work.rows, first)), named=True)
            self._hold(
                (work.batch.topic, partition),
                work.part(rest),
                (pair["customer_id"], pair["delivery_id"]),
                now_s,
                blocked,
            )
        return work.part(keep)

    def _blocked(
        self, frame: pl.DataFrame, now_s: float
    ) -> tuple[dict[Pair, tuple[Wait, ...]], dict[int, str]]:
        """The pairs that must wait, and what others are judged without."""
        blocked: dict[Pair, tuple[Wait, ...]] = {}
        without: dict[int, str] = {}
        for pair in frame.select("customer_id", "delivery_id").unique().rows():
            decision = self._gate.decide(pair, now_s)
            if not decision.ready:
                blocked[pair] = decision.waits
            elif decision.waits:
                without[pair[1]] = "; ".join(wait.words for wait in decision.waits)
        return blocked, without

    def _hold(
        self, place: Place, work: Work, first: Pair, now_s: float, blocked: Mapping[Pair, Sequence[Wait]]
    ) -> None:
        before = self._held.get(place)
        if before is None:
            self._stream.pause([place])
            logger.info("%s [%d] waits for %s", *place, blocked[first][0].words)
        self._held[place] = _Held(work, first, now_s)
        telemetry.paused_partitions.labels(self._job).set(len(self._held))

    def released(self, now_s: float) -> Iterable[Work]:
        """What has become ready since; call once a turn. Partitions that hold nothing any more go on."""
        for place, held in list(self._held.items()):
            decision = self._gate.decide(held.first, now_s)
            if not decision.ready:
                self._warn(place, held, decision.waits[0], now_s)
                continue
            del self._held[place]
            work = self.admit(held.work, now_s)
            if place not in self._held:
                self._stream.resume([place])
            telemetry.paused_partitions.labels(self._job).set(len(self._held))
            yield work

    def _warn(self, place: Place, held: _Held, wait: Wait, now_s: float) -> None:
        if not held.warned and now_s - held.since_s >= WARN_AFTER_S:
            logger.warning(
                "%s [%d] has waited %.0f s for %s; look whether the ingest job of that content runs",
                *place,
                now_s - held.since_s,
                wait.words,
            )
            self._held[place] = replace(held, warned=True)

    def drop(self, places: Iterable[Place]) -> None:
        """Forget what is held of partitions that go; whoever gets them reads it again."""
        for place in places:
            self._held.pop(place, None)
        telemetry.paused_partitions.labels(self._job).set(len(self._held))
