"""The sales of whole departments, forecast on their own, to correct the sum of the single forecasts.

Guarantee: reads no day after the origin; a correction is between `FACTOR_MIN` and `FACTOR_MAX`, and is 1 for
a department that sells too little, or too short a time, to be forecast on its own.

Errors of single series cancel in their sum, but those that they share (the week, a benefit day, a season) do
not, and a department's total shows them clearly. The total is the plain mean of two unlike forecasts, by
effects and by trees, whose errors differ (Bates and Granger, The Combination of Forecasts, 1969); a history
too short for the trees is left to the effects, and then trusted half.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.aggregate_effects import forecast_by_effects
from ml.aggregate_trees import forecast_by_trees, grow_on_totals
from ml.features import FeatureCoding
from ml.group_history import GroupHistory, group_history
from ml.learners import HistTrees, Learner, LightTrees
from ml.metrics import summed
from ml.panel import Panel

HISTORY_DAYS_MIN = 112
HISTORY_DAYS_MAX = 2_200
UNITS_MIN = 20.0
"""Units a day in the last eight weeks, below which a department is left alone."""
SHARE_OF_BOTH, SHARE_OF_EFFECTS = 1.0, 0.5
"""Share of the way, on a log scale, from the sum of the single forecasts to the department's own: by both
forecasts, and by effects alone."""
FACTOR_MIN, FACTOR_MAX = 0.5, 2.0

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FittedTotals:
    """What was learned of the totals.

    Attributes:
        trees: Trees grown on totals; None when the history was too short.
    """

    trees: HistTrees | LightTrees | None = None

    def correction(
        self,
        panel: Panel,
        coding: FeatureCoding,
        origin: int,
        mean: NDArray[np.float32],
        threads: int | None,
    ) -> NDArray[np.float32]:
        """What to multiply single forecasts with, so that departments come nearer to their own forecast.

        Args:
            panel: The panel.
            coding: Numbers of the names, as at the fit.
            origin: Day index of the origin.
            mean: (n_series, horizon) single forecasts, 0 where not on sale.
            threads: Threads used at most; None means one for each core.

        Returns:
            (n_groups, horizon) factors.
        """
        n_groups, horizon_days = panel.codes.n_groups, mean.shape[1]
        factor = np.ones((n_groups, horizon_days), dtype=np.float32)
        history = _history(panel, origin, horizon_days)
        if history is None:
            return factor
        own, share = forecast_by_effects(history), SHARE_OF_EFFECTS
        if self.trees is not None:
            by_trees = forecast_by_trees(self.trees, history, coding, threads)
            own, share = np.where(np.isnan(by_trees), own, (own + by_trees) / 2), SHARE_OF_BOTH
        bottom_up = summed(mean, panel.codes.group.astype(np.int64))
        large = history.units[:, -56:].mean(axis=1) >= UNITS_MIN
        usable = large[:, None] & (bottom_up > 0) & (own > 0)
        ratio = np.divide(own, bottom_up, out=np.ones_like(own), where=usable)
        return np.clip(ratio**share, FACTOR_MIN, FACTOR_MAX).astype(np.float32)


def fit_totals(
    panel: Panel,
    coding: FeatureCoding,
    origin: int,
    horizon_days: int,
    learner: Learner,
    seed: int,
    threads: int | None,
) -> FittedTotals:
    """Learn the totals of a panel's departments.

    Args:
        panel: The panel.
        coding: Numbers of the names.
        origin: Day index of the last day that may be learned from.
        horizon_days: Days ahead that will be asked for.
        learner: Which library grows the trees.
        seed: Of the sample and the trees.
        threads: Threads used at most; None means one for each core.
    """
    history = _history(panel, origin, horizon_days)
    if history is None:
        return FittedTotals()
    return FittedTotals(grow_on_totals(history, coding, learner, seed, threads))


def _history(panel: Panel, origin: int, horizon_days: int) -> GroupHistory | None:
    """The totals; None when there are too few days, or no departments."""
    if len(panel.earlier.days) + origin + 1 < HISTORY_DAYS_MIN or not panel.codes.n_groups:
        return None
    return group_history(panel, origin, horizon_days, HISTORY_DAYS_MAX)
