"""The simulated demand: the same on every day however long it goes on, and worth a model."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from cli.simulate.demand import World, on_sale, price_changes, prices_of, units_sold
from cli.simulate.holidays import easter, events, nth_weekday
from cli.simulate.receipts import sale_lines
from cli.simulate.retailers import RETAILERS, Retailer

WORLD = World(11, date(2025, 5, 1), 548)
LAST_DAY = date(2026, 10, 30)
HORIZON = 28


@pytest.mark.parametrize("retailer", RETAILERS, ids=lambda retailer: retailer.customer_id)
def test_the_days_of_a_shorter_simulation_are_those_of_a_longer_one(retailer: Retailer) -> None:
    short = sale_lines(WORLD, retailer, WORLD.first_day, LAST_DAY)
    long = sale_lines(WORLD, retailer, WORLD.first_day, LAST_DAY + timedelta(days=40))
    assert long.filter(pl.col("sold_on") <= LAST_DAY).equals(short)
    week = sale_lines(WORLD, retailer, LAST_DAY - timedelta(days=6), LAST_DAY)
    assert short.filter(pl.col("sold_on") > LAST_DAY - timedelta(days=7)).equals(week)
    known = price_changes(WORLD, retailer, LAST_DAY + timedelta(days=40)).filter(
        pl.col("valid_from") <= LAST_DAY
    )
    assert known.equals(price_changes(WORLD, retailer, LAST_DAY))


@pytest.mark.parametrize("retailer", RETAILERS, ids=lambda retailer: retailer.customer_id)
def test_lines_add_up_to_units_and_lie_in_opening_hours(retailer: Retailer) -> None:
    lines = sale_lines(WORLD, retailer, WORLD.first_day, LAST_DAY)
    units, _ = units_sold(WORLD, retailer, LAST_DAY)
    by_weight = {department.id for department in retailer.departments if department.by_weight}
    size = np.array([0.25 if product.department in by_weight else 1.0 for product in retailer.products])
    assert lines["quantity"].sum() == (units * size).sum()
    assert lines["sale_id"].n_unique() == lines.height
    assert lines.null_count().sum_horizontal().item() == 0
    hour = lines["sold_at"].str.slice(11, 2).cast(pl.Int64)
    assert hour.min() >= retailer.opens_at  # type: ignore[operator]
    assert hour.max() < retailer.opens_at + retailer.open_hours  # type: ignore[operator]
    assert (lines["sold_at"].str.slice(0, 10) == lines["sold_on"].cast(pl.String)).all()


@pytest.mark.parametrize("retailer", RETAILERS, ids=lambda retailer: retailer.customer_id)
def test_nothing_is_sold_where_it_is_not_on_sale_and_prices_say_so(retailer: Retailer) -> None:
    n_days = WORLD.days_to(LAST_DAY)
    units, prices = units_sold(WORLD, retailer, LAST_DAY)
    sold = on_sale(WORLD, retailer, n_days)
    assert not units[~sold].any()
    assert not sold.all()
    # Walking through the changes gives each day's price back.
    changes = price_changes(WORLD, retailer, LAST_DAY)
    site, product = retailer.sites[-1].id, retailer.products[-1].id
    own = changes.filter(pl.col("location_id") == site, pl.col("product_id") == product).sort("valid_from")
    found: list[float | None] = []
    for day in range(n_days):
        valid = own.filter(pl.col("valid_from") <= WORLD.first_day + timedelta(days=day))
        found.append(valid["unit_price"].to_list()[-1] if valid.height else None)
    expected = [
        price if on else None for price, on in zip(prices.unit[:, -1, -1], sold[:, -1, -1], strict=True)
    ]
    assert found == expected


def test_regular_sellers_and_intermittent_ones_occur() -> None:
    units, _ = units_sold(WORLD, RETAILERS[0], LAST_DAY)
    share = (units > 0).mean(axis=0)
    assert share.max() > 0.95
    assert 0 < share.min() < 0.1


def test_easter_and_the_days_that_hang_on_it() -> None:
    sundays = [date(2024, 3, 31), date(2025, 4, 20), date(2026, 4, 5), date(2027, 3, 28), date(2038, 4, 25)]
    assert [easter(day.year) for day in sundays] == sundays
    assert nth_weekday(2026, 10, 0, 2) == date(2026, 10, 12)
    assert nth_weekday(2026, 6, 0, 1) == date(2026, 6, 1)
    for calendar in ("canada", "alps"):
        table = events(calendar, 2024, 2027)
        assert table["event_id"].n_unique() == table.height
        assert table["date"].dt.year().unique().sort().to_list() == [2024, 2025, 2026, 2027]


@pytest.mark.parametrize("retailer", RETAILERS, ids=lambda retailer: retailer.customer_id)
def test_a_boosted_model_beats_the_seasonal_naive_clearly(retailer: Retailer) -> None:
    units, prices = units_sold(WORLD, retailer, LAST_DAY)
    n_days, n_sites, n_products = units.shape
    known = on_sale(WORLD, retailer, n_days)
    promotion = prices_of(WORLD, retailer, n_days).promotion
    padded = np.concatenate([np.zeros((1, n_sites, n_products)), np.cumsum(units, axis=0)])

    def features(day: int) -> NDArray[np.float64]:
        """Of every series what is known 28 days before: weekday, price, promotion and recent means."""
        origin = day - HORIZON + 1
        shape = (n_sites, n_products)
        same_weekday = np.mean([units[day - HORIZON - 7 * week] for week in range(6)], axis=0)
        columns = [
            np.full(shape, (WORLD.first_day.toordinal() + day) % 7), np.full(shape, day % 365),
            prices.unit[day] / prices.regular[day], np.broadcast_to(promotion[day], shape), same_weekday,
            (padded[origin] - padded[origin - 56]) / 56, *np.indices(shape),
        ]  # fmt: skip
        return np.asarray(np.stack(columns, axis=-1)[known[day]], dtype=np.float64)

    train, test = range(n_days % 3, n_days - HORIZON, 3)[30:], range(n_days - HORIZON, n_days)
    model = HistGradientBoostingRegressor(loss="poisson", max_iter=60, learning_rate=0.15, random_state=0)
    # One thread: on a busy machine the threads of so small a fit wait for each other longer than they work.
    with threadpool_limits(1):
        model.fit(
            np.concatenate([features(day) for day in train]),
            np.concatenate([units[day][known[day]] for day in train]),
        )
        forecast = model.predict(np.concatenate([features(day) for day in test]))
    actual = np.concatenate([units[day][known[day]] for day in test])
    naive = np.concatenate([units[n_days - HORIZON - 7 + (day - test[0]) % 7][known[day]] for day in test])
    assert np.abs(actual - forecast).sum() < 0.8 * np.abs(actual - naive).sum()
