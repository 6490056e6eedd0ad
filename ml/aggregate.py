"""The sales of whole departments, forecast on their own, to correct the sum of the single forecasts.

Guarantee: reads no day after the origin; a correction is between `FACTOR_MIN` and `FACTOR_MAX`, and is 1 for
a department that sells too little, or too short a time, to be forecast on its own.

Errors of single series cancel in their sum, but those that they share (the week, a benefit day, a trend) do
not, and a department's total shows them clearly. Log-linear effects by ridge regression (Hoerl and Kennard,
1970), with knots for the slow trend; the level by simple exponential smoothing of sales ÷ effects. Smoothing
sales instead of their logarithms keeps the mean unbiased.
"""

import numpy as np
from numpy.typing import NDArray

from ml.metrics import summed
from ml.panel import Panel

HISTORY_DAYS_MIN = 112
HISTORY_DAYS_MAX = 730
UNITS_MIN = 20.0
"""Units a day in the last eight weeks, below which a department is left alone."""
KNOT_DAYS = 45
SMOOTHING = 0.15
SHARE = 0.5
"""Share of the way, on a log scale, from the sum of the single forecasts to the department's own."""
FACTOR_MIN, FACTOR_MAX = 0.7, 1.4
RIDGE_EFFECT = 1.0
RIDGE_KNOT = 30.0
RIDGE_INTERCEPT = 1e-6
NEAR_EVENT_DAYS = 4
GROUPS_AT_ONCE = 512

FloatArray = NDArray[np.float64]


def correction(panel: Panel, origin: int, mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """What to multiply single forecasts with, so that departments come nearer to their own forecast.

    Args:
        panel: The panel.
        origin: Day index of the origin.
        mean: (n_series, horizon) single forecasts, 0 where not on sale.

    Returns:
        (n_groups, horizon) factors.
    """
    n_groups, horizon_days = panel.codes.n_groups, mean.shape[1]
    factor = np.ones((n_groups, horizon_days), dtype=np.float32)
    if origin + 1 < HISTORY_DAYS_MIN or not n_groups:
        return factor
    first = max(0, origin + 1 - HISTORY_DAYS_MAX)
    codes = panel.codes.group.astype(np.int64)
    sold = summed(panel.quantity[:, first : origin + 1], codes)
    bottom_up = summed(mean, codes)
    of_group = np.zeros(n_groups, dtype=np.int64)
    of_group[codes] = np.arange(panel.n_series)
    location, region = panel.codes.location[of_group], panel.codes.region[of_group]
    open_days = ~panel.shut[location, first : origin + 1]
    large = np.flatnonzero(sold[:, -56:].mean(axis=1) >= UNITS_MIN)
    for start in range(0, len(large), GROUPS_AT_ONCE):
        chosen = large[start : start + GROUPS_AT_ONCE]
        own = _forecast(panel, first, horizon_days, region[chosen], sold[chosen], open_days[chosen])
        usable = (bottom_up[chosen] > 0) & (own > 0)
        ratio = np.where(usable, own / np.where(usable, bottom_up[chosen], 1), 1)
        factor[chosen] = np.clip(ratio**SHARE, FACTOR_MIN, FACTOR_MAX)
    return factor


def _forecast(
    panel: Panel,
    first: int,
    horizon_days: int,
    region: NDArray[np.int32],
    sold: FloatArray,
    open_days: NDArray[np.bool_],
) -> FloatArray:
    """Forecast totals.

    Args:
        panel: The panel.
        first: Day index of the first day of `sold`.
        horizon_days: Days to forecast.
        region: (n_groups,) region of each group.
        sold: (n_groups, n_days) units.
        open_days: (n_groups, n_days) false on days that say nothing.

    Returns:
        (n_groups, horizon_days) units.
    """
    n_days = sold.shape[1]
    effects, knots = _design(panel, first, n_days + horizon_days), _knots(n_days)
    n_effects = effects.shape[2]
    ridge = np.concatenate(
        [np.full(n_effects, RIDGE_EFFECT), np.full(knots.shape[1], RIDGE_KNOT), [RIDGE_INTERCEPT]]
    )
    forecast = np.empty((len(sold), horizon_days))
    for number in np.unique(region):
        members = np.flatnonzero(region == number)
        x = np.concatenate([effects[number, :n_days], knots, np.ones((n_days, 1))], axis=1)
        # A day without any sale has no logarithm; half a unit stands for it.
        y, weight = np.log(np.maximum(sold[members], 0.5)), open_days[members].astype(np.float64)
        gram = np.einsum("ti,gt,tj->gij", x, weight, x, optimize=True) + np.diag(ridge)
        beta = np.linalg.solve(gram, np.einsum("ti,gt->gi", x, weight * y)[:, :, None])[:, :n_effects, 0]
        effect = np.exp(beta @ effects[number].T)
        forecast[members] = effect[:, n_days:] * _level(sold[members] / effect[:, :n_days], weight)[:, None]
    return forecast


def _design(panel: Panel, first: int, n_days: int) -> FloatArray:
    """What a day is: weekday, part of the month, events and the days around them.

    Returns:
        (n_regions, n_days, n_effects).
    """
    calendar = panel.calendar
    days = panel.days[first : first + n_days]
    weekday = (days.astype(np.int64) + 3) % 7
    part = np.minimum((days - days.astype("datetime64[M]")).astype(np.int64) // 5, 5)
    dated = np.concatenate([np.eye(7)[weekday], np.eye(6)[part]], axis=1)
    window = slice(first, first + n_days)
    to_next, since = calendar.days_to_next[:, window], calendar.days_since_last[:, window]
    near = [to_next == number for number in range(1, NEAR_EVENT_DAYS)] + [since == 1]
    shape = (len(calendar.regions), n_days)
    return np.concatenate(
        [np.broadcast_to(dated, (*shape, dated.shape[1])), calendar.flags[:, window], np.stack(near, axis=2)],
        axis=2,
    ).astype(np.float64)


def _knots(n_days: int) -> FloatArray:
    """Piecewise linear functions for the slow trend, one every `KNOT_DAYS` before the end."""
    at = np.arange(n_days - 1 - KNOT_DAYS, KNOT_DAYS // 2, -KNOT_DAYS)
    trend: FloatArray = np.maximum(np.arange(n_days)[:, None] - at, 0) / KNOT_DAYS
    return trend


def _level(clean: FloatArray, weight: FloatArray) -> FloatArray:
    """Simple exponential smoothing to the last day; days without weight are passed over.

    Returns:
        (n_groups,).
    """
    decay = SMOOTHING * (1 - SMOOTHING) ** np.cumsum(weight[:, ::-1], axis=1)[:, ::-1] * weight
    level: FloatArray = (clean * decay).sum(axis=1) / decay.sum(axis=1)
    return level
