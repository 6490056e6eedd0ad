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
        series: Of the factor of one series on all days.
        own: Of the factor of a single cell, for each class of volume, lowest first.
    """

    horizon: float = 0.0
    day: float = 0.0
    series: float = 0.0
    own: tuple[float, ...] = (0.0,) * N_CLASSES


@dataclass(frozen=True, slots=True)
class Past:
    """A forecast whose outcome is known.

    Attributes:
        mean: (n_series, n_days) units that were forecast.
        actual: (n_series, n_days) units that were sold; NaN is left out.
    """

    mean: FloatArray
    actual: FloatArray


def shared_errors(pasts: Iterable[Past], together: NDArray[np.int64]) -> SharedErrors:
    """Learn from past forecasts what their errors share.

    Args:
        pasts: One for each origin, of the same series.
        together: (n_series,) numbers from 0 without gaps of what will be summed: the series of one location, say,
            when sums within a location are wanted. Only pairs of series with one number are looked at.

    Returns:
        The variances; all 0 without any outcome.
    """
    errors, weights = np.zeros(3), np.zeros(3)
    own_errors, own_weights = np.zeros(N_CLASSES), np.zeros(N_CLASSES)
    for past in pasts:
        known = np.isfinite(past.actual) & (past.mean > 0)
        mean = np.where(known, past.mean, 0).astype(np.float64)
        error = np.where(known, past.actual, 0) - mean
        errors += _pairs(error, together)
        weights += _pairs(mean, together)
        volume = np.searchsorted(VOLUME_EDGES, past.mean[known])
        # A Poisson day has the variance of its mean without any factor.
        beyond = error[known] ** 2 - mean[known]
        own_errors += np.bincount(volume, beyond, N_CLASSES)
        own_weights += np.bincount(volume, mean[known] ** 2, N_CLASSES)
    of_series, of_day, of_others = 1 + _variances(errors, weights)
    day, series = max(of_day / of_others, 1.0), max(of_series / of_others, 1.0)
    total = 1 + _variances(own_errors, own_weights)
    own = np.clip(total / (of_others * day * series) - 1, 0, VARIANCE_MAX)
    return SharedErrors(of_others - 1, day - 1, series - 1, tuple(own.tolist()))


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
    series = _factor(shared.series, (DRAWS, n_series), random)
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


def _pairs(cells: NDArray[np.float64], together: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of products over pairs of cells.

    Returns:
        (3,) of each cell with the other days of its series, with the other series of its day, and with the other
        days of the other series; of series that belong together.
    """
    itself = float((cells**2).sum())
    of_series = float((cells.sum(axis=1) ** 2).sum()) - itself
    by_day = summed(cells, together)
    of_day = float((by_day**2).sum()) - itself
    of_all = float((by_day.sum(axis=1) ** 2).sum())
    return np.array([of_series, of_day, of_all - of_series - of_day - itself])


def _variances(errors: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variances of factors from sums of products of errors and of means; 0 where there was nothing to learn from."""
    ratio = np.divide(errors, weights, out=np.zeros_like(errors), where=weights > 0)
    bounded: NDArray[np.float64] = np.clip(ratio, 0, VARIANCE_MAX)
    return bounded
