"""Events by region and day: flags, distances, types."""

from datetime import date

import numpy as np
import polars as pl

from ml.event_calendar import DISTANCE_DAYS_MAX, NO_TYPE, TYPES_MAX, build_calendar

DAYS = np.arange(np.datetime64("2025-03-01"), np.datetime64("2025-05-01"))


def events(*rows: tuple[date, str | None, str | None, str | None]) -> pl.DataFrame:
    schema = {"date": pl.Date, "name": pl.String, "type": pl.String, "region": pl.String}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def test_an_event_of_a_region_is_not_felt_elsewhere() -> None:
    calendar = build_calendar(events((date(2025, 3, 11), "fair", "feast", "north")), ("north", "south"), DAYS)
    assert calendar.types == ("feast",)
    assert np.flatnonzero(calendar.flags[0, :, 0]).tolist() == [10]
    assert not calendar.flags[1].any()
    assert (calendar.days_to_next[1] == DISTANCE_DAYS_MAX).all()
    assert (calendar.next_type[1] == NO_TYPE).all()


def test_distances_count_down_to_an_event_and_up_from_it() -> None:
    calendar = build_calendar(events((date(2025, 3, 11), None, "feast", None)), ("",), DAYS)
    assert calendar.days_to_next[0, 8:13].tolist() == [2, 1, 0, DISTANCE_DAYS_MAX, DISTANCE_DAYS_MAX]
    assert calendar.days_since_last[0, 8:13].tolist() == [DISTANCE_DAYS_MAX, DISTANCE_DAYS_MAX, 0, 1, 2]
    assert calendar.next_type[0, 10:12].tolist() == [0, NO_TYPE]


def test_an_event_after_the_last_day_is_felt_before_it() -> None:
    calendar = build_calendar(events((date(2025, 5, 3), None, "feast", None)), ("",), DAYS)
    assert calendar.days_to_next[0, -1] == 3
    assert not calendar.flags.any()


def test_a_frequent_type_has_flags_but_no_distance() -> None:
    benefit = [(day.astype(object), None, "benefit", None) for day in DAYS[::3]]
    calendar = build_calendar(events(*benefit, (date(2025, 3, 11), None, "feast", None)), ("",), DAYS)
    assert calendar.flags[0, :, calendar.types.index("benefit")].sum() == len(benefit)
    assert calendar.days_to_next[0, 9] == 1
    assert set(calendar.next_type[0].tolist()) == {NO_TYPE, calendar.types.index("feast")}


def test_rare_types_beyond_the_bound_share_one_column() -> None:
    rows = [(date(2025, 3, 1 + number), None, f"type {number:02d}", None) for number in range(20)]
    calendar = build_calendar(events(*rows, *rows[:3]), ("",), DAYS)
    assert len(calendar.types) == TYPES_MAX
    assert calendar.types[-1] == "other"
    assert calendar.flags.any(axis=2).sum() == 20


def test_a_customer_without_events_has_an_empty_calendar() -> None:
    for none in (None, events()):
        calendar = build_calendar(none, ("north",), DAYS)
        assert calendar.flags.shape == (1, len(DAYS), 0)
        assert (calendar.days_since_last == DISTANCE_DAYS_MAX).all()
        assert calendar.n_names == 0
