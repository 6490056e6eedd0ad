"""What the forecast of one series and day was made of.

Guarantee: the parts multiply to the forecast: expected without learning × factors of the features × correction of the
department's total. The factors of LightGBM's trees are Shapley values on the log scale (Lundberg and Lee, 2017); those
of scikit-learn's, which has none, are what leaving a feature out changes, and what they do not explain is in `base`.
"""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from infra.errors import FaultError
from ml.baselines import FittedWeekdayMean, SeasonalNaive, WeekdayMean
from ml.features import at_origin, feature_rows
from ml.global_trees import RATIO_MAX, FittedTrees
from ml.levels import look_back
from ml.models import Forecast
from ml.panel import Panel


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a forecast was made of.

    Attributes:
        mean: The forecast, units of the day.
        quantiles: (7,) in the order of `quantiles.LEVELS`.
        on_sale: Whether the plan has the series on sale; else the forecast is 0.
        baselines: What models that learn nothing forecast for the day, units, by name.
        expected: Units expected without learning, from the level and the weekday.
        base: What the trees multiply by, whatever the features are.
        features: feature, value (NaN when unknown), factor; the one that changed most first. Empty for a model
            without features.
        correction: What the department's own forecast multiplies by.
        notes: What a reader should know.
    """

    mean: float
    quantiles: tuple[float, ...]
    on_sale: bool
    baselines: dict[str, float]
    expected: float
    base: float
    features: pl.DataFrame
    correction: float
    notes: tuple[str, ...]


def explain(
    fitted: FittedTrees | FittedWeekdayMean, panel: Panel, location_id: str, product_id: str, ahead: int
) -> Explanation:
    """Explain the forecast of a series.

    Args:
        fitted: The model that made it.
        panel: What it was made from; forecast from the panel's own origin.
        location_id: The location.
        product_id: The product.
        ahead: Days from the origin to the day, from 1.

    Raises:
        FaultError: The panel has no such series, or does not reach the day.
    """
    place = panel.series.with_row_index("row").filter(
        pl.col("location_id") == location_id, pl.col("product_id") == product_id
    )
    if place.is_empty() or not 1 <= ahead <= panel.horizon_days:
        raise FaultError(
            f"expected a series of the panel and 1 to {panel.horizon_days} days ahead, found {product_id} at "
            f"{location_id}, {ahead} days ahead"
        )
    series = int(place["row"][0])
    forecast = fitted.predict(panel, panel.origin, panel.horizon_days)
    baselines = {
        model.name: _mean(
            model.fit(panel, panel.origin, panel.horizon_days).predict(
                panel, panel.origin, panel.horizon_days
            ),
            series,
            ahead,
        )
        for model in (SeasonalNaive(), WeekdayMean())
    }
    expected, base, features, correction = _parts(
        fitted, panel, series, ahead, _mean(forecast, series, ahead)
    )
    return Explanation(
        mean=_mean(forecast, series, ahead),
        quantiles=tuple(float(value) for value in forecast.quantiles[series, ahead - 1]),
        on_sale=bool(forecast.on_sale[series, ahead - 1]),
        baselines=baselines,
        expected=expected,
        base=base,
        features=features,
        correction=correction,
        notes=forecast.notes,
    )


def _parts(
    fitted: FittedTrees | FittedWeekdayMean, panel: Panel, series: int, ahead: int, mean: float
) -> tuple[float, float, pl.DataFrame, float]:
    """Expected units, base, features with their factors, correction."""
    schema = {"feature": pl.String, "value": pl.Float64, "factor": pl.Float64}
    if isinstance(fitted, FittedWeekdayMean):
        return mean, 1.0, pl.DataFrame(schema=schema), 1.0
    at = at_origin(panel, look_back(panel, panel.origin), fitted.coding)
    rows, expected = feature_rows(at, np.array([series]), np.array([ahead]))
    log_factors, log_base = fitted.trees.contributions(rows)
    features = pl.DataFrame(
        {
            "feature": fitted.coding.names,
            "value": rows[0].astype(np.float64),
            "factor": np.exp(log_factors[0]),
        },
        schema=schema,
    )
    by_trees = min(math.exp(float(log_base[0] + log_factors[0].sum())), RATIO_MAX) * float(expected[0])
    order = np.argsort(-np.abs(log_factors[0]), kind="stable")
    correction = mean / by_trees if by_trees > 0 else 1.0
    return float(expected[0]), math.exp(float(log_base[0])), features[order], correction


def _mean(forecast: Forecast, series: int, ahead: int) -> float:
    return float(forecast.mean[series, ahead - 1])
