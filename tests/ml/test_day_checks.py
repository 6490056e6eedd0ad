"""What a sealed day is found to be, against the weeks before it."""

from datetime import date, timedelta

import polars as pl
import pytest

from ml.day_checks import DayFinding, DayLimits, check_days

DAY = date(2026, 11, 18)
LOCATIONS, PRODUCTS = ("north", "south", "west"), tuple(f"p{number}" for number in range(10))


def sold(days: list[date], **columns: pl.Expr) -> pl.DataFrame:
    places = pl.DataFrame({"location_id": LOCATIONS})
    things = pl.DataFrame({"product_id": PRODUCTS, "department": ["food"] * 6 + ["drinks"] * 4})
    rows = places.join(things, how="cross").join(pl.DataFrame({"sold_on": days}), how="cross")
    return rows.with_columns(quantity=pl.lit(2.0), revenue=pl.lit(5.0)).with_columns(**columns)


USUAL = [DAY - timedelta(weeks=back) for back in range(1, 9)]


def found(today: pl.DataFrame, refused: int = 0, late: int = 0, **further: object) -> list[DayFinding]:
    lines = pl.DataFrame(
        {
            "sold_on": [DAY] * 20,
            "received_on": [DAY + timedelta(days=5 if n < late else 1) for n in range(20)],
        }
    )
    errors = pl.DataFrame(
        {"sold_on": [DAY], "records": [refused]}, schema={"sold_on": pl.Date, "records": pl.Int64}
    )
    daily = pl.concat([sold(USUAL), today])
    return check_days(daily, lines, errors, [DAY], further.get("eventful", ()), DayLimits())  # type: ignore[arg-type]


def test_a_usual_day_is_not_remarked_on() -> None:
    assert found(sold([DAY]), refused=2, late=3) == []


@pytest.mark.parametrize(
    ("today", "code", "words"),
    [
        (sold([DAY]).head(0), "rows", "0 rows of daily sums, 30 are usual on this weekday"),
        (sold([DAY]).head(12), "rows", "12 rows of daily sums"),
        (pl.concat([sold([DAY])] * 3), "rows", "90 rows of daily sums, 30 are usual"),
        (sold([DAY]).filter(pl.col("location_id") != "west"), "locations", "1 of 3 locations that usually sell"),
        (sold([DAY], revenue=pl.when(pl.col("product_id") < "p5").then(5.0)), "unpriced", "50% of the rows have"),
        (
            sold([DAY], revenue=pl.when(pl.col("product_id") < "p3").then(500.0).otherwise(5.0)),
            "prices",
            "prices of 3 of 10 products are 3 times the usual or a fraction, such as p0 from 2.50 to 250.00",
        ),
    ],
)  # fmt: skip
def test_a_broken_day_is_named_in_words(today: pl.DataFrame, code: str, words: str) -> None:
    finding = next(one for one in found(today) if one.code == code)
    assert finding.is_broken
    assert words in finding.text
    assert finding.line.startswith("2026-11-18: ")


def test_many_refused_records_make_a_day_broken() -> None:
    (finding,) = found(sold([DAY]), refused=5)
    assert (finding.code, finding.is_broken) == ("refused", True)
    assert finding.text.startswith("5 of 25 records were refused")


def test_late_sales_and_other_departments_are_noted_and_stop_nothing() -> None:
    (late,) = found(sold([DAY]), late=15)
    assert (late.code, late.is_broken) == ("late", False)
    drinks = sold([DAY], quantity=pl.when(pl.col("department") == "drinks").then(20.0).otherwise(2.0))
    (drift,) = (
        one for one in found(drinks.with_columns(revenue=pl.col("quantity") * 2.5)) if one.code == "drift"
    )
    assert not drift.is_broken
    assert drift.text.startswith("47% of the quantity was sold in other departments")


def test_a_day_with_an_event_and_one_without_usual_days_are_not_compared() -> None:
    assert found(sold([DAY]).head(3), eventful={DAY}) == []
    few = check_days(
        pl.concat([sold(USUAL[:2]), sold([DAY]).head(3)]),
        pl.DataFrame(schema={"sold_on": pl.Date, "received_on": pl.Date}),
        pl.DataFrame(schema={"sold_on": pl.Date, "records": pl.Int64}),
        [DAY],
        (),
        DayLimits(),
    )
    assert few == []
