"""Quantiles of sums: of several days, of several products, or of both.

Guarantee: quantiles of a sum never cross, are never negative, and are 0 where every mean is 0; the same seed gives
    the same ones.

Quantiles do not add up. How far a sum may lie from its mean depends on what the errors of its parts share: a
forecast may be wrong for the whole horizon, for a day, or for a series, each time by a factor. So the sales of a
series s on a day d are taken as Poisson with the mean

    forecast(s, d) × H × D(d) × S(s) × E(s, d)

where the factors are independent gamma variables of mean 1. A product of means and factors has, for two cells that
share some of them, the covariance forecast × forecast' × (variance of what they share), whatever distribution the
factors have: the variances follow from past errors by moments (credibility theory; Bühlmann and Gisler, A Course in
Credibility Theory, 2005), of slow sellers as of fast ones. The sum is then drawn many times.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.metrics import summed
from ml.quantiles import LEVELS, N_CLASSES, VOLUME_EDGES

DRAWS = 2_000
VARIANCE_MAX = 9.0
"""Variance of a factor at most: beyond it the past held too little to tell."""
TINY = 1e-9

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SharedErrors:
    """Variances of the factors by which forecasts are wrong.

    Attributes:
        horizon: Of the factor of all cells that are forecast together.
        day: Of the factor of all series on one day.
        series: Of the factor of one series on all days, for each class of its mean day's volume, lowest first.
        own: Of the factor of a single cell, for each class of its volume.
    """

    horizon: float = 0.0
    day: float = 0.0
    series: tuple[float, ...] = (0.0,) * N_CLASSES
    own: tuple[float, ...] = (0.0,) * N_CLASSES


@dataclass(frozen=True, slots=True)
class Past:
    """A forecast whose outcome is known.

    Attributes:
        mean: (n_series, n_days) units that were forecast.
        actual: (n_series, n_days) units that were sold; NaN is left out.
        together: (n_series,) numbers from 0 without gaps of what is summed: the series of one location, say, when
            sums within a location are wanted. Only pairs of series with one number are looked at.
    """

    mean: FloatArray
    actual: FloatArray
    together: NDArray[np.int64]


def shared_errors(pasts: Iterable[Past]) -> SharedErrors:
    """Learn from past forecasts what their errors share.

    Args:
        pasts: One for each origin.

    Returns:
        The variances; all 0 without any outcome.
    """
    by_pair, by_series, by_cell = np.zeros((2, 2)), np.zeros((2, N_CLASSES)), np.zeros((2, N_CLASSES))
    for past in pasts:
        known = np.isfinite(past.actual) & (past.mean > 0)
        mean = np.where(known, past.mean, 0).astype(np.float64)
        error = np.where(known, past.actual, 0) - mean
        volume = np.searchsorted(VOLUME_EDGES, mean.sum(axis=1) / np.maximum(known.sum(axis=1), 1))
        by_pair += [_other_series(cells, past.together) for cells in (error, mean)]
        by_series += [np.bincount(volume, _other_days(cells), N_CLASSES) for cells in (error, mean)]
        # A Poisson day has the variance of its mean without any factor.
        of_cell = (error**2 - mean)[known], mean[known] ** 2
        volume = np.searchsorted(VOLUME_EDGES, mean[known])
        by_cell += [np.bincount(volume, cells, N_CLASSES) for cells in of_cell]
    of_day, horizon = 1 + _variances(*by_pair)
    day = max(of_day / horizon, 1.0)
    series = np.maximum((1 + _variances(*by_series)) / horizon, 1)
    own = np.clip((1 + _variances(*by_cell)) / (horizon * day * series) - 1, 0, VARIANCE_MAX)
    return SharedErrors(float(horizon - 1), float(day - 1), tuple((series - 1).tolist()), tuple(own.tolist()))


def sum_quantiles(
    mean: FloatArray,
    shared: SharedErrors,
    sums: NDArray[np.int64],
    *,
    probabilities: Sequence[float] = LEVELS,
    fractional: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Quantiles of sums over days and series.

    Args:
        mean: (n_series, n_days) forecast units a day, not negative: the days that are summed.
        shared: What the errors share.
        sums: (n_series,) number of the sum that each series belongs to, from 0 without gaps.
        probabilities: Of the quantiles, rising.
        fractional: (n_series,) true where quantities are not whole numbers, and so their sums; none are, when not
            given.
        seed: Of the draws.

    Returns:
        (n_sums, n_probabilities) units.
    """
    order = np.argsort(sums, kind="stable")
    ends = np.flatnonzero(np.diff(sums[order], append=-1)) + 1
    found = np.zeros((len(ends), len(probabilities)))
    for number, members in enumerate(np.split(order, ends[:-1]) if len(ends) else []):
        random = np.random.default_rng([seed, number])
        is_whole = fractional is None or not fractional[members].any()
        drawn = _draws(mean[members].astype(np.float64), shared, random, is_whole=is_whole)
        found[number] = np.quantile(drawn, probabilities, method="inverted_cdf")
    return found


