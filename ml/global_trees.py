"""One model for all series: boosted trees with a Poisson loss on the quotient of sales and the level formula.

Guarantee: the same panel, origin and settings give the same model on any number of threads; no more than
`rows_max` rows are ever held; what was learned depends on no day after the origin.

With the target y ÷ m and the weight m, where m is what `levels.expected_day` expects, the Poisson loss is
that of a model with log m as offset. Rows weigh by the price of a unit besides, since an error costs money.
The weight is not handed to the trees: rows are drawn with a probability in its proportion, which spends the
rows where the weight is. The sum over each location's department is then drawn to a forecast of its own
(`ml.aggregate`), which is where most of the accuracy of totals comes from.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.aggregate import FittedTotals, fit_totals
from ml.baselines import WeekdayMean
from ml.features import FeatureCoding, Origin, at_origin, coding_of, feature_rows
from ml.learners import Boosting, HistTrees, Learner, LightTrees, Trees, grow
from ml.levels import LOOK_BACK_DAYS, look_back
from ml.models import FittedModel, Forecast, check_horizon, forecast_around
from ml.panel import Panel, on_sale_ahead
from ml.quantiles import Dispersion, calibrate

NAME = "global_trees"
TRAINING_ORIGINS_MAX = 64
HISTORY_DAYS_MIN = 28
"""Days that a training origin has behind it at least."""
TARGET_DAYS_MIN = 7
"""Days between the first training origin and the last target beyond one horizon."""
CELLS_MIN = 10_000
"""Days of series on sale that the trees need; below, they learn single days by heart."""
ROWS_MIN = 500
WEIGHT_UNITS_MIN = 0.1
"""Units a day by which a row weighs at least, so that slow sellers are learned too."""
RATIO_MAX = 8.0
"""Most that a forecast may be, as a multiple of what is expected without learning."""
L2 = 10.0
"""Rows of evidence that a leaf needs before it says half of what it found."""
PREDICT_ROWS = 400_000
"""Rows forecast at once; bounds the memory."""
CALIBRATION_ROWS_SHARE = 0.25

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FittedTrees:
    """Boosted trees that have learned; see `GlobalTrees`.

    Attributes:
        trees: The trees of the single series.
        totals: What was learned of the departments' totals.
        coding: Numbers of the names, as they were when it was fitted.
        dispersion: How wide the quantiles lie.
        notes: What a reader should know.
        threads: Threads used to predict.
        name: The model's name.
    """

    trees: HistTrees | LightTrees
    totals: FittedTotals
    coding: FeatureCoding
    dispersion: Dispersion
    notes: tuple[str, ...] = ()
    threads: int | None = None
    name: str = NAME

    def predict(self, panel: Panel, origin: int, horizon_days: int) -> Forecast:
        """See `models.FittedModel.predict`."""
        check_horizon(panel, origin, horizon_days)
        mean = _corrected_mean(
            self.trees, self.totals, self.coding, panel, origin, horizon_days, self.threads
        )
        return forecast_around(panel, origin, mean, self.dispersion, model=self.name, notes=self.notes)


@dataclass(frozen=True, slots=True)
class GlobalTrees:
    """Boosted trees over all series; a history too short for them is left to the weekday mean.

    Attributes:
        rows_max: Rows sampled for the fit at most; there are no more than days of series on sale.
        learner: Which library grows the trees.
        trees: Number of trees.
        learning_rate: Weight of each tree.
        leaves: Leaves of each tree.
        leaf_rows_min: Rows in a leaf at least.
        seed: Of the sample and the trees.
        threads: Threads used; None means one for each core.
    """

    rows_max: int = 400_000
    learner: Learner = "lightgbm"
    trees: int = 160
    learning_rate: float = 0.05
    leaves: int = 31
    leaf_rows_min: int = 60
    seed: int = 7
    threads: int | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return NAME

    def fit(self, panel: Panel, origin: int, horizon_days: int) -> FittedModel:
        """See `models.Model.fit`."""
        check_horizon(panel, origin, horizon_days)
        reason = _too_little(panel, origin, horizon_days)
        if reason:
            return WeekdayMean(NAME, (reason,)).fit(panel, origin, horizon_days)
        coding = coding_of(panel)
        trees = self._fit_trees(panel, coding, origin, horizon_days, self.rows_max)
        if trees is None:
            reason = f"Fewer than {ROWS_MIN} days of sales to learn from: the weekday mean stands in."
            return WeekdayMean(NAME, (reason,)).fit(panel, origin, horizon_days)
        totals = self._fit_totals(panel, coding, origin, horizon_days)
        dispersion, notes = self._dispersion(panel, coding, origin, horizon_days)
        return FittedTrees(trees, totals, coding, dispersion, notes, self.threads)

    def _fit_totals(
        self, panel: Panel, coding: FeatureCoding, origin: int, horizon_days: int
    ) -> FittedTotals:
        return fit_totals(panel, coding, origin, horizon_days, self.learner, self.seed, self.threads)

    def _fit_trees(
        self, panel: Panel, coding: FeatureCoding, origin: int, horizon_days: int, rows_max: int
    ) -> HistTrees | LightTrees | None:
        # More rows than days of series look at the same days again: slower, and no better on anything tried.
        rows_max = min(rows_max, _days_on_sale(panel, origin))
        rows = training_rows(panel, coding, origin, horizon_days, rows_max, self.seed)
        if rows is None:
            return None
        features, target = rows
        boosting = Boosting(self.learner, self.trees, self.learning_rate, self.leaves, self.leaf_rows_min, L2)
        return grow(boosting, features, target, coding.categorical, self.seed, self.threads)

    def _dispersion(
        self, panel: Panel, coding: FeatureCoding, origin: int, horizon_days: int
    ) -> tuple[Dispersion, tuple[str, ...]]:
        """Dispersions by a smaller model that was fitted a horizon earlier, whose outcome is known."""
        earlier = origin - horizon_days
        trees = None
        if not _too_little(panel, earlier, horizon_days):
            rows_max = max(ROWS_MIN, int(self.rows_max * CALIBRATION_ROWS_SHARE))
            trees = self._fit_trees(panel, coding, earlier, horizon_days, rows_max)
        if trees is None:
            note = "The history is too short to try the trees: the range is that of the weekday mean."
            return WeekdayMean().fit(panel, origin, horizon_days).dispersion, (note,)
        totals = self._fit_totals(panel, coding, earlier, horizon_days)
        mean = _corrected_mean(trees, totals, coding, panel, earlier, horizon_days, self.threads)
        return calibrate(mean, panel.quantity[:, earlier + 1 : origin + 1], self.seed), ()


def training_rows(
    panel: Panel, coding: FeatureCoding, origin: int, horizon_days: int, rows_max: int, seed: int
) -> tuple[FloatArray, FloatArray] | None:
    """Sample rows of many earlier origins.

    Args:
        panel: The panel.
        coding: Numbers of the names.
        origin: Last day that may be learned from.
        horizon_days: Days ahead that rows look.
        rows_max: Rows at most.
        seed: Of the sample.

    Returns:
        Features (n_rows, n_features) and target (n_rows,) sales ÷ expectation; None when there are too few
        rows, or no sale among them.
    """
    random = np.random.default_rng(seed)
    first = max(HISTORY_DAYS_MIN - 1, min(LOOK_BACK_DAYS, (origin + 1) // 3))
    origins = np.unique(np.linspace(first, origin - 1, TRAINING_ORIGINS_MAX).round().astype(np.int64))
    parts: list[tuple[FloatArray, FloatArray]] = []
    for number, at in enumerate(origins):
        room = (rows_max - sum(len(part[1]) for part in parts)) // (len(origins) - number)
        gathered = at_origin(panel, look_back(panel, int(at)), coding)
        series, ahead = _sample(gathered, min(horizon_days, origin - int(at)), room, random)
        features, expected = feature_rows(gathered, series, ahead)
        parts.append((features, panel.quantity[series, at + ahead] / expected))
    features, target = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(target) < ROWS_MIN or not target.any():
        return None
    return features, target


def predict_mean(
    trees: Trees,
    coding: FeatureCoding,
    panel: Panel,
    origin: int,
    horizon_days: int,
    threads: int | None,
) -> FloatArray:
    """Means of the days after an origin by the trees alone, whether the series is on sale or not.

    Returns:
        (n_series, horizon_days) float32, units a day.
    """
    at = at_origin(panel, look_back(panel, origin), coding)
    mean = np.empty((panel.n_series, horizon_days), dtype=np.float32)
    ahead = np.arange(1, horizon_days + 1)
    for chosen in _chunks(panel.n_series, max(1, PREDICT_ROWS // horizon_days)):
        features, expected = feature_rows(at, np.repeat(chosen, horizon_days), np.tile(ahead, len(chosen)))
        ratio = np.minimum(trees.predict(features, threads), RATIO_MAX).astype(np.float32)
        mean[chosen] = (ratio * expected).reshape(len(chosen), horizon_days)
    return mean


def _corrected_mean(
    trees: Trees,
    totals: FittedTotals,
    coding: FeatureCoding,
    panel: Panel,
    origin: int,
    horizon_days: int,
    threads: int | None,
) -> FloatArray:
    """Means by the trees, 0 where not on sale, corrected by the departments' own forecasts.

    Returns:
        (n_series, horizon_days) float32, units a day.
    """
    mean = predict_mean(trees, coding, panel, origin, horizon_days, threads)
    mean[~on_sale_ahead(panel, origin, horizon_days)] = 0
    return mean * totals.correction(panel, coding, origin, mean, threads)[panel.codes.group]


def _chunks(n_series: int, size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, n_series, size):
        yield np.arange(start, min(start + size, n_series))


def _sample(
    at: Origin, farthest: int, rows_max: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw pairs of series and days ahead, on sale as known at the origin, whose outcome is known.

    A pair is drawn in proportion to the money that is expected of its day; a heavy one may come twice.

    Returns:
        (n_rows,) index of the series and (n_rows,) days ahead, from 1; no more rows than there are pairs.
    """
    panel, origin = at.panel, at.back.origin
    outcome = panel.quantity[:, origin + 1 : origin + 1 + farthest]
    usable = on_sale_ahead(panel, origin, farthest) & ~np.isnan(outcome)
    money = np.maximum(at.expected, WEIGHT_UNITS_MIN)[:, np.arange(farthest) % 7] * panel.unit_value[:, None]
    cumulated = np.cumsum(np.where(usable, money, 0), dtype=np.float64)
    n_rows = min(rows_max, int(usable.sum()))
    if not n_rows:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    # Evenly spaced marks with one random start: each pair comes as often as its weight says, to within one.
    marks = (np.arange(n_rows) + random.random()) * (cumulated[-1] / n_rows)
    drawn = np.minimum(np.searchsorted(cumulated, marks, side="right"), usable.size - 1)
    return drawn // farthest, drawn % farthest + 1


def _too_little(panel: Panel, origin: int, horizon_days: int) -> str:
    """Why trees cannot learn here; empty when they can."""
    days, needed = origin + 1, HISTORY_DAYS_MIN + TARGET_DAYS_MIN + horizon_days
    if days < needed:
        return f"{max(days, 0)} days of history, {needed} are needed: the weekday mean stands in."
    cells = _days_on_sale(panel, origin)
    if cells < CELLS_MIN:
        return f"{cells} days of series on sale, {CELLS_MIN} are needed: the weekday mean stands in."
    if panel.first_sale.min() > origin:
        return "Nothing was sold yet: the weekday mean stands in."
    return ""


def _days_on_sale(panel: Panel, origin: int) -> int:
    """Days of series on sale up to an origin."""
    return int(panel.on_sale[:, : origin + 1].sum())
