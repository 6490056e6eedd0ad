"""How good a forecast was. All functions take matrices and answer with one number, or one a series.

Guarantee: cells whose actual is NaN (not on sale, unknown) count nowhere. A metric without any cell, or whose
divisor is 0, is NaN. Positive bias means that too much was forecast.

Sources: WAPE and bias: Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., 5.8. RMSSE
    and
WRMSSE: The M5 Competition, Competitors' Guide (2020). Scaled pinball loss: the same guide, part
    "Uncertainty".
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def wape(actual: Array, mean: Array) -> float:
    """Sum of absolute errors ÷ sum of actuals.

    Args:
        actual: (n_series, n_days) units; NaN is left out.
        mean: (n_series, n_days) forecast units.
    """
    known = ~np.isnan(actual)
    error = np.where(known, np.abs(mean - np.nan_to_num(actual)), 0).sum(dtype=np.float64)
    return _divided(error, np.nansum(actual, dtype=np.float64))


def bias(actual: Array, mean: Array) -> float:
    """(Sum of forecasts − sum of actuals) ÷ sum of actuals: above 0 when too much was forecast.

    Args:
        actual: (n_series, n_days) units; NaN is left out.
        mean: (n_series, n_days) forecast units.
    """
    known = ~np.isnan(actual)
    error = np.where(known, mean - np.nan_to_num(actual), 0).sum(dtype=np.float64)
    return _divided(error, np.nansum(actual, dtype=np.float64))


def scale(history: Array, *, squared: bool = True) -> NDArray[np.float64]:
    """Mean squared (or absolute) difference of consecutive days, from a series' first sale on.

    Args:
        history: (n_series, n_days) units; NaN counts as 0, as in the competition's data.
        squared: The RMSSE's denominator; otherwise that of the scaled pinball loss.

    Returns:
        (n_series,); NaN for a series with fewer than two days since its first sale.
    """
    sold = np.nan_to_num(history)
    if sold.shape[1] < 2:
        return np.full(len(sold), np.nan)
    started = np.maximum.accumulate(sold > 0, axis=1)[:, :-1]
    step = np.diff(sold, axis=1).astype(np.float64)
    step = step**2 if squared else np.abs(step)
    count = started.sum(axis=1)
    return np.where(count > 0, (step * started).sum(axis=1) / np.maximum(count, 1), np.nan)


def rmsse(actual: Array, mean: Array, history: Array) -> NDArray[np.float64]:
    """Root mean squared error ÷ root of the history's scale, for each series.

    Args:
        actual: (n_series, n_days) units; NaN is left out.
        mean: (n_series, n_days) forecast units.
        history: (n_series, n_days_before) units up to the origin.

    Returns:
        (n_series,); NaN where the scale is 0 or unknown, or no actual is known.
    """
    known = ~np.isnan(actual)
    squared = np.where(known, mean - np.nan_to_num(actual), 0).astype(np.float64) ** 2
    days, base = known.sum(axis=1), scale(history)
    usable = (days > 0) & (base > 0)
    return np.where(
        usable,
        np.sqrt(squared.sum(axis=1) / np.maximum(days, 1) / np.where(usable, base, 1)),
        np.nan,
    )


def summed(values: Array, codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum rows by group.

    Args:
        values: (n_series, n_days); NaN counts as 0.
        codes: (n_series,) numbers from 0 without gaps.

    Returns:
        (n_groups, n_days).
    """
    if not len(codes):
        return np.zeros((0, values.shape[1]))
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return np.add.reduceat(np.nan_to_num(values).astype(np.float64)[order], starts, axis=0)


def wrmsse(
    actual: Array,
    mean: Array,
    history: Array,
    revenue: Array,
    levels: Mapping[str, NDArray[np.int64]],
) -> dict[str, float]:
    """Weighted RMSSE of each level.

    Args:
        actual: (n_series, n_days) units; NaN is left out, of the forecast as well.
        mean: (n_series, n_days) forecast units.
        history: (n_series, n_days_before) units up to the origin.
        revenue: (n_series,) money taken in the last 28 days of the history; the weight of each series.
        levels: By level (n_series,) group numbers from 0 without gaps.

    Returns:
        By level the weighted mean of its groups' RMSSE, groups without a scale left out; the mean of the
        levels under "all". NaN without revenue.
    """
    counted = np.where(np.isnan(actual), 0, mean)
    scores = {}
    for level, codes in levels.items():
        score = rmsse(summed(actual, codes), summed(counted, codes), summed(history, codes))
        weight = np.bincount(codes, revenue) if len(codes) else np.zeros(0)
        weight = np.where(np.isnan(score), 0, weight)
        scores[level] = _divided(float((weight * np.nan_to_num(score)).sum()), float(weight.sum()))
    scores["all"] = float(np.mean(list(scores.values()))) if scores else float("nan")
    return scores


def scaled_pinball(
    actual: Array, quantiles: Array, probabilities: tuple[float, ...], history: Array
) -> float:
    """Mean pinball loss of all quantiles and days, ÷ the history's mean absolute step, averaged over series.

    Args:
        actual: (n_series, n_days) units; NaN is left out.
        quantiles: (n_series, n_days, n_quantiles) forecast units.
        probabilities: Of the quantiles.
        history: (n_series, n_days_before) units up to the origin.
    """
    levels = np.asarray(probabilities, dtype=np.float32)
    known = ~np.isnan(actual)
    gap = np.nan_to_num(actual)[:, :, None] - quantiles
    loss = np.maximum(levels * gap, (levels - 1) * gap).mean(axis=2)
    base, days = scale(history, squared=False), known.sum(axis=1)
    usable = (days > 0) & (base > 0)
    if not usable.any():
        return float("nan")
    by_series = np.where(known, loss, 0).sum(axis=1, dtype=np.float64)[usable] / days[usable] / base[usable]
    return float(by_series.mean())


def coverage(actual: Array, lower: Array, upper: Array) -> float:
    """Share of actuals from `lower` to `upper`, both included.

    Args:
        actual: (n_series, n_days) units; NaN is left out.
        lower: (n_series, n_days) lower quantile.
        upper: (n_series, n_days) upper quantile.
    """
    known = ~np.isnan(actual)
    inside = (actual >= lower) & (actual <= upper) & known
    return _divided(float(inside.sum()), float(known.sum()))


def _divided(upper: float, lower: float) -> float:
    return float(upper / lower) if lower > 0 else float("nan")