def _draws(
    mean: NDArray[np.float64], shared: SharedErrors, random: np.random.Generator, *, is_whole: bool
) -> NDArray[np.float64]:
    """(DRAWS,) outcomes of one sum.

    Given the factors that cells share, the cells are independent: their sum is drawn at once, as negative binomial
    (or gamma) with the mean and the variance of the sum.
    """
    n_series, n_days = mean.shape
    own = np.asarray(shared.own)[np.searchsorted(VOLUME_EDGES, mean)]
    horizon = _factor(shared.horizon, (DRAWS, 1), random)
    day = horizon * _factor(shared.day, (DRAWS, n_days), random)
    series_volume = np.searchsorted(VOLUME_EDGES, mean.mean(axis=1))
    series = _factor(np.asarray(shared.series)[series_volume], (DRAWS, n_series), random)
    rate = (day * (series @ mean)).sum(axis=1)
    beyond = (day**2 * (series**2 @ (own * mean**2))).sum(axis=1)
    if is_whole:
        width = _factor(beyond / np.maximum(rate, TINY) ** 2, rate.shape, random)
        whole: NDArray[np.float64] = random.poisson(rate * width).astype(np.float64)
        return whole
    variance = np.maximum(rate + beyond, TINY)
    drawn: NDArray[np.float64] = random.gamma(rate**2 / variance) * variance / np.maximum(rate, TINY)
    return drawn


def _factor(
    variance: float | NDArray[np.float64], shape: tuple[int, ...], random: np.random.Generator
) -> NDArray[np.float64]:
    """Gamma variables of mean 1; exactly 1 where the variance is 0."""
    size = 1 / np.maximum(variance, TINY)
    return np.where(np.asarray(variance) > 0, random.gamma(size, size=shape) / size, 1.0)


def _other_days(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_series,) sums of products of each cell with the other days of its series."""
    products: NDArray[np.float64] = cells.sum(axis=1) ** 2 - (cells**2).sum(axis=1)
    return products


def _other_series(cells: NDArray[np.float64], together: NDArray[np.int64]) -> tuple[float, float]:
    """Sums of products of each cell with the other series of its day, and with other days of other series.

    Only series that belong together are looked at.
    """
    by_day = summed(cells, together)
    of_day = float((by_day**2).sum() - (cells**2).sum())
    of_all = float((by_day.sum(axis=1) ** 2).sum() - (cells.sum(axis=1) ** 2).sum())
    return of_day, of_all - of_day


def _variances(errors: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variances of factors from sums of products of errors and of means; 0 where there was nothing to learn from."""
    ratio = np.divide(errors, weights, out=np.zeros_like(errors), where=weights > 0)
    bounded: NDArray[np.float64] = np.clip(ratio, 0, VARIANCE_MAX)
    return bounded
