"""The panel: which days count as on sale, what is a zero, and what is known as of an origin."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from infra.errors import FaultError
from ml.panel import Panel, build_panel, on_sale_ahead
from tests.ml.conftest import FIRST_DAY, Retailer, make_retailer


def day(number: int) -> date:
    return FIRST_DAY + timedelta(days=number)


def sales(*rows: tuple[str, str, int, float]) -> pl.DataFrame:
    return pl.DataFrame(
        [(location, product, day(number), quantity) for location, product, number, quantity in rows],
        schema={
            "location_id": pl.String,
            "product_id": pl.String,
            "sold_on": pl.Date,
            "quantity": pl.Float64,
        },
        orient="row",
    )


def prices(*rows: tuple[str, str, int, float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [(location, product, day(number), price, False) for location, product, number, price in rows],
        schema={
            "location_id": pl.String, "product_id": pl.String, "valid_from": pl.Date,
            "unit_price": pl.Float64, "promotion": pl.Boolean,
        },
        orient="row",
    )  # fmt: skip


def panel_of(
    daily: pl.DataFrame,
    plan: pl.DataFrame | None = None,
    locations: dict[str, object] | None = None,
    products: dict[str, object] | None = None,
    events: pl.DataFrame | None = None,
    origin: int = 9,
) -> Panel:
    return build_panel(
        daily,
        pl.DataFrame({"location_id": ["a"], **(locations or {})}),
        pl.DataFrame({"product_id": ["x"], **(products or {})}),
        plan,
        events,
        day(origin),
        5,
    )


def on_days(panel: Panel, series: int = 0) -> list[int]:
    return np.flatnonzero(panel.on_sale[series]).tolist()


def test_without_prices_a_series_is_on_sale_from_its_first_sale() -> None:
    panel = panel_of(sales(("a", "y", 0, 1.0), ("a", "x", 4, 2.0)))
    assert panel.series["product_id"].to_list() == ["x", "y"]
    assert on_days(panel) == list(range(4, 15))
    assert np.isnan(panel.quantity[0, :4]).all()
    assert panel.quantity[0, 4:10].tolist() == [2, 0, 0, 0, 0, 0]
    assert np.isnan(panel.quantity[:, 10:]).all()


def test_a_price_puts_a_product_on_sale_before_its_first_sale_and_a_null_price_ends_it() -> None:
    plan = prices(("a", "x", 2, 3.0), ("a", "x", 7, None))
    panel = panel_of(sales(("a", "y", 0, 1.0), ("a", "x", 5, 2.0)), plan)
    assert on_days(panel) == [2, 3, 4, 5, 6]
    assert panel.price[0, 2:7].tolist() == [3.0] * 5
    assert np.isnan(panel.price[0, 7:]).all()


def test_a_product_that_sold_without_a_price_stops_with_a_null_price() -> None:
    panel = panel_of(sales(("a", "x", 0, 1.0)), prices(("a", "x", 6, None)))
    assert on_days(panel) == list(range(6))


def test_the_price_of_before_the_first_day_still_holds() -> None:
    panel = panel_of(
        sales(("a", "x", 0, 1.0)), prices(("a", "x", -9, 4.0), ("a", "x", -3, 5.0), ("a", "x", 3, 6.0))
    )
    assert panel.price[0].tolist() == [5.0] * 3 + [6.0] * 12
    assert panel.planned_from.tolist() == [-9]


def test_a_location_that_closes_and_a_product_that_ends_are_off_sale_from_that_day() -> None:
    daily = sales(("a", "x", 0, 1.0))
    assert on_days(panel_of(daily, locations={"closed_on": [day(12)]})) == list(range(12))
    assert on_days(panel_of(daily, products={"ended_on": [day(3)]})) == [0, 1, 2]


def test_a_sale_counts_even_where_the_plan_forbids_it() -> None:
    panel = panel_of(sales(("a", "x", 0, 1.0), ("a", "x", 6, 2.0)), products={"ended_on": [day(3)]})
    assert on_days(panel) == [0, 1, 2, 6]
    assert panel.quantity[0, 6] == 2


def test_a_product_introduced_within_the_days_is_on_sale_from_then() -> None:
    daily = sales(("a", "y", 0, 1.0), ("a", "x", 6, 2.0))
    assert on_days(panel_of(daily, products={"introduced_on": [day(3)]})) == list(range(3, 15))
    assert on_days(panel_of(daily, products={"introduced_on": [day(-90)]})) == list(range(6, 15))


def test_a_product_with_a_price_only_is_a_series_and_one_that_ended_before_is_none() -> None:
    plan = prices(("a", "x", 11, 2.0))
    panel = panel_of(sales(("a", "y", 0, 1.0)), plan)
    assert panel.series["product_id"].to_list() == ["x", "y"]
    assert on_days(panel) == [11, 12, 13, 14]
    ended = panel_of(sales(("a", "y", 0, 1.0)), prices(("a", "x", -5, 2.0)), products={"ended_on": [day(-1)]})
    assert ended.series["product_id"].to_list() == ["y"]


def test_a_day_on_which_a_busy_location_sold_nothing_is_no_zero_and_its_event_shuts_it_again() -> None:
    rows = [("a", "x", number, 40.0) for number in range(80) if number != 50]
    events = pl.DataFrame(
        {"date": [day(50), day(81)], "name": ["feast"] * 2, "type": ["holiday"] * 2},
    ).with_columns(region=pl.lit(None, pl.String))
    panel = panel_of(sales(*rows), events=events, origin=79)
    assert not panel.on_sale[0, 50]
    assert np.isnan(panel.quantity[0, 50])
    assert on_sale_ahead(panel, 79, 5)[0].tolist() == [True, False, True, True, True]
    # An origin before the first feast cannot know of it.
    assert on_sale_ahead(panel, 49, 5).all()


def test_nothing_is_known_of_a_series_before_its_first_sale() -> None:
    panel = panel_of(sales(("a", "y", 0, 1.0), ("a", "x", 6, 2.0)))
    assert not on_sale_ahead(panel, 4, 5)[0].any()
    assert on_sale_ahead(panel, 6, 5)[0].all()


def test_a_panel_built_earlier_equals_the_later_one_up_to_then(retailer: Retailer) -> None:
    late, early = retailer.panel(), retailer.panel(origin=day(200))
    assert early.series.equals(late.series)
    np.testing.assert_array_equal(early.on_sale[:, :201], late.on_sale[:, :201])
    np.testing.assert_array_equal(early.quantity[:, :201], late.quantity[:, :201])
    np.testing.assert_array_equal(early.on_sale[:, 201:], on_sale_ahead(late, 200, 28))


def test_every_sale_is_in_its_cell() -> None:
    retailer = make_retailer(3, 4, 50, plans=False)
    panel = retailer.panel()
    rows = {(row[0], row[1]): number for number, row in enumerate(panel.series.rows())}
    for location, product, sold_on, quantity, _ in retailer.daily.rows():
        assert panel.quantity[rows[location, product], panel.day_index(sold_on)] == quantity
    assert np.nansum(panel.quantity) == retailer.daily["quantity"].sum()


def test_history_is_bounded() -> None:
    retailer = make_retailer(1, 2, 90, plans=False)
    panel = build_panel(
        retailer.daily,
        retailer.locations,
        retailer.products,
        None,
        None,
        retailer.last_day,
        7,
        history_days_max=30,
    )
    assert panel.quantity.shape == (2, 37)
    assert panel.origin == 29


def test_unit_values_come_from_prices_else_revenue_else_the_median() -> None:
    daily = sales(("a", "w", 0, 1.0), ("a", "x", 0, 2.0), ("a", "y", 0, 1.0)).with_columns(
        revenue=pl.Series([None, 6.0, 8.0])
    )
    panel = panel_of(daily, prices(("a", "y", 0, 9.0)))
    assert panel.unit_value.tolist() == [6.0, 3.0, 9.0]


def test_two_customers_in_one_frame_are_refused() -> None:
    daily = sales(("a", "x", 0, 1.0), ("a", "y", 0, 1.0)).with_columns(customer_id=pl.Series(["c", "d"]))
    with pytest.raises(FaultError, match="one customer"):
        panel_of(daily)


def test_a_date_outside_the_panel_is_refused(panel: Panel) -> None:
    assert panel.day(panel.day_index(day(7))) == day(7)
    with pytest.raises(FaultError, match="outside"):
        panel.day_index(day(-1))
