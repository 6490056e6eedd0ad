"""Totals of departments forecast on their own, and the correction of single forecasts by them."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from ml.aggregate import FACTOR_MAX, FACTOR_MIN, SHARE_OF_EFFECTS, FittedTotals, fit_totals
from ml.aggregate_effects import forecast_by_effects
from ml.aggregate_trees import HISTORY_DAYS_MIN, forecast_by_trees, grow_on_totals
from ml.features import coding_of
from ml.group_history import group_history
from ml.levels import FloatArray
from ml.panel import Panel, on_sale_ahead
from tests.ml.conftest import FIRST_DAY, Retailer, make_retailer

WEEK = np.array([0.8, 0.7, 0.8, 0.9, 1.2, 1.5, 1.1])


@pytest.fixture(scope="module")
def busy() -> Panel:
    """Departments that sell hundreds of units a day, with a week."""
    return make_retailer(2, 30, 400, rate=20.0, plans=False, seed=3).panel()


def flat(panel: Panel, origin: int, factor: float = 1.0) -> FloatArray:
    """The mean of the last eight weeks on each day ahead, times a factor."""
    level = np.nanmean(panel.quantity[:, origin - 55 : origin + 1], axis=1)
    return np.where(on_sale_ahead(panel, origin, 28), level[:, None] * factor, 0).astype(np.float32)


def correction(panel: Panel, origin: int, mean: FloatArray, totals: FittedTotals | None = None) -> FloatArray:
    return (totals or FittedTotals()).correction(panel, coding_of(panel), origin, mean, 1)


def fitted(panel: Panel, origin: int) -> FittedTotals:
    return fit_totals(panel, coding_of(panel), origin, 28, "lightgbm", 1, 1)


def test_effects_alone_put_in_by_half_a_week_that_the_forecast_misses(busy: Panel) -> None:
    factor = correction(busy, busy.origin, flat(busy, busy.origin))
    expected = (WEEK[(busy.origin + 1 + np.arange(28)) % 7] / WEEK.mean()) ** SHARE_OF_EFFECTS
    np.testing.assert_allclose(factor.mean(axis=0), expected, rtol=0.06)


def test_both_forecasts_together_are_believed_whole(busy: Panel) -> None:
    totals = fitted(busy, busy.origin)
    assert totals.trees is not None
    factor = correction(busy, busy.origin, flat(busy, busy.origin), totals)
    expected = WEEK[(busy.origin + 1 + np.arange(28)) % 7] / WEEK.mean()
    assert factor.mean() == pytest.approx(1, abs=0.08)
    np.testing.assert_allclose(factor.mean(axis=0) / factor.mean(), expected, rtol=0.06)


def test_corrected_totals_come_nearer_to_what_was_sold(busy: Panel) -> None:
    origin = busy.origin - 28
    mean = flat(busy, origin, 0.85)
    corrected = mean * correction(busy, origin, mean, fitted(busy, origin))[busy.codes.group]
    actual = busy.quantity[:, origin + 1 : origin + 29].sum(axis=0)
    before, after = (np.abs(each.sum(axis=0) - actual).sum() for each in (mean, corrected))
    assert after < 0.4 * before


def test_a_benefit_day_of_the_past_is_expected_again() -> None:
    retailer = make_retailer(2, 30, 400, rate=20.0, plans=False, seed=3)
    days = pl.date_range(FIRST_DAY, retailer.last_day.replace(year=2026, month=3), "20d", eager=True)
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
    plain = (WEEK[(panel.origin + 1 + np.arange(28)) % 7] / WEEK.mean()) ** SHARE_OF_EFFECTS
    on_event = panel.calendar.flags[0, panel.origin + 1 :, 0]
    assert 1 <= on_event.sum() <= 2
    assert (factor / plain)[on_event].min() > 1.12
    assert (factor / plain)[~on_event].max() < 1.1


def test_corrections_are_bounded_and_see_nothing_after_the_origin(busy: Panel) -> None:
    origin = busy.origin - 30
    mean = flat(busy, origin, 0.01)
    factor = correction(busy, origin, mean, fitted(busy, origin))
    assert factor.max() <= np.float32(FACTOR_MAX)
    assert factor.min() >= np.float32(FACTOR_MIN)
    later = busy.quantity.copy()
    later[:, origin + 1 :] = 1_000
    changed = replace(busy, quantity=later)
    again = correction(changed, origin, mean, fitted(changed, origin))
    assert factor.tobytes() == again.tobytes()


def test_small_departments_and_short_histories_are_left_alone(busy: Panel) -> None:
    small = make_retailer(2, 3, 200, rate=1.0).panel()
    assert (correction(small, small.origin, flat(small, small.origin)) == 1).all()
    assert (correction(busy, 90, flat(busy, 90)) == 1).all()
    assert fitted(busy, HISTORY_DAYS_MIN - 2).trees is None


def earlier_of(retailer: Retailer, n_days: int) -> tuple[Retailer, pl.DataFrame]:
    """The retailer without its first days, and these by location and department."""
    first = FIRST_DAY + timedelta(days=n_days)
    totals = (
        retailer.daily.join(retailer.products, on="product_id")
        .filter(pl.col("sold_on") < first)
        .group_by("location_id", "department", "sold_on")
        .agg(pl.col("quantity").sum())
    )
    return retailer.with_sales(retailer.daily.filter(pl.col("sold_on") >= first)), totals


def test_totals_of_before_the_panel_are_history_like_any_other() -> None:
    retailer = make_retailer(3, 12, 420, rate=5.0, seed=5)
    whole = retailer.panel()
    short, totals = earlier_of(retailer, 200)
    cut = short.panel(earlier=totals)
    assert len(cut.earlier.days) == 200
    histories = [
        group_history(panel, panel.origin, 28, days_max=1_000) for panel in (whole, cut, short.panel())
    ]
    assert [history.n_known for history in histories] == [420, 420, 220]
    np.testing.assert_allclose(histories[1].units, histories[0].units)
    np.testing.assert_array_equal(histories[1].calendar.flags, histories[0].calendar.flags)
    np.testing.assert_array_equal(histories[1].days, whole.days)
    np.testing.assert_allclose(forecast_by_effects(histories[1]), forecast_by_effects(histories[0]))
    assert group_history(cut, cut.origin, 28, days_max=300).n_known == 300


def test_a_holiday_on_which_every_location_shuts_is_forecast_as_nothing() -> None:
    retailer = make_retailer(2, 30, 420, rate=20.0, plans=False, seed=3)
    feasts = [FIRST_DAY + timedelta(days=number) for number in (60, 425)]
    events = pl.DataFrame({"date": feasts, "name": ["feast"] * 2, "type": ["holiday"] * 2}).with_columns(
        region=pl.lit(None, pl.String)
    )
    open_days = retailer.daily.filter(~pl.col("sold_on").is_in(feasts))
    panel = replace(retailer, daily=open_days, events=events).panel()
    history, coding = group_history(panel, panel.origin, 28, 1_000), coding_of(panel)
    assert not history.counts[:, 60].any()
    trees = grow_on_totals(history, coding, "lightgbm", 1, 1)
    assert trees is not None
    for forecast in (forecast_by_effects(history), forecast_by_trees(trees, history, coding, 1)):
        assert np.flatnonzero(~forecast.any(axis=0)).tolist() == [425 - 420]


def test_a_location_that_shut_on_a_feast_of_before_the_panel_is_expected_to_shut_again() -> None:
    retailer = make_retailer(2, 30, 420, rate=20.0, plans=False, seed=3)
    feasts = [FIRST_DAY + timedelta(days=number) for number in (60, 425)]
    events = pl.DataFrame({"date": feasts, "name": ["feast"] * 2, "type": ["holiday"] * 2}).with_columns(
        region=pl.lit(None, pl.String)
    )
    open_days = retailer.daily.filter(~pl.col("sold_on").is_in(feasts))
    short, totals = earlier_of(replace(retailer, daily=open_days, events=events), 100)
    panel = short.panel(earlier=totals)
    assert np.flatnonzero(~on_sale_ahead(panel, panel.origin, 28).any(axis=0)).tolist() == [425 - 420]
    assert on_sale_ahead(short.panel(), 319, 28).all()


@pytest.mark.parametrize("learner", ["lightgbm", "hist_gradient_boosting"])
def test_a_season_of_the_years_before_comes_again(learner: str) -> None:
    n_days = 3 * 365 + 20
    retailer = make_retailer(2, 12, n_days, rate=30.0, plans=False, seed=8)
    # The third week after each year's day 20 sells twice as much.
    day = (pl.col("sold_on") - FIRST_DAY).dt.total_days() % 364
    high = retailer.daily.with_columns(
        quantity=pl.when(day.is_between(34, 47)).then(pl.col("quantity") * 2).otherwise("quantity")
    )
    panel = retailer.with_sales(high).panel(history_days_max=1_200)
    history, coding = group_history(panel, panel.origin, 28, 2_200), coding_of(panel)
    trees = grow_on_totals(history, coding, learner, 1, 1)  # type: ignore[arg-type]
    assert trees is not None
    forecast = forecast_by_trees(trees, history, coding, 1)
    total = forecast[~np.isnan(forecast).any(axis=1)].sum(axis=0)
    ahead = (np.arange(n_days, n_days + 28)) % 364
    is_high = (ahead >= 34) & (ahead <= 47)
    plain = WEEK[np.arange(n_days, n_days + 28) % 7]
    assert (total / plain)[is_high].mean() > 1.4 * (total / plain)[~is_high].mean()
