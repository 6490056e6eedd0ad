"""The backtest: the same cells for all, on origins that do not move from day to day."""

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from ml.backtest import Backtest, backtest, backtest_origins, last_revenue, outcome
from ml.baselines import SeasonalNaive, WeekdayMean
from ml.models import Forecast, Model, check_horizon
from ml.panel import Panel, on_sale_ahead
from ml.quantiles import LEVELS
from tests.ml.conftest import Retailer, make_retailer


@dataclass(frozen=True)
class Oracle:
    """Forecasts what was sold, times a factor."""

    factor: float = 1.0
    name: str = "oracle"
    notes: tuple[str, ...] = ("It has seen the future.",)

    def fit(self, panel: Panel, origin: int, horizon_days: int) -> "Oracle":
        return self

    def predict(self, panel: Panel, origin: int, horizon_days: int) -> Forecast:
        check_horizon(panel, origin, horizon_days)
        mean = np.nan_to_num(panel.quantity[:, origin + 1 : origin + 1 + horizon_days]) * np.float32(
            self.factor
        )
        quantiles = np.repeat(mean[:, :, None], len(LEVELS), axis=2)
        on_sale = on_sale_ahead(panel, origin, horizon_days)
        return Forecast(self.name, panel.day(origin), mean, quantiles, on_sale, self.notes)


@pytest.fixture(scope="module")
def found(panel: Panel) -> Backtest:
    models: list[Model] = [SeasonalNaive(), WeekdayMean(), Oracle()]
    return backtest(panel, models, backtest_origins(panel, 3, 28), 28)


def test_a_forecast_that_is_right_has_no_error(found: Backtest) -> None:
    oracle = found.metrics.filter(pl.col("model") == "oracle")
    assert oracle.height == 4
    for metric, value in {
        "wape": 0,
        "bias": 0,
        "rmsse": 0,
        "wrmsse": 0,
        "pinball": 0,
        "coverage_90": 1,
    }.items():
        assert oracle[metric].to_list() == pytest.approx([value] * 4)


def test_a_forecast_ten_percent_too_high_has_that_bias_everywhere(panel: Panel) -> None:
    high = backtest(panel, [Oracle(1.1)], [200, 228], 28)
    assert high.metrics["bias"].to_list() == pytest.approx([0.1] * 3, rel=1e-4)
    assert high.metrics["wape"].to_list() == pytest.approx([0.1] * 3, rel=1e-4)
    assert high.groups["bias"].to_list() == pytest.approx([0.1] * high.groups.height, rel=1e-4)
    assert high.groups["level"].unique().sort().to_list() == [
        "department",
        "location",
        "volume",
        "week ahead",
    ]


def test_the_mean_over_origins_has_no_origin(found: Backtest) -> None:
    naive = found.metrics.filter(pl.col("model") == "seasonal_naive")
    overall = naive.filter(pl.col("origin").is_null())
    assert overall["wrmsse"].item() == pytest.approx(
        naive.filter(pl.col("origin").is_not_null())["wrmsse"].mean()
    )


def test_the_days_of_the_plot_add_up(found: Backtest, panel: Panel) -> None:
    for origin, rows in found.daily.filter(pl.col("model") == "weekday_mean").group_by("origin"):
        index = int((np.datetime64(origin[0]) - panel.days[0]).astype(int))
        assert rows.height == 28
        assert rows["actual"].sum() == pytest.approx(np.nansum(panel.quantity[:, index + 1 : index + 29]))


def test_notes_of_models_are_kept(found: Backtest) -> None:
    assert found.notes.filter(pl.col("model") == "oracle")["note"].unique().to_list() == [
        "It has seen the future."
    ]


def test_origins_stand_a_horizon_apart_and_their_outcome_is_known(panel: Panel) -> None:
    origins = backtest_origins(panel, 4, 28)
    assert len(origins) == 4
    assert set(np.diff(origins)) == {28}
    assert panel.origin - 56 < origins[-1] <= panel.origin - 28


def test_origins_of_neighbouring_days_are_mostly_the_same(retailer: Retailer) -> None:
    days = [retailer.last_day - timedelta(days=number) for number in range(29)]
    dates = []
    for day in days:
        panel = retailer.panel(origin=day)
        dates.append([panel.day(origin) for origin in backtest_origins(panel, 2, 10)])
    assert len({day for pair in dates for day in pair}) <= 5
    assert all(set(first) & set(second) for first, second in pairwise(dates))


def test_a_short_history_has_one_origin_or_none() -> None:
    for n_days, expected in ((41, []), (42, [13]), (45, [16]), (30, [])):
        panel = make_retailer(1, 1, n_days, plans=False, rate=50.0).panel()
        assert len(backtest_origins(panel, 1, 28)) == len(expected)
    panel = make_retailer(1, 1, 30, plans=False, rate=50.0).panel()
    empty = backtest(panel, [SeasonalNaive()], [], 28)
    assert empty.metrics.is_empty()
    assert empty.daily.is_empty()


def test_series_unknown_at_an_origin_are_not_judged(retailer: Retailer) -> None:
    cut = retailer.last_day - timedelta(days=10)
    late = retailer.daily.filter((pl.col("product_id") != "p0") | (pl.col("sold_on") > cut))
    prices = retailer.prices
    assert prices is not None
    panel = Retailer(late, retailer.locations, retailer.products, None, None, retailer.last_day).panel()
    actual = outcome(panel, panel.origin - 28, 28)
    assert np.isnan(actual[panel.series["product_id"].eq("p0").to_numpy()]).all()


def test_revenue_is_quantity_times_the_price_of_the_day(panel: Panel) -> None:
    expected = np.nansum(panel.quantity[:, 173:201].astype(float) * panel.price[:, 173:201], axis=1)
    np.testing.assert_allclose(last_revenue(panel, 200), expected, rtol=1e-5)
