"""The correction of single forecasts by their department's own forecast."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from ml.aggregate import FACTOR_MAX, FACTOR_MIN, SHARE, correction
from ml.levels import FloatArray
from ml.panel import Panel, on_sale_ahead
from tests.ml.conftest import make_retailer

WEEK = np.array([0.8, 0.7, 0.8, 0.9, 1.2, 1.5, 1.1])


@pytest.fixture(scope="module")
def busy() -> Panel:
    """Departments that sell hundreds of units a day, with a week and an event every 45 days."""
    return make_retailer(2, 30, 400, rate=20.0, plans=False, seed=3).panel()


def flat(panel: Panel, origin: int, factor: float = 1.0) -> FloatArray:
    """The mean of the last eight weeks on each day ahead, times a factor."""
    level = np.nanmean(panel.quantity[:, origin - 55 : origin + 1], axis=1)
    return np.where(on_sale_ahead(panel, origin, 28), level[:, None] * factor, 0).astype(np.float32)


def test_a_week_that_the_forecast_misses_is_put_in_by_the_share(busy: Panel) -> None:
    factor = correction(busy, busy.origin, flat(busy, busy.origin))
    expected = (WEEK[(busy.origin + 1 + np.arange(28)) % 7] / WEEK.mean()) ** SHARE
    np.testing.assert_allclose(factor.mean(axis=0), expected, rtol=0.06)


def test_corrected_totals_come_nearer_to_what_was_sold(busy: Panel) -> None:
    origin = busy.origin - 28
    mean = flat(busy, origin, 0.85)
    corrected = mean * correction(busy, origin, mean)[busy.codes.group]
    actual = busy.quantity[:, origin + 1 : origin + 29].sum(axis=0)
    before, after = (np.abs(each.sum(axis=0) - actual).sum() for each in (mean, corrected))
    assert after < 0.65 * before


def test_a_benefit_day_of_the_past_is_expected_again() -> None:
    retailer = make_retailer(2, 30, 400, rate=20.0, plans=False, seed=3)
    start = retailer.daily["sold_on"].min()
    days = pl.date_range(start, retailer.last_day.replace(year=2026, month=3), "20d", eager=True)  # type: ignore[arg-type]
    doubled = retailer.daily.with_columns(
        quantity=pl.when(pl.col("sold_on").is_in(days.implode()))
        .then(pl.col("quantity") * 2)
        .otherwise("quantity")
    )
    events = pl.DataFrame({"date": days}).with_columns(
        name=pl.lit(None, pl.String), type=pl.lit("benefit"), region=pl.lit(None, pl.String)
    )
    panel = replace(retailer, daily=doubled, events=events).panel()
    factor = correction(panel, panel.origin, flat(panel, panel.origin)).mean(axis=0)
    plain = (WEEK[(panel.origin + 1 + np.arange(28)) % 7] / WEEK.mean()) ** SHARE
    on_event = panel.calendar.flags[0, panel.origin + 1 :, 0]
    assert 1 <= on_event.sum() <= 2
    assert (factor / plain)[on_event].min() > 1.2
    assert (factor / plain)[~on_event].max() < 1.1


def test_corrections_are_bounded_and_see_nothing_after_the_origin(busy: Panel) -> None:
    origin = busy.origin - 60
    mean = flat(busy, origin, 0.01)
    factor = correction(busy, origin, mean)
    assert factor.max() <= np.float32(FACTOR_MAX)
    assert factor.min() >= np.float32(FACTOR_MIN)
    later = busy.quantity.copy()
    later[:, origin + 1 :] = 1_000
    again = correction(replace(busy, quantity=later), origin, mean)
    assert factor.tobytes() == again.tobytes()


def test_small_departments_and_short_histories_are_left_alone(busy: Panel) -> None:
    small = make_retailer(2, 3, 200, rate=1.0).panel()
    assert (correction(small, small.origin, flat(small, small.origin)) == 1).all()
    assert (correction(busy, 90, flat(busy, 90)) == 1).all()
