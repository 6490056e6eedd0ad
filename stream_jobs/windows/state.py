"""The windows of one partition: what is open, what changed, what became final, what came late.

Pure: sales in, changes out; no clock, no I/O. Guarantee: what a window is when it closes follows from the order
of the messages in the partition alone. However they are batched, and wherever a state is stored and restored in
between, the final sums and the late sales are the same, and each is told once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from stream_jobs.windows.kinds import Kind, Windows
from stream_jobs.windows.lateness import LATE_SCHEMA, late_sales
from stream_jobs.windows.lines import LINE_SCHEMA, SERIES, KnownLines
from stream_jobs.windows.sums import (
    SUM_SCHEMA,
    WINDOW,
    counted,
    negative,
    of_grid,
    sliding,
    summed,
)
from stream_jobs.windows.watermarks import (
    MARK_SCHEMA,
    TURN_SALES_MAX,
    TURN_SCHEMA,
    Location,
    Step,
    Watermarks,
)

STATE_SCHEMAS = {"lines": LINE_SCHEMA, "sums": SUM_SCHEMA, "marks": MARK_SCHEMA, "turn": TURN_SCHEMA}
"""Columns of the frames that a state is stored as."""

_PLACE = ["customer_id", "location_id"]
_MOMENT = (*SERIES, "at")


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be told since the last time; apply it in this order.

    Attributes:
        withdrawn: Windows without sales any more: `WINDOW` and `time_zone`.
        updated: Open windows that changed: columns of `SUM_SCHEMA` and `time_zone`.
        closed: Windows that are final now; the same columns.
        late: Late sales; columns of `LATE_SCHEMA`.
    """

    withdrawn: pl.DataFrame
    updated: pl.DataFrame
    closed: pl.DataFrame
    late: pl.DataFrame


@dataclass(slots=True)
class _Untold:
    """What has changed since the last `drain`."""

    grid: list[pl.DataFrame] = field(default_factory=list)
    moments: list[pl.DataFrame] = field(default_factory=list)
    withdrawn: list[pl.DataFrame] = field(default_factory=list)
    closed: list[pl.DataFrame] = field(default_factory=list)
    late: list[pl.DataFrame] = field(default_factory=list)


