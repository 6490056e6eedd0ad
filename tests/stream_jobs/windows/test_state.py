"""Windowed sums against a naive twin: any order, lateness, corrections, batches and restarts."""

from collections import Counter
from dataclasses import dataclass, field

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_jobs.windows.kinds import Windows
from stream_jobs.windows.lines import LINE_SCHEMA
from stream_jobs.windows.state import STATE_SCHEMAS, Changes, WindowState
from tests.stream_jobs.windows.twin import Amount, Late, Line, Twin, Window

HOUR = 3_600_000_000
KINDS = "day=tumbling:1d, two=hopping:2d/12h, slide=sliding:5h"
COLUMNS = [name for name in LINE_SCHEMA if name != "mark"]


def rows_of(lines: list[Line]) -> pl.DataFrame:
    """Lines as the job hands them to a state."""
    frame = pl.DataFrame(lines, schema=Line._fields, orient="row", infer_schema_length=None)
    return frame.with_columns(customer_id=pl.lit("acme"), time_zone=pl.lit("UTC")).select(
        *(pl.col(name).cast(LINE_SCHEMA[name]) for name in COLUMNS), "time_zone"
    )


@dataclass
class Told:
    """What a reader of the topics sees."""

    standing: dict[Window, tuple[Amount, bool]] = field(default_factory=dict)
    late: list[Late] = field(default_factory=list)

    def apply(self, changes: Changes) -> None:
        columns = ("window", "location_id", "product_id", "start", "end")
        for row in changes.withdrawn.select(columns).rows():
            self.standing.pop(Window(*row), None)
        for frame, final in ((changes.updated, False), (changes.closed, True)):
            for *window, quantity, revenue, priced, sales in frame.select(
                *columns, "quantity", "revenue", "priced", "sales"
            ).rows():
                key = Window(*window)
                assert not self.standing.get(key, (None, False))[1], f"{key} was final before"
                self.standing[key] = Amount(quantity, revenue if priced else None, sales), final
        for one in changes.late.iter_rows(named=True):
            self.late.append(
                Late(
                    one["window"], one["sale_id"], (one["delivery_id"], one["position"]), one["start"], one["end"],
                    one["missed"], one["late_us"], one["outcome"],
                )
            )  # fmt: skip


@st.composite
def deliveries(draw: st.DrawFn) -> list[Line]:
    """Some deliveries, one after the other, and some of their records judged again much later."""
    lines: list[Line] = []
    again: list[Line] = []
    for delivery in range(draw(st.integers(1, 7))):
        ids = draw(st.lists(st.integers(0, 9), unique=True, max_size=6))
        middle = draw(st.integers(0, 240)) if draw(st.booleans()) else 24 * delivery
        for position, number in enumerate(ids):
            at = (middle + draw(st.integers(-12, 12))) * HOUR
            voided = draw(st.integers(0, 5)) == 0
            line = Line(
                f"s{number}", draw(st.sampled_from("AB")), draw(st.sampled_from("PQ")), delivery, position, max(at, 0),
                draw(st.integers(0, 5)), draw(st.none() | st.integers(0, 99)), voided,
            )  # fmt: skip
            (again if draw(st.integers(0, 7)) == 0 else lines).append(line)
    for line in again:
        lines.insert(draw(st.integers(0, len(lines))), line)
    return lines


@settings(max_examples=100, deadline=None)
@given(
    deliveries(),
    st.sampled_from(["0d", "12h", "1d", "3d"]),
    st.sampled_from([3, 5, 1000]),
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["", "", "drain", "store", "crash"])), max_size=30),
)
def test_any_order_lateness_corrections_and_restarts_give_what_the_twin_gives(
    lines: list[Line], grace: str, turn_max: int, course: list[tuple[int, str]]
) -> None:
    windows = Windows.parsed(KINDS, grace)
    twin = Twin(windows, windows.tick_us, turn_max)
    for line in lines:
        twin.take(line)
    state, told = WindowState(windows, turn_max), Told()
    stored, stored_at, committed, at = state.frames(), 0, 0, 0
    for size, then in [*course, (len(lines), "drain")]:
        batch = lines[at : at + size]
        if batch:
            state.take(rows_of(batch))
        at += len(batch)
        if then in ("drain", "store"):
            told.apply(state.drain())
            committed = at
        if then == "store":
            stored, stored_at = state.frames(), at
            assert {name: frame.schema for name, frame in stored.items()} == STATE_SCHEMAS
            state = WindowState.restored(windows, stored, turn_max)
        if then == "crash":
            state = WindowState.restored(windows, stored, turn_max)
            if committed > stored_at:
                state.take(rows_of(lines[stored_at:committed]))
            state.drain()
            at = committed
    assert at == len(lines)
    assert told.standing == twin.published()
    assert Counter(told.late) == Counter(twin.late)
