"""Models without learning, that every other has to beat: the same weekday last week, and of the last weeks.

Guarantee: they need one day of history and no price, event or department.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ml.levels import look_back
from ml.models import Forecast, check_horizon, forecast_around
from ml.panel import Panel, on_sale_ahead
from ml.quantiles import LEVELS, Dispersion, calibrate

RESIDUAL_DAYS = 56
FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SeasonalNaive:
    """Last week's same weekday; quantiles are those of the series' own errors in the last eight weeks.

    A weekday not on sale last week takes the series' level.
    """

    name: str = field(default="seasonal_naive", init=False)
    notes: tuple[str, ...] = field(default=(), init=False)

    def fit(self, panel: Panel, origin: int, horizon_days: int) -> "SeasonalNaive":
        """Nothing is learned: the model is its own fitted self."""
        check_horizon(panel, origin, horizon_days)
        return self

    def predict(self, panel: Panel, origin: int, horizon_days: int) -> Forecast:
        """See `models.FittedModel.predict`."""
        check_horizon(panel, origin, horizon_days)
        back = look_back(panel, origin)
        week = np.where(np.isnan(back.slot_last), back.level[:, None], back.slot_last)
        on_sale = on_sale_ahead(panel, origin, horizon_days)
        mean = np.where(on_sale, week[:, np.arange(horizon_days) % 7], 0).astype(np.float32)
        quantiles = mean[:, :, None] + _error_quantiles(panel, origin)[:, None, :]
        quantiles = np.where(on_sale[:, :, None], np.maximum(quantiles, 0), 0).astype(np.float32)
        return Forecast(self.name, panel.day(origin), mean, quantiles, on_sale)


def _error_quantiles(panel: Panel, origin: int) -> FloatArray:
    """Quantiles of y(t) − y(t − 7) over the last eight weeks.

    Returns:
        (n_series, 7), never decreasing; 0 for a series without any such pair.
    """
    window = panel.quantity[:, max(0, origin + 1 - RESIDUAL_DAYS - 7) : origin + 1]
    errors = np.sort(window[:, 7:] - window[:, :-7], axis=1)  # NaN sorts last.
    count = (~np.isnan(errors)).sum(axis=1)
    if not errors.shape[1]:
        return np.zeros((panel.n_series, len(LEVELS)), dtype=np.float32)
    # The linear rule of Hyndman and Fan (1996), type 7, over the errors that are known.
    place = np.asarray(LEVELS) * np.maximum(count - 1, 0)[:, None]
    lower = np.floor(place).astype(np.int64)
    upper = np.minimum(lower + 1, np.maximum(count - 1, 0)[:, None])
    low, high = np.take_along_axis(errors, lower, axis=1), np.take_along_axis(errors, upper, axis=1)
    result = np.where(count[:, None] > 0, low + (place - lower) * (high - low), 0)
    ordered: FloatArray = np.maximum.accumulate(result, axis=1).astype(np.float32)
    return ordered


@dataclass(frozen=True, slots=True)
class FittedWeekdayMean:
    """The weekday mean with its dispersion; see `WeekdayMean`."""

    dispersion: Dispersion
    notes: tuple[str, ...] = ()
    name: str = "weekday_mean"

    def predict(self, panel: Panel, origin: int, horizon_days: int) -> Forecast:
        """See `models.FittedModel.predict`."""
        check_horizon(panel, origin, horizon_days)
        mean = _weekday_mean(panel, origin, horizon_days)
        return forecast_around(panel, origin, mean, self.dispersion, model=self.name, notes=self.notes)


@dataclass(frozen=True, slots=True)
class WeekdayMean:
    """The mean of the same weekday in the last eight weeks; quantiles negative binomial around it.

    A weekday that was never on sale takes the series' level.

    Attributes:
        stands_in_for: Name of the model that could not be fitted, when this one takes its place.
        notes: Why it does.
    """

    stands_in_for: str = "weekday_mean"
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name that forecasts carry."""
        return self.stands_in_for

    def fit(self, panel: Panel, origin: int, horizon_days: int) -> FittedWeekdayMean:
        """Learn the dispersion from the days before the origin, forecast as of a horizon earlier."""
        check_horizon(panel, origin, horizon_days)
        earlier = origin - horizon_days
        if earlier < 0:
            return FittedWeekdayMean(Dispersion(), self.notes, self.name)
        mean = _weekday_mean(panel, earlier, horizon_days)
        mean = np.where(on_sale_ahead(panel, earlier, horizon_days), mean, 0)
        actual = panel.quantity[:, earlier + 1 : origin + 1]
        return FittedWeekdayMean(calibrate(mean, actual), self.notes, self.name)


def _weekday_mean(panel: Panel, origin: int, horizon_days: int) -> FloatArray:
    back = look_back(panel, origin)
    week = np.where(np.isnan(back.slot_mean), back.level[:, None], back.slot_mean)
    mean: FloatArray = week[:, np.arange(horizon_days) % 7]
    return mean
