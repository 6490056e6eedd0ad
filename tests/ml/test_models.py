"""What every model promises, and what each does with little or nothing to learn from."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from infra.errors import FaultError
from ml.baselines import FittedWeekdayMean, SeasonalNaive, WeekdayMean
from ml.features import coding_of
from ml.global_trees import FittedTrees, GlobalTrees, training_rows
from ml.levels import look_back
from ml.matrices import NEVER
from ml.models import FittedModel, Forecast, Model
from ml.panel import Panel
from ml.quantiles import LEVELS
from ml.smoothing import Smoothing
from tests.ml.conftest import Retailer, make_retailer

TREES = GlobalTrees(rows_max=4_000, trees=25, learning_rate=0.15)
HIST_TREES = GlobalTrees(rows_max=4_000, trees=25, learning_rate=0.15, learner="hist_gradient_boosting")
MODELS: tuple[Model, ...] = (
    SeasonalNaive(),
    WeekdayMean(),
    Smoothing(),
    Smoothing("tsb"),
    TREES,
    HIST_TREES,
)


@pytest.fixture(scope="session")
def fitted(panel: Panel) -> FittedModel:
    return TREES.fit(panel, panel.origin, 28)


def check(panel: Panel, forecast: Forecast, horizon_days: int) -> None:
    assert forecast.mean.shape == (panel.n_series, horizon_days)
    assert forecast.quantiles.shape == (panel.n_series, horizon_days, len(LEVELS))
    assert np.isfinite(forecast.mean).all()
    assert np.isfinite(forecast.quantiles).all()
    assert (forecast.mean >= 0).all()
    assert (forecast.quantiles >= 0).all()
    assert (np.diff(forecast.quantiles, axis=2) >= 0).all()
    assert not forecast.mean[~forecast.on_sale].any()
    assert not forecast.quantiles[~forecast.on_sale].any()


@pytest.mark.parametrize(
    "model", MODELS, ids=["naive", "weekday mean", "smoothing", "tsb", "trees", "scikit-learn's trees"]
)
@pytest.mark.parametrize(
    ("locations", "products", "days", "rate"),
    [
        (4, 12, 260, 2.0),
        (4, 6, 60, 2.0),
        (1, 1, 120, 1.0),
        (2, 2, 3, 3.0),
        (1, 1, 1, 9.0),
        (2, 3, 90, 0.004),
        (2, 2, 40, 0.0),
    ],
)
@pytest.mark.parametrize("plans", [True, False], ids=["plans", "no plans"])
def test_a_model_forecasts_any_retailer(
    model: Model, locations: int, products: int, days: int, rate: float, plans: bool
) -> None:
    panel = make_retailer(locations, products, days, rate, plans=plans).panel()
    forecast = model.fit(panel, panel.origin, 28).predict(panel, panel.origin, 28)
    assert forecast.model == model.name
    check(panel, forecast, 28)


def test_the_seasonal_naive_repeats_last_week(panel: Panel) -> None:
    forecast = SeasonalNaive().predict(panel, 200, 14)
    np.testing.assert_array_equal(forecast.mean[:, :7], panel.quantity[:, 194:201])
    np.testing.assert_array_equal(forecast.mean[:, 7:], panel.quantity[:, 194:201])


def test_the_seasonal_naive_spreads_by_its_own_errors(panel: Panel) -> None:
    forecast = SeasonalNaive().predict(panel, 200, 7)
    errors = panel.quantity[:, 145:201] - panel.quantity[:, 138:194]
    expected = np.quantile(errors, LEVELS, axis=1).T[:, None, :] + forecast.mean[:, :, None]
    np.testing.assert_allclose(forecast.quantiles, np.maximum(expected, 0), atol=1e-4)


def test_the_weekday_mean_is_the_mean_of_eight_weeks(panel: Panel) -> None:
    forecast = WeekdayMean().fit(panel, 200, 7).predict(panel, 200, 7)
    expected = panel.quantity[:, 145:201].reshape(-1, 8, 7).mean(axis=1)
    np.testing.assert_allclose(forecast.mean, expected, rtol=1e-5)


def test_trees_are_fitted_where_there_is_enough_and_say_nothing(fitted: FittedModel) -> None:
    assert isinstance(fitted, FittedTrees)
    assert fitted.notes == ()


def test_a_short_history_is_left_to_the_weekday_mean_with_the_reason() -> None:
    panel = make_retailer(20, 20, 60).panel()
    fitted = TREES.fit(panel, panel.origin, 28)
    assert isinstance(fitted, FittedWeekdayMean)
    assert fitted.name == TREES.name
    assert fitted.notes == ("60 days of history, 63 are needed: the weekday mean stands in.",)
    forecast = fitted.predict(panel, panel.origin, 28)
    assert forecast.notes == fitted.notes
    baseline = WeekdayMean().fit(panel, panel.origin, 28).predict(panel, panel.origin, 28)
    np.testing.assert_array_equal(forecast.mean, baseline.mean)


def test_few_series_are_left_to_the_weekday_mean_with_the_reason() -> None:
    panel = make_retailer(1, 2, 400, plans=False).panel()
    assert "are needed" in TREES.fit(panel, panel.origin, 28).notes[0]


def test_trees_use_a_promotion_that_is_known_ahead(fitted: FittedModel, retailer: Retailer) -> None:
    assert retailer.prices is not None
    dear = retailer.prices.with_columns(
        unit_price=pl.when("promotion").then(pl.col("unit_price") / 0.7).otherwise("unit_price"),
        promotion=pl.lit(value=False),
    )
    panel, without = retailer.panel(), replace(retailer, prices=dear).panel()
    promoted = panel.promotion[:, panel.origin + 1 :]
    assert promoted.any()
    high, low = (fitted.predict(each, each.origin, 28).mean[promoted].sum() for each in (panel, without))
    assert high > 1.15 * low


def test_a_fit_sees_no_day_after_its_origin(retailer: Retailer) -> None:
    early = retailer.last_day - timedelta(days=40)
    late_sales = retailer.daily.with_columns(
        quantity=pl.when(pl.col("sold_on") > early).then(pl.lit(500.0)).otherwise("quantity")
    )
    panels = retailer.panel(), retailer.with_sales(late_sales).panel()
    origin = panels[0].day_index(early)
    forecasts = [TREES.fit(panel, origin, 28).predict(panel, origin, 28) for panel in panels]
    assert forecasts[0].mean.tobytes() == forecasts[1].mean.tobytes()
    assert forecasts[0].quantiles.tobytes() == forecasts[1].quantiles.tobytes()


def test_training_rows_keep_their_bound_and_look_no_further_than_the_origin(panel: Panel) -> None:
    coding = coding_of(panel)
    found = training_rows(panel, coding, 150, 28, 2_000, 1)
    assert found is not None
    features, target = found
    assert 1_500 < len(features) <= 2_000
    assert len(target) == len(features)
    again = training_rows(panel, coding, 150, 28, 2_000, 1)
    assert again is not None
    np.testing.assert_array_equal(again[0], features)


def test_a_series_that_ended_is_forecast_zero_and_a_new_one_by_its_peers(
    fitted: FittedModel, retailer: Retailer
) -> None:
    assert retailer.prices is not None
    ended = retailer.products.with_columns(
        ended_on=pl.when(pl.col("product_id") == "p3").then(pl.lit(retailer.last_day)).cast(pl.Date)
    )
    coming = retailer.prices.filter(pl.col("product_id") == "p4").with_columns(
        product_id=pl.lit("new"), valid_from=retailer.last_day + timedelta(days=1)
    )
    added = pl.concat([ended, pl.DataFrame({"product_id": ["new"], "department": ["d1"]})], how="diagonal")
    panel = replace(retailer, products=added, prices=pl.concat([retailer.prices, coming])).panel()
    ids = panel.series["product_id"].to_numpy()
    assert (panel.first_sale[ids == "new"] == NEVER).all()
    for model in (SeasonalNaive(), WeekdayMean(), TREES):
        chosen = fitted if model is TREES else model.fit(panel, panel.origin, 28)
        forecast = chosen.predict(panel, panel.origin, 28)
        check(panel, forecast, 28)
        assert not forecast.mean[ids == "p3"].any()
        usual = look_back(panel, panel.origin).level[ids != "p3"].mean()
        assert 0.1 * usual < forecast.mean[ids == "new"].mean() < 3 * usual


def test_days_that_the_panel_does_not_hold_are_refused(panel: Panel) -> None:
    for origin, horizon_days in ((panel.origin + 1, 5), (panel.origin, 29), (panel.origin, 0), (-1, 3)):
        with pytest.raises(FaultError, match="panel"):
            SeasonalNaive().predict(panel, origin, horizon_days)
