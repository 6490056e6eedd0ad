"""Errors by location, department, volume and week ahead, against a twin that is written with loops."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from ml.backtest import backtest, outcome
from ml.baselines import SeasonalNaive, WeekdayMean
from ml.models import Forecast
from ml.panel import Panel
from ml.quantiles import VOLUME_EDGES
from ml.slices import LEVELS, NO_HISTORY, VOLUME_DAYS, FloatArray, errors_by_slice, summed_cells, value_added

ORIGINS = (180, 230)


def judged(panel: Panel, origin: int) -> tuple[FloatArray, Forecast]:
    forecast = WeekdayMean().fit(panel, origin, 28).predict(panel, origin, 28)
    actual = outcome(panel, origin, 28)
    actual[3, 5:9] = np.nan
    return actual, forecast


def errors(panel: Panel, actual: FloatArray, forecast: Forecast, model: str = "m") -> pl.DataFrame:
    return errors_by_slice(model, [summed_cells(panel, 200, actual, forecast)])


def naive_key(panel: Panel, level: str, origin: int, series: int, ahead: int) -> str:
    if level == "location":
        return panel.codes.locations[int(panel.codes.location[series])]
    if level == "department":
        return panel.codes.departments[int(panel.codes.department[series])]
    if level == "week ahead":
        return f"days {ahead // 7 * 7 + 1} to {ahead // 7 * 7 + 7}"
    past = [float(units) for units in panel.quantity[series, origin + 1 - VOLUME_DAYS : origin + 1]]
    past = [units for units in past if not math.isnan(units)]
    if not past:
        return NO_HISTORY
    mean = sum(past) / len(past)
    if mean <= VOLUME_EDGES[0]:
        return f"up to {VOLUME_EDGES[0]:g} a day"
    low = max(edge for edge in VOLUME_EDGES if edge < mean)
    higher = [edge for edge in VOLUME_EDGES if edge >= mean]
    return f"over {low:g} up to {higher[0]:g} a day" if higher else f"over {low:g} a day"


@pytest.mark.parametrize("level", LEVELS)
def test_errors_agree_with_their_twin(panel: Panel, level: str) -> None:
    parts = []
    cells: dict[str, list[tuple[float, float, bool]]] = {}
    for origin in ORIGINS:
        actual, forecast = judged(panel, origin)
        parts.append(summed_cells(panel, origin, actual, forecast))
        low, *_, high = np.moveaxis(forecast.quantiles, 2, 0).tolist()
        sold, mean = actual.tolist(), forecast.mean.tolist()
        for series in range(panel.n_series):
            for ahead in range(28):
                units = sold[series][ahead]
                if not math.isnan(units):
                    inside = low[series][ahead] <= units <= high[series][ahead]
                    key = naive_key(panel, level, origin, series, ahead)
                    cells.setdefault(key, []).append((units, mean[series][ahead], inside))
    found = errors_by_slice("weekday_mean", parts).filter(pl.col("level") == level)
    assert set(found["key"]) == set(cells)
    for row in found.iter_rows(named=True):
        own = cells[row["key"]]
        whole = sum(units for units, _, _ in own)
        assert row["quantity"] == pytest.approx(whole)
        assert row["wape"] == pytest.approx(sum(abs(forecast - units) for units, forecast, _ in own) / whole)
        assert row["bias"] == pytest.approx(
            sum(forecast - units for units, forecast, _ in own) / whole, abs=1e-6
        )
        assert row["coverage_90"] == pytest.approx(sum(inside for *_, inside in own) / len(own))


def test_the_rows_of_each_level_add_up_to_the_whole_and_stand_in_their_order(panel: Panel) -> None:
    actual, forecast = judged(panel, 200)
    found = errors(panel, actual, forecast)
    whole = float(np.nansum(actual, dtype=np.float64))
    sums = found.group_by("level", maintain_order=True).agg(pl.col("quantity").sum())
    assert sums["level"].to_list() == list(LEVELS)
    assert sums["quantity"].to_list() == pytest.approx([whole] * len(LEVELS))
    weeks = found.filter(pl.col("level") == "week ahead")["key"].to_list()
    assert weeks == ["days 1 to 7", "days 8 to 14", "days 15 to 21", "days 22 to 28"]


def test_what_nobody_bought_has_no_rate(panel: Panel) -> None:
    actual, forecast = judged(panel, 200)
    found = errors(panel, np.where(np.isnan(actual), actual, np.float32(0)), forecast)
    assert found["wape"].is_nan().all()
    assert found["bias"].is_nan().all()
    assert found["quantity"].sum() == 0


def test_value_added_is_the_share_of_the_baselines_error_that_is_gone(panel: Panel) -> None:
    tried = backtest(panel, [SeasonalNaive(), WeekdayMean()], ORIGINS, 28).groups
    found = value_added(tried, "seasonal_naive")
    assert found["model"].unique().to_list() == ["weekday_mean"]
    wapes = {(row["model"], row["level"], row["key"]): row["wape"] for row in tried.iter_rows(named=True)}
    for row in found.iter_rows(named=True):
        own, naive = (wapes[model, row["level"], row["key"]] for model in ("weekday_mean", "seasonal_naive"))
        assert row["value_added"] == pytest.approx((naive - own) / naive)
    assert found["value_added"].min() is not None
    assert found.filter(pl.col("level") == "location")["value_added"].to_numpy().mean() > 0.1


def test_a_baseline_without_error_or_without_a_forecast_has_no_value_to_compare_with(panel: Panel) -> None:
    actual, forecast = judged(panel, 200)
    right = replace(forecast, mean=np.nan_to_num(actual))
    rows = pl.concat([errors(panel, actual, forecast), errors(panel, actual, right, "right")])
    assert value_added(rows, "right")["value_added"].is_null().all()
    assert value_added(rows, "absent")["value_added"].is_null().all()
