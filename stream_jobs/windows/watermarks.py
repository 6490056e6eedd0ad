"""How far the time of the sales has come, location by location.

Pure. A location's watermark is the latest moment at which something was sold there in the deliveries before the
present one. So a delivery is never late to itself, in whatever order its sales stand, and a location that delivers its
past for the first time is late to nobody: others' watermarks are others'. Guarantee: the marks follow from the
order of the messages in their partition alone, never from how they were batched.

A turn ends where a later delivery begins, or after `TURN_SALES_MAX` sales, which bounds what must be kept open.
Marks move at the beginning of a turn, and only when they pass a tick, since no window closes between two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from stream_jobs.windows.kinds import MONDAY_US

Location = tuple[str, str]
"""Customer and location."""

TURN_SALES_MAX = 1_000_000
"""Sales of a partition after which marks move inside a delivery."""

NEVER_US = -(2**62)
"""The watermark of a location of which no delivery was seen to its end."""

MARK_SCHEMA = pl.Schema(
    {
        "customer_id": pl.String(),
        "location_id": pl.String(),
        "seen": pl.Int64(),
        "raw": pl.Int64(),
        "mark": pl.Int64(),
        "time_zone": pl.String(),
    }
)
TURN_SCHEMA = pl.Schema({"delivery_id": pl.Int64(), "sales": pl.Int64()})


@dataclass(slots=True)
class Mark:
    """What is known of one location's time; microseconds on its clock.

    Attributes:
        seen: The latest sale so far.
        time_zone: The location's time zone.
        raw: The latest sale when the mark last moved.
        mark: The watermark: `raw` rounded down to the tick.
    """

    seen: int
    time_zone: str
    raw: int = NEVER_US
    mark: int = NEVER_US


@dataclass(frozen=True, slots=True)
class Step:
    """Where marks move.

    Attributes:
        row: They move before this row.
        moves: The new `raw` of each location that moves.
    """

    row: int
    moves: Mapping[Location, int]


class Watermarks:
    """The marks of one partition's locations.

    Args:
        tick_us: The step in which marks move, microseconds.
        turn_sales_max: Sales after which a turn ends inside a delivery.
    """

    def __init__(self, tick_us: int, turn_sales_max: int = TURN_SALES_MAX) -> None:
        self._tick_us = tick_us
        self._turn_sales_max = turn_sales_max
        self._marks: dict[Location, Mark] = {}
        self._seen_in_turn: set[Location] = set()
        self._delivery_id = -1
        self._sales = 0

    def plan(self, rows: pl.DataFrame) -> list[Step]:
        """Take in sales; say where marks move, which `move` then does.

        Args:
            rows: `customer_id`, `location_id`, `delivery_id`, `at`, `voided` and `time_zone`, in the partition's order.
        """
        begins = self._turns(rows["delivery_id"].to_numpy())
        turn = np.searchsorted(np.array(begins, dtype=np.int64), np.arange(rows.height), side="right")
        latest = (
            rows.with_columns(turn=pl.Series(turn))
            .group_by("turn", "customer_id", "location_id", maintain_order=True)
            .agg(pl.col("at").filter(~pl.col("voided")).max(), pl.col("time_zone").last())
        )
        by_turn: dict[int, list[tuple[Location, int | None, str]]] = {}
        for number, customer, location, at, zone in latest.iter_rows():
            by_turn.setdefault(number, []).append(((customer, location), at, zone))
        steps = []
        self._see(by_turn.get(0, ()))
        for number, row in enumerate(begins, start=1):
            moves = self._moves()
            if moves:
                steps.append(Step(row, moves))
            self._see(by_turn[number])
        return steps

    def _turns(self, deliveries: "np.typing.NDArray[np.int64]") -> list[int]:
        """The rows at which a turn begins."""
        highest = np.maximum.accumulate(np.concatenate(([self._delivery_id], deliveries)))
        later = (np.diff(highest) > 0).nonzero()[0].tolist()
        begins, begin = [], -self._sales
        for row in [*later, len(deliveries)]:
            while row - begin > self._turn_sales_max:
                begin += self._turn_sales_max
                begins.append(begin)
            if row < len(deliveries):
                begin = row
                begins.append(row)
        self._delivery_id, self._sales = int(highest[-1]), len(deliveries) - begin
        return begins

    def _see(self, found: Sequence[tuple[Location, int | None, str]]) -> None:
        for location, at, zone in found:
            known = self._marks.get(location)
            if known is None:
                known = self._marks[location] = Mark(NEVER_US, zone)
            known.time_zone = zone
            if at is not None and at > known.seen:
                known.seen = at
                self._seen_in_turn.add(location)

    def _moves(self) -> dict[Location, int]:
        """The locations whose mark passes a tick as a turn ends."""
        moves = {}
        for location in self._seen_in_turn:
            known = self._marks[location]
            if self._ticked(known.seen) > known.mark:
                moves[location] = known.seen
        self._seen_in_turn.clear()
        return moves

    def _ticked(self, at: int) -> int:
        return (at - MONDAY_US) // self._tick_us * self._tick_us + MONDAY_US

    def move(self, step: Step) -> None:
        """Move the marks of a step that `plan` found."""
        for location, raw in step.moves.items():
            known = self._marks[location]
            known.raw, known.mark = raw, self._ticked(raw)

    def frame(self, locations: Sequence[Location] | None = None) -> pl.DataFrame:
        """The marks as columns of `MARK_SCHEMA`, of some locations or of all."""
        wanted = self._marks if locations is None else locations
        rows = [
            [*location, known.seen, known.raw, known.mark, known.time_zone]
            for location in wanted
            if (known := self._marks[location])
        ]
        return pl.DataFrame(rows, schema=MARK_SCHEMA, orient="row")

    def turn_frame(self) -> pl.DataFrame:
        """Where in its turn the partition is: one row of `TURN_SCHEMA`."""
        return pl.DataFrame([[self._delivery_id, self._sales]], schema=TURN_SCHEMA, orient="row")

    def restore(self, marks: pl.DataFrame, turn: pl.DataFrame) -> None:
        """Go on from what `frame` and `turn_frame` gave."""
        for customer, location, seen, raw, mark, zone in marks.iter_rows():
            self._marks[customer, location] = Mark(seen, zone, raw, mark)
        self._seen_in_turn = set(self._marks)
        self._delivery_id, self._sales = turn.row(0)
