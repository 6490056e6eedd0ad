"""Forecasts by smoothing each series alone, all series at once: exponential smoothing, and TSB for rare sales.

Guarantee: they need one day of history and no price, event or department; no day after the origin is read.

A day is its level times the weekday factor of its location's department. Simple exponential smoothing: Brown
(1956). TSB smooths how often something is sold and how much apart, and lets a product that stopped selling
fade (Teunter, Syntetos and Babai, 2011), which Croston's method (1972) does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ml.levels import MEAN_MIN, look_back
from ml.models import Forecast, check_horizon, forecast_around
from ml.panel import Panel, on_sale_ahead
from ml.quantiles import Dispersion, calibrate

SMOOTHING = 0.07
SIZE_SMOOTHING, OFTEN_SMOOTHING = 0.1, 0.05
"""Of TSB: how fast the size of a sale, and how fast its frequency are forgotten."""

FloatArray = NDArray[np.float32]
Kind = Literal["exponential_smoothing", "tsb"]


@dataclass(frozen=True, slots=True)
class FittedSmoothing:
    """A way of smoothing with its dispersion; see `Smoothing`."""

    name: Kind
    dispersion: Dispersion
    notes: tuple[str, ...] = ()

    def predict(self, panel: Panel, origin: int, horizon_days: int) -> Forecast:
        """See `models.FittedModel.predict`."""
        check_horizon(panel, origin, horizon_days)
        mean = _mean(self.name, panel, origin, horizon_days)
        return forecast_around(panel, origin, mean, self.dispersion, model=self.name, notes=self.notes)


@dataclass(frozen=True, slots=True)
class Smoothing:
    """Each series smoothed alone; quantiles negative binomial around it.

    Attributes:
        name: Which way: `exponential_smoothing`, or `tsb`.
    """

    name: Kind = "exponential_smoothing"

    def fit(self, panel: Panel, origin: int, horizon_days: int) -> FittedSmoothing:
        """Learn the dispersion from the days before the origin, forecast as of a horizon earlier."""
        check_horizon(panel, origin, horizon_days)
        earlier = origin - horizon_days
        if earlier < 0:
            return FittedSmoothing(self.name, Dispersion())
        mean = _mean(self.name, panel, earlier, horizon_days)
        mean = np.where(on_sale_ahead(panel, earlier, horizon_days), mean, 0)
        return FittedSmoothing(self.name, calibrate(mean, panel.quantity[:, earlier + 1 : origin + 1]))


def _mean(kind: Kind, panel: Panel, origin: int, horizon_days: int) -> FloatArray:
    back = look_back(panel, origin)
    factor = np.maximum(back.week_factor, MEAN_MIN)
    # Slot j of a week stands for the days 1 + j, 8 + j, … after the origin.
    slot = (np.arange(origin + 1) - origin - 1) % 7
    own = panel.codes.group

    def clean(day: int) -> FloatArray:
        units: FloatArray = panel.quantity[:, day] / factor[own, slot[day]]
        return units

    smooth = {"exponential_smoothing": smoothed, "tsb": smoothed_by_parts}[kind]
    level = smooth(clean, origin + 1, panel.n_series)
    level = np.where(np.isnan(level), back.level, level)
    mean: FloatArray = (level[:, None] * factor[own][:, np.arange(horizon_days) % 7]).astype(np.float32)
    return mean


def smoothed(day_of: Callable[[int], FloatArray], n_days: int, n_series: int) -> FloatArray:
    """Simple exponential smoothing from the first day on sale on; other days are passed over.

    Until a series has as many days as the smoothing reaches back, its level is their plain mean.

    Args:
        day_of: Tells the (n_series,) units of a day; NaN where not on sale.
        n_days: Days to smooth over.
        n_series: Number of series.

    Returns:
        (n_series,) units a day; NaN for a series that was never on sale.
    """
    level, seen = np.zeros(n_series), np.zeros(n_series)
    for day in range(n_days):
        units = day_of(day)
        known = ~np.isnan(units)
        seen += known
        weight = np.maximum(SMOOTHING, 1 / np.maximum(seen, 1))
        level = np.where(known, level + weight * (np.nan_to_num(units) - level), level)
    return np.where(seen > 0, level, np.nan).astype(np.float32)


def smoothed_by_parts(day_of: Callable[[int], FloatArray], n_days: int, n_series: int) -> FloatArray:
    """TSB: the smoothed share of days with a sale, times the smoothed size of such a day.

    Args and result as of `smoothed`.
    """
    often, size = np.zeros(n_series), np.zeros(n_series)
    seen, sold_days = np.zeros(n_series), np.zeros(n_series)
    for day in range(n_days):
        units = np.asarray(day_of(day))
        known, sold = ~np.isnan(units), units > 0
        seen += known
        sold_days += sold
        weight = np.maximum(OFTEN_SMOOTHING, 1 / np.maximum(seen, 1))
        often = np.where(known, often + weight * (sold - often), often)
        weight = np.maximum(SIZE_SMOOTHING, 1 / np.maximum(sold_days, 1))
        size = np.where(sold, size + weight * (np.nan_to_num(units) - size), size)
    return np.where(seen > 0, often * size, np.nan).astype(np.float32)
