"""Quantiles around a mean: negative binomial, calibrated for each class of volume.

Guarantee: quantiles never cross, are never negative, and are 0 where the mean is 0. Whole numbers are
    forecast for
series that sell whole numbers; for others a gamma distribution with the same mean and variance stands in.

The variance of a day's sales is taken as mean + alpha × mean² (the negative binomial "NB2": Cameron and
Trivedi, Regression Analysis of Count Data, 2013, section 3.3). alpha is chosen for each class of mean by the
pinball loss of forecasts whose outcome is known. What that shape gets wrong is then put right on the scale of
probabilities, as in distributional conformal prediction (Chernozhukov, Wüthrich and Zhu, 2021): of each class
and quantile the probability is taken at which, of those outcomes, the wanted share lay no higher.
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
CASES_MAX = 3_000
"""Outcomes of a class that are looked at."""
ODDS = tuple(float(odds) for odds in np.geomspace(1 / 6, 6, 17))
"""By how much a probability may be moved to be right, as multiples of its odds p ÷ (1 − p)."""
SHARE_TOLERANCE = 0.002
"""Shares of outcomes this near to each other are the same, and the probability moved least is taken."""
N_CLASSES = len(VOLUME_EDGES) + 1

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Dispersion:
    """How much wider than Poisson the days of each class of volume are, and how that is put right.

    Attributes:
        alpha: One number above 0 for each class of volume, lowest volume first.
        levels: For each class, the probabilities of the negative binomial that stand for `LEVELS`; rising.
    """

    alpha: tuple[float, ...] = (ALPHA_UNKNOWN,) * N_CLASSES
    levels: tuple[tuple[float, ...], ...] = (LEVELS,) * N_CLASSES


def calibrate(mean: FloatArray, actual: FloatArray, seed: int = 0) -> Dispersion:
    """Choose the dispersions under which past forecasts would have lost least, and put their levels right.

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

    def best(cases: NDArray[np.int64]) -> tuple[float, tuple[float, ...]]:
        if len(cases) > CASES_MAX:
            cases = random.choice(cases, CASES_MAX, replace=False)
        losses = [_loss(flat_mean[cases], flat_actual[cases], alpha) for alpha in ALPHAS]
        alpha = ALPHAS[int(np.argmin(losses))]
        return alpha, _levels_put_right(flat_mean[cases], flat_actual[cases], alpha)

    if not len(flat_mean):
        return Dispersion()
    together = best(np.arange(len(flat_mean)))
    classes = [np.flatnonzero(volume == number) for number in range(N_CLASSES)]
    alphas, levels = zip(
        *(best(cases) if len(cases) >= CASES_MIN else together for cases in classes), strict=True
    )
    return Dispersion(alphas, levels)


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
    alpha, levels = np.asarray(dispersion.alpha)[edges], np.asarray(dispersion.levels)[edges]
    result = np.zeros((*mean.shape, len(LEVELS)), dtype=np.float32)
    for whole in (True, False):
        chosen = (mean > 0) & (fractional != whole)[:, None]
        if chosen.any():
            result[chosen] = _quantiles(
                mean[chosen].astype(np.float64), alpha[chosen], levels[chosen], whole=whole
            )
    # Neighbours that should be equal may differ in the last bit.
    return np.maximum.accumulate(result, axis=-1)


def _quantiles(
    mean: NDArray[np.float64],
    alpha: NDArray[np.float64] | float,
    levels: NDArray[np.float64],
    *,
    whole: bool,
) -> FloatArray:
    """(n,) means and (n or 1, n_levels) probabilities to (n, n_levels) quantiles."""
    mean, alpha = mean[:, None], np.broadcast_to(alpha, mean.shape)[:, None]
    if whole:
        size = 1 / alpha
        found = stats.nbinom.ppf(levels, size, size / (size + mean))
    else:
        variance = mean + alpha * mean**2
        found = stats.gamma.ppf(levels, mean**2 / variance, scale=variance / mean)
    quantiles: FloatArray = found.astype(np.float32)
    return quantiles


def _levels_put_right(
    mean: NDArray[np.float64], actual: NDArray[np.float64], alpha: float
) -> tuple[float, ...]:
    """The probabilities at which the shares of `LEVELS` of the outcomes lay no higher than the quantile."""
    found = []
    for level in LEVELS:
        odds = level / (1 - level) * np.asarray(ODDS)
        tried = odds / (1 + odds)
        share = (actual[:, None] <= _quantiles(mean, alpha, tried[None, :], whole=True)).mean(axis=0)
        off = np.abs(share - level)
        moved = np.abs(np.log(np.asarray(ODDS)))
        as_good = off <= off.min() + SHARE_TOLERANCE
        found.append(float(tried[np.where(as_good, moved, np.inf).argmin()]))
    return tuple(np.maximum.accumulate(found).tolist())


def _loss(mean: NDArray[np.float64], actual: NDArray[np.float64], alpha: float) -> float:
    gap = actual[:, None] - _quantiles(mean, alpha, np.asarray(LEVELS)[None, :], whole=True)
    levels = np.asarray(LEVELS)
    # Each case counts by its size, so that the loss of a class is not that of its largest series alone.
    loss = np.maximum(levels * gap, (levels - 1) * gap).sum(axis=1) / np.sqrt(mean + 0.05)
    return float(loss.mean())
