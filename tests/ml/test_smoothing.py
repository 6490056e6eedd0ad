"""Smoothing of all series at once, against the same recursion written for one series."""

import numpy as np
import pytest

from ml.levels import FloatArray
from ml.panel import Panel
from ml.smoothing import (
    OFTEN_SMOOTHING,
    SIZE_SMOOTHING,
    SMOOTHING,
    Smoothing,
    smoothed,
    smoothed_by_parts,
)
from tests.ml.conftest import make_retailer


@pytest.fixture(scope="module")
def sales() -> FloatArray:
    """Ten series of rare sales, some not on sale at first or now and then, one never."""
    random = np.random.default_rng(2)
    units = random.poisson(0.6, (10, 120)).astype(np.float32)
    units[random.random(units.shape) < 0.1] = np.nan
    units[3, :60] = np.nan
    units[9] = np.nan
    return units


def by_hand(units: list[float]) -> float:
    level, seen = 0.0, 0
    for value in units:
        if value == value:
            seen += 1
            level += max(SMOOTHING, 1 / seen) * (value - level)
    return level if seen else float("nan")


def by_hand_in_parts(units: list[float]) -> float:
    often = size = 0.0
    seen = sold = 0
    for value in units:
        if value == value:
            seen += 1
            often += max(OFTEN_SMOOTHING, 1 / seen) * (float(value > 0) - often)
            if value > 0:
                sold += 1
                size += max(SIZE_SMOOTHING, 1 / sold) * (value - size)
    return often * size if seen else float("nan")


def test_smoothing_all_at_once_is_smoothing_one_by_one(sales: FloatArray) -> None:
    found = smoothed(lambda day: sales[:, day], 120, 10)
    np.testing.assert_allclose(found, [by_hand(row.tolist()) for row in sales], rtol=1e-5)


def test_tsb_all_at_once_is_tsb_one_by_one(sales: FloatArray) -> None:
    found = smoothed_by_parts(lambda day: sales[:, day], 120, 10)
    np.testing.assert_allclose(found, [by_hand_in_parts(row.tolist()) for row in sales], rtol=1e-5)


def test_tsb_forgets_a_product_that_stopped_selling() -> None:
    units = np.concatenate([np.full(60, 2.0), np.zeros(60)]).astype(np.float32)[None]
    assert smoothed_by_parts(lambda day: units[:, day], 120, 1)[0] < 0.1


@pytest.mark.parametrize("kind", ["exponential_smoothing", "tsb"])
def test_a_steady_week_is_forecast_as_it_was(kind: str) -> None:
    panel: Panel = make_retailer(3, 12, 300, rate=8.0, plans=False).panel()
    origin = panel.origin - 28
    forecast = Smoothing(kind).fit(panel, origin, 28).predict(panel, origin, 28)  # type: ignore[arg-type]
    actual = panel.quantity[:, origin + 1 : origin + 29]
    assert forecast.mean.sum() == pytest.approx(np.nansum(actual), rel=0.1)
    by_weekday = forecast.mean.sum(axis=0)[:7] / np.nansum(actual, axis=0).reshape(4, 7).mean(axis=0)
    np.testing.assert_allclose(by_weekday, 1, atol=0.2)
