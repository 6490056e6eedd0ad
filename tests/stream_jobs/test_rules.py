"""The rules of sales: each one alone, and all that apply at once."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from stream_jobs.local_days import is_time_zone, local_days
from stream_jobs.rules import SALES_RULES, Rule, judge
from tests.stream_jobs.world import NOON, sales_frame


def sales(count: int = 1, **columns: Any) -> pl.DataFrame:
    """Good sales with what the rules ask of the tables."""
    own = {name: columns.pop(name) for name in list(columns) if name in LOOKED_UP}
    frame = sales_frame("acme", 7, count, **columns)
    return frame.with_columns(
        pl.lit(own.get(name, value), kind).alias(name) for name, (value, kind) in LOOKED_UP.items()
    )


LOOKED_UP: dict[str, tuple[Any, pl.DataType]] = {
    "location_known": (True, pl.Boolean()),
    "product_known": (True, pl.Boolean()),
    "sold_on": (date(2026, 3, 2), pl.Date()),
    "opened_on": (None, pl.Date()),
    "closed_on": (None, pl.Date()),
}

NAN = float("nan")
CASES: list[tuple[dict[str, Any], list[str], str]] = [
    (
        {"defect": "quantity 'x' is no number", "quantity": None},
        ["unreadable_record"],
        "quantity 'x' is no number",
    ),
    ({"sale_id": None, "quantity": None}, ["missing_field"], "missing: sale_id, quantity"),
    ({"location_known": False}, ["unknown_location"], "before delivery 7; found L1"),
    ({"product_known": False}, ["unknown_product"], "found P1"),
    ({"location_id": None, "location_known": False}, ["missing_field"], "missing: location_id"),
    ({"quantity": -0.5}, ["negative_quantity"], "found -0.5"),
    ({"quantity": NAN}, ["not_finite"], "found quantity NaN and unit_price 1.5"),
    ({"unit_price": float("inf")}, ["not_finite"], "unit_price inf"),
    ({"unit_price": -1.0}, ["bad_price"], "found -1.0"),
    (
        {"sold_at": NOON + timedelta(days=1, seconds=1)},
        ["sold_in_future"],
        "found sold_at 2026-03-03 12:00:01 UTC",
    ),
    ({"opened_on": date(2026, 3, 3)}, ["sold_before_opening"], "on or after 2026-03-03"),
    ({"closed_on": date(2026, 3, 2)}, ["sold_after_closing"], "before 2026-03-02"),
    ({"repeated": True}, ["duplicate_sale_id"], "found 7-1 again"),
    ({"voided": True, "location_known": False}, ["unknown_location"], "found L1"),
    ({"voided": True, "sale_id": None}, ["missing_field"], "Expected sale_id, location_id; missing: sale_id"),
    (
        {
            "location_known": False,
            "product_known": False,
            "quantity": -1.0,
            "unit_price": NAN,
            "repeated": True,
        },
        ["unknown_location", "unknown_product", "negative_quantity", "not_finite", "duplicate_sale_id"],
        "found L1",
    ),
]


@pytest.mark.parametrize(("columns", "codes", "text"), CASES)
def test_every_rule_that_a_sale_breaks_is_reported_with_what_was_found(
    columns: dict[str, Any], codes: list[str], text: str
) -> None:
    verdicts = judge(sales(**columns), SALES_RULES)
    assert verdicts.valid.tolist() == [False]
    assert verdicts.codes.to_list() == [codes]
    assert text in verdicts.messages.to_list()[0][0]
    assert len(verdicts.messages.to_list()[0]) == len(codes)


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"unit_price": None},
        {"quantity": 0.0, "unit_price": 0.0},
        {"sold_at": NOON + timedelta(days=1)},
        {"opened_on": date(2026, 3, 2), "closed_on": date(2026, 3, 3)},
        {"voided": True, "product_id": None, "sold_at": None, "quantity": None, "product_known": False},
        {"voided": True, "quantity": NAN, "unit_price": -1.0},
    ],
)
def test_a_good_sale_breaks_none(columns: dict[str, Any]) -> None:
    verdicts = judge(sales(**columns), SALES_RULES)
    assert verdicts.valid.tolist() == [True]
    assert len(verdicts.codes) == len(verdicts.messages) == 0


def test_codes_and_messages_are_those_of_the_invalid_rows_in_order() -> None:
    frame = sales(4, quantity=[1.0, -1.0, 2.0, -3.0])
    verdicts = judge(frame, SALES_RULES)
    assert verdicts.valid.tolist() == [True, False, True, False]
    found = [messages[0].rpartition("found ")[2] for messages in verdicts.messages.to_list()]
    assert found == ["-1.0.", "-3.0."]


def test_a_rule_set_of_ones_own_judges_any_columns() -> None:
    rules = [
        Rule(
            "odd",
            pl.col("n") % 2 == 1,
            "Expected an even number; found {n}, {half} halves.",
            {"half": pl.col("n") * 2},
        )
    ]
    verdicts = judge(pl.DataFrame({"n": [2, 3, None]}), rules)
    assert verdicts.valid.tolist() == [True, False, True]
    assert verdicts.messages.to_list() == [["Expected an even number; found 3, 6 halves."]]


def test_local_days_come_from_each_rows_own_zone_also_across_a_change_of_the_clocks() -> None:
    moments = pl.Series(
        [
            datetime(2026, 3, 28, 22, 59, tzinfo=UTC),
            datetime(2026, 3, 28, 23, 0, tzinfo=UTC),
            datetime(2026, 3, 29, 21, 59, tzinfo=UTC),
            datetime(2026, 3, 29, 22, 0, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, tzinfo=UTC),
            None,
            datetime(2026, 3, 29, 3, 0, tzinfo=UTC),
        ],
        dtype=pl.Datetime("us", "UTC"),
    )
    zones = pl.Series(["Europe/Berlin"] * 4 + ["UTC", "UTC", "America/Lima"])
    assert local_days(moments, zones).to_list() == [
        date(2026, 3, 28),
        date(2026, 3, 29),
        date(2026, 3, 29),
        date(2026, 3, 30),
        date(1969, 12, 31),
        None,
        date(2026, 3, 28),
    ]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("Europe/Berlin", True), ("UTC", True), ("+01:00", False), ("", False), ("Mars", False)],
)
def test_a_time_zone_is_one_that_every_reader_of_the_lake_knows(name: str, is_one: bool) -> None:
    assert is_time_zone(name) is is_one