class WindowState:
    """The windows of one partition.

    Args:
        windows: The windows that are kept.
        turn_sales_max: See `watermarks.Watermarks`.
    """

    def __init__(self, windows: Windows, turn_sales_max: int = TURN_SALES_MAX) -> None:
        self._windows = windows
        self._marks = Watermarks(windows.tick_us, turn_sales_max)
        self._lines = KnownLines()
        self._sums = SUM_SCHEMA.to_frame()
        self._pending: list[pl.DataFrame] = []
        self._untold = _Untold()

    @classmethod
    def restored(
        cls,
        windows: Windows,
        frames: Mapping[str, pl.DataFrame],
        turn_sales_max: int = TURN_SALES_MAX,
    ) -> "WindowState":
        """The state of which `frames` were made."""
        state = cls(windows, turn_sales_max)
        state._lines = KnownLines(frames["lines"])
        state._sums = frames["sums"]
        state._marks.restore(frames["marks"], frames["turn"])
        return state

    def frames(self) -> dict[str, pl.DataFrame]:
        """The state as columns of `STATE_SCHEMAS`, to be taken after `drain`; they do not change any more."""
        return {
            "lines": self._lines.frame,
            "sums": self._sums,
            "marks": self._marks.frame(),
            "turn": self._marks.turn_frame(),
        }

    def take(self, rows: pl.DataFrame) -> None:
        """Take in sales, in the partition's order.

        Args:
            rows: The columns of `lines.LINE_SCHEMA` but for `mark`, and `time_zone`.
        """
        begin = 0
        for step in self._marks.plan(rows):
            self._merge(rows[begin : step.row])
            self._close(step)
            begin = step.row
        self._merge(rows[begin:])

    def _merge(self, rows: pl.DataFrame) -> None:
        """Take in sales while no mark moves."""
        if rows.is_empty():
            return
        here = self._marks.frame(rows.select(_PLACE).unique().rows())
        marked = rows.join(here.select(*_PLACE, "mark"), on=_PLACE, how="left", maintain_order="left")
        lines = marked.select(LINE_SCHEMA.names())
        replaced = self._lines.replace(lines)
        if replaced.removed.height:
            here = pl.concat(
                [here, self._marks.frame(replaced.removed.select(_PLACE).unique().rows())]
            ).unique()
        late = late_sales(lines, replaced.corrections, here, self._windows)
        if late.height:
            self._untold.late.append(late)
        added, removed = counted(replaced.added), counted(replaced.removed)
        for amounts in (added, negative(removed)):
            if amounts.height:
                self._pending += of_grid(amounts, here, self._windows)
        if self._windows.slides:
            self._untold.moments += [added.select(_MOMENT), removed.select(_MOMENT)]
            self._withdraw_moments(removed, here)

    def _withdraw_moments(self, removed: pl.DataFrame, here: pl.DataFrame) -> None:
        """Sliding windows that end with no sale any more."""
        if removed.is_empty():
            return
        left = counted(self._lines.frame)
        gone = (
            removed.select(_MOMENT)
            .unique()
            .join(left, on=_MOMENT, how="anti")
            .join(here.select(*_PLACE, "mark"), on=_PLACE, how="left")
            .filter(pl.col("at") + self._windows.grace_us > pl.col("mark"))
        )
        for kind in self._windows.slides:
            self._untold.withdrawn.append(
                gone.select(
                    pl.lit(kind.name).alias("window"),
                    *SERIES,
                    (pl.col("at") - kind.size_us).alias("start"),
                    pl.col("at").alias("end"),
                )
            )

    def _settle(self) -> None:
        """Bring what is pending into the sums of the grids."""
        if not self._pending:
            return
        changed = summed(self._pending)
        self._pending = []
        sums = summed([self._sums, changed])
        empty = sums.filter(pl.col("sales") == 0)
        if empty.height:
            self._untold.withdrawn.append(empty.select(WINDOW))
            sums = sums.filter(pl.col("sales") != 0)
        self._sums = sums
        self._untold.grid.append(changed.select(WINDOW))

    def _close(self, step: Step) -> None:
        """Move marks and close the windows that they pass."""
        self._settle()
        moved = list(step.moves)
        before = self._marks.frame(moved).select(*_PLACE, pl.col("mark").alias("mark_before"))
        self._marks.move(step)
        marks = self._marks.frame(moved).select(*_PLACE, "mark").join(before, on=_PLACE)
        grace_us = self._windows.grace_us
        beside = self._sums.join(marks, on=_PLACE, how="left", maintain_order="left")
        over = (beside["end"] + grace_us <= beside["mark"]).fill_null(value=False)
        if over.any():
            self._untold.closed.append(self._sums.filter(over))
            self._sums = self._sums.filter(~over)
        for kind in self._windows.slides:
            self._untold.closed.append(self._closed_slides(kind, marks))
        self._lines.forget(self._windows.last_close(pl.col("at")) <= pl.col("mark"), marks)

    def _closed_slides(self, kind: Kind, marks: pl.DataFrame) -> pl.DataFrame:
        """The sliding windows that moving marks close."""
        grace_us = self._windows.grace_us
        reach = pl.col("at") + kind.size_us + grace_us > pl.col("mark_before")
        lines = self._lines.frame.drop("mark").join(marks, on=_PLACE, how="inner").filter(reach)
        found = sliding(lines, kind).join(marks, on=_PLACE, how="left")
        closes = pl.col("end") + grace_us
        return found.filter((closes > pl.col("mark_before")) & (closes <= pl.col("mark"))).select(
            SUM_SCHEMA.names()
        )

    def drain(self) -> Changes:
        """What has changed since the last time."""
        self._settle()
        untold, self._untold = self._untold, _Untold()
        updated = [SUM_SCHEMA.to_frame(), *self._changed_slides(untold.moments)]
        if untold.grid:
            changed = pl.concat(untold.grid).unique()
            updated.append(self._sums.join(changed, on=WINDOW, how="semi"))
        withdrawn = SUM_SCHEMA.to_frame().select(WINDOW)
        return Changes(
            self._zoned(pl.concat([withdrawn, *untold.withdrawn])),
            self._zoned(pl.concat(updated)),
            self._zoned(pl.concat([SUM_SCHEMA.to_frame(), *untold.closed])),
            pl.concat([LATE_SCHEMA.to_frame(), *untold.late]),
        )

    def _changed_slides(self, moments: list[pl.DataFrame]) -> list[pl.DataFrame]:
        """The open sliding windows of series that changed, from the first change to where the last one reaches."""
        if not moments:
            return []
        touched = pl.concat(moments).group_by(SERIES).agg(first=pl.col("at").min(), last=pl.col("at").max())
        lines = self._lines.frame.join(touched, on=SERIES, how="semi")
        marks = self._marks.frame(touched.select(_PLACE).unique().rows()).select(*_PLACE, "mark")
        return [
            sliding(lines, kind)
            .join(touched, on=SERIES, how="left")
            .join(marks, on=_PLACE, how="left")
            .filter(
                (pl.col("end") >= pl.col("first"))
                & (pl.col("end") < pl.col("last") + kind.size_us)
                & (pl.col("end") + self._windows.grace_us > pl.col("mark"))
            )
            .select(SUM_SCHEMA.names())
            for kind in self._windows.slides
        ]

    def _zoned(self, windows: pl.DataFrame) -> pl.DataFrame:
        locations: list[Location] = windows.select(_PLACE).unique().rows()
        zones = self._marks.frame(locations).select(*_PLACE, "time_zone")
        return windows.join(zones, on=_PLACE, how="left", maintain_order="left")
