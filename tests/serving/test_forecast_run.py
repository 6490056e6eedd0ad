"""The index of a run, compared with a plain filter over all its rows."""

import itertools
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.forecast_run import COLUMNS, KEYS, QUANTILES, Origin, RunTable, Selection, index_run

FIRST = date(2026, 11, 21)
ORIGIN = Origin("acme", "run-1", "trees", date(2026, 11, 20), 3)
IDS = st.sampled_from(["a", "b", "ä", "B", "a/b", "z", "10", "9"])


def frame_of(series: list[tuple[str, str]], days: int, seed: int = 0) -> pl.DataFrame:
    """Forecasts of some series in a random order of rows."""
    rows = [(place, thing, FIRST + timedelta(days=day)) for place, thing in series for day in range(days)]
    numbers = np.random.default_rng(seed)
    keys = pl.DataFrame(
        rows, schema={"location_id": pl.String, "product_id": pl.String, "date": pl.Date}, orient="row"
    )
    values = {name: pl.Series(numbers.random(len(rows)), dtype=pl.Float32) for name in ("mean", *QUANTILES)}
    return keys.with_columns(**values).sample(fraction=1, shuffle=True, seed=seed)


def plainly(frame: pl.DataFrame, wanted: Selection) -> pl.DataFrame:
    """What the index must find, by looking at every row."""
    kept = pl.lit(value=True)
    for column, value in (("location_id", wanted.location_id), ("product_id", wanted.product_id)):
        if value is not None:
            kept &= pl.col(column) == value
    if wanted.start is not None:
        kept &= pl.col("date") >= wanted.start
    if wanted.end is not None:
        kept &= pl.col("date") <= wanted.end
    return frame.filter(kept).select(COLUMNS).sort(KEYS)


def all_pages(run: RunTable, wanted: Selection, limit: int) -> pl.DataFrame:
    """Every page of a selection, put together."""
    pages, position = [], 0
    for _ in range(10_000):
        page, following = run.page(wanted, position, limit)
        assert page.height <= limit
        pages.append(page)
        if following is None:
            return pl.concat(pages)
        assert following > position or position == 0
        position = following
    raise AssertionError("the pages never end")


DAYS = st.none() | st.integers(-2, 6).map(lambda offset: FIRST + timedelta(days=offset))


@settings(max_examples=100, deadline=None)
@given(
    series=st.lists(st.tuples(IDS, IDS), min_size=0, max_size=12, unique=True),
    wanted=st.builds(Selection, st.none() | IDS, st.none() | IDS, DAYS, DAYS),
    limit=st.integers(1, 9),
)
def test_the_pages_of_any_selection_are_what_a_plain_filter_finds(
    series: list[tuple[str, str]], wanted: Selection, limit: int
) -> None:
    frame = frame_of(series, 4)
    assert all_pages(index_run(ORIGIN, frame), wanted, limit).equals(plainly(frame, wanted))


def test_one_series_in_any_range_of_days_is_what_a_plain_filter_finds() -> None:
    frame = frame_of([("a", "x"), ("b", "x"), ("b", "y"), ("b", "z"), ("c", "y")], 4)
    run = index_run(ORIGIN, frame)
    days = [None, *(FIRST + timedelta(days=offset) for offset in range(-1, 6))]
    for start, end in itertools.product(days, days):
        for wanted in (Selection("b", "y", start, end), Selection("c", "y", start, end)):
            assert all_pages(run, wanted, 3).equals(plainly(frame, wanted)), wanted


def test_a_run_without_rows_answers_every_question_with_none() -> None:
    run = index_run(ORIGIN, frame_of([], 3))
    for wanted in (Selection(), Selection("a", "b"), Selection(start=FIRST)):
        page, following = run.page(wanted, 0, 5)
        assert page.is_empty()
        assert following is None


@pytest.mark.parametrize("position", [10**9, 2**62])
def test_a_position_beyond_the_run_finds_nothing(position: int) -> None:
    run = index_run(ORIGIN, frame_of([("a", "b")], 3))
    page, following = run.page(Selection(), position, 5)
    assert page.is_empty()
    assert following is None


@settings(max_examples=60, deadline=None)
@given(
    places=st.lists(IDS, unique=True, min_size=1),
    things=st.lists(IDS, unique=True, min_size=1),
    asked=st.lists(st.tuples(IDS, IDS), min_size=1, max_size=6, unique=True),
    start=DAYS,
    end=DAYS,
)
def test_some_series_are_found_in_the_order_asked(
    places: list[str], things: list[str], asked: list[tuple[str, str]], start: date | None, end: date | None
) -> None:
    frame = frame_of(list(itertools.product(places, things)), 4)
    run = index_run(ORIGIN, frame)
    rows, missing = run.series(asked, start, end)
    expected = [plainly(frame, Selection(*key, start, end)) for key in asked]
    assert rows.equals(pl.concat(expected))
    assert missing == [key for key in asked if key[0] not in places or key[1] not in things]


@pytest.mark.parametrize("rows_max", [1, 7, 1_000])
def test_the_pieces_of_a_run_are_all_of_its_rows_in_order(rows_max: int) -> None:
    frame = frame_of([("b", "x"), ("a", "y"), ("a", "x"), ("c", "x")], 5)
    run = index_run(ORIGIN, frame)
    assert pl.concat(run.pieces(None, rows_max)).equals(plainly(frame, Selection()))
    some = pl.concat(run.pieces(["c", "a", "nowhere"], rows_max))
    assert some.equals(plainly(frame, Selection()).filter(pl.col("location_id") != "b"))
    assert max(piece.height for piece in run.pieces(None, rows_max)) <= rows_max


def test_rows_that_are_out_of_order_in_any_key_are_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.forecast_run.PIECE_ROWS", 3)
    frame = frame_of([("a", "x"), ("a", "y"), ("b", "x")], 4).sort(KEYS)
    for number in range(frame.height):
        swapped = pl.concat([frame.slice(number + 1), frame.head(number + 1)])
        assert index_run(ORIGIN, swapped).rows.equals(frame.select(COLUMNS))
    assert index_run(ORIGIN, frame.clear()).rows.is_empty()
