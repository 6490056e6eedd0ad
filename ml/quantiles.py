"""Quantiles around a mean: negative binomial, with a dispersion for each class of volume.

Guarantee: quantiles never cross, are never negative, and are 0 where the mean is 0. Whole numbers are
    forecast for
series that sell whole numbers; for others a gamma distribution with the same mean and variance stands in.

The variance of a day's sales is taken as mean + alpha × mean² (the negative binomial "NB2": Cameron and
Trivedi, Regression Analysis of Count Data, 2013, section 3.3). alpha is chosen for each class of mean by the
pinball loss of forecasts whose outcome is known.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
"""Probabilities of the quantiles of every forecast."""
VOLUME_EDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Means, units a day, between the classes of volume."""
ALPHAS = tuple(float(alpha) for alpha in np.geomspace(0.02, 12.0, 16))
ALPHA_UNKNOWN = 0.5
"""Dispersion of a customer without any outcome to learn from."""
CASES_MIN = 200
"""Outcomes that a class needs for a dispersion of its own; a class with fewer takes that of all together."""
CASES_MAX = 1_500
"""Outcomes of a class that are looked at."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Dispersion:
    """How much wider than Poisson the days of each class of volume are.

    Attributes:
        alpha: One number above 0 for each class of volume, lowest volume first.
    """

    alpha: tuple[float, ...] = (ALPHA_UNKNOWN,) * (len(VOLUME_EDGES) + 1)


def calibrate(mean: FloatArray, actual: FloatArray, seed: int = 0) -> Dispersion:
    """Choose the dispersions under which past forecasts would have lost least.

    Args:
        mean: Forecast means, any shape.
        actual: What was sold, the same shape; NaN is left out.
        seed: Of the sample that is taken of a class with very many outcomes.

    Returns:
        The dispersion; the default one when there is no outcome.
    """
    valid = np.isfinite(actual) & (mean > 0)
    flat_mean, flat_actual = mean[valid].astype(np.float64), actual[valid].astype(np.float64)
    volume = np.searchsorted(VOLUME_EDGES, flat_mean)
    random = np.random.default_rng(seed)

    def best(cases: NDArray[np.int64]) -> float:
        if len(cases) > CASES_MAX:
            cases = random.choice(cases, CASES_MAX, replace=False)
        losses = [_loss(flat_mean[cases], flat_actual[cases], alpha) for alpha in ALPHAS]
        return ALPHAS[int(np.argmin(losses))]

    if not len(flat_mean):
        return Dispersion()
    together = best(np.arange(len(flat_mean)))
    classes = [np.flatnonzero(volume == number) for number in range(len(VOLUME_EDGES) + 1)]
    return Dispersion(tuple(best(cases) if len(cases) >= CASES_MIN else together for cases in classes))


def spread(mean: FloatArray, dispersion: Dispersion, fractional: NDArray[np.bool_]) -> FloatArray:
    """Quantiles around means.

    Args:
        mean: (n_series, horizon) units a day, not negative.
        dispersion: How wide.
        fractional: (n_series,) true where quantities are not whole numbers.

    Returns:
        (n_series, horizon, 7) float32, in the order of `LEVELS`.
    """
    edges = np.searchsorted(VOLUME_EDGES, mean)
    alpha = np.asarray(dispersion.alpha)[edges]
    result = np.zeros((*mean.shape, len(LEVELS)), dtype=np.float32)
    for whole in (True, False):
        chosen = (mean > 0) & (fractional != whole)[:, None]
        if chosen.any():
            result[chosen] = _quantiles(mean[chosen].astype(np.float64), alpha[chosen], whole=whole)
    # Neighbours that should be equal may differ in the last bit.
    return np.maximum.accumulate(result, axis=-1)


def _quantiles(mean: NDArray[np.float64], alpha: NDArray[np.float64] | float, *, whole: bool) -> FloatArray:
    """(n,) means to (n, 7) quantiles."""
    columns = []
    for level in LEVELS:
        if whole:
            size = np.broadcast_to(1 / np.asarray(alpha), mean.shape)
            columns.append(stats.nbinom.ppf(level, size, size / (size + mean)))
        else:
            variance = mean + alpha * mean**2
            columns.append(stats.gamma.ppf(level, mean**2 / variance, scale=variance / mean))
    return np.stack(columns, axis=-1).astype(np.float32)


def _loss(mean: NDArray[np.float64], actual: NDArray[np.float64], alpha: float) -> float:
    gap = actual[:, None] - _quantiles(mean, alpha, whole=True)
    levels = np.asarray(LEVELS)
    # Each case counts by its size, so that the loss of a class is not that of its largest series alone.
    loss = np.maximum(levels * gap, (levels - 1) * gap).sum(axis=1) / np.sqrt(mean + 0.05)
    return float(loss.mean())
