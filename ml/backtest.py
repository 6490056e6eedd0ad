"""Rolling-origin backtest: models learn up to an origin, forecast the days after it, and are judged by them.

Guarantee: every model is judged on the same cells, those on sale of series that were known at the origin; the
features are those of serving, and no fit sees a day after its origin.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ml.hierarchy import level_codes
from ml.matrices import NEVER
from ml.metrics import bias, coverage, rmsse, scaled_pinball, wape, wrmsse
from ml.models import Forecast, Model
from ml.panel import Panel, start_as_of
from ml.quantiles import LEVELS
from ml.slices import SLICES_SCHEMA, errors_by_slice, summed_cells

METRICS = ("wape", "bias", "rmsse", "wrmsse", "pinball", "coverage_90", "coverage_50")
HISTORY_DAYS_MIN = 14
"""Days that an origin has behind it at least."""
REVENUE_DAYS = 28

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Trial:
    """What one model did from one origin.

    Attributes:
        metrics: A row of `Backtest.metrics`.
        daily: Rows of `Backtest.daily`.
        notes: Rows of `Backtest.notes`.
        cells: What its days amount to by slice, as `slices.summed_cells` tells it.
    """

    metrics: dict[str, object]
    daily: pl.DataFrame
    notes: list[dict[str, object]]
    cells: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a backtest found.

    Attributes:
        horizon_days: Days forecast from each origin.
        metrics: A row for each model × origin, and one with a null origin for their mean: model, origin
            (date), wape, bias (above 0: too much), rmsse (mean over series), wrmsse (12 levels), pinball
            (scaled), coverage_90, coverage_50 (shares within the central 90 and 50 %), series.
        groups: A row for each model × level × key over all origins, as `slices.errors_by_slice` tells it.
        daily: A row for each model × origin × day: model, origin, date, actual, mean; units over all series.
        notes: A row for each note of a model: model, origin, note.
    """

    horizon_days: int
    metrics: pl.DataFrame
    groups: pl.DataFrame
    daily: pl.DataFrame
    notes: pl.DataFrame


def backtest_origins(panel: Panel, count: int, horizon_days: int) -> list[int]:
    """Choose rolling origins whose outcome is known, newest last.

    Origins stand a whole number of weeks apart, at least a horizon, and on a grid of dates that does not move
    with the panel's origin: runs of neighbouring days judge by the same origins and can be compared.

    Args:
        panel: The panel.
        count: Origins wanted.
        horizon_days: Days forecast from each.

    Returns:
        Day indices, rising; fewer than `count`, perhaps none, when the history is short. A history too short
        for the grid gives the one origin a horizon before its end.
    """
    step = -(-horizon_days // 7) * 7
    newest = panel.origin - horizon_days
    phase = int(panel.days[0].astype("datetime64[D]").astype(int) + newest) % step
    grid = [newest - phase - step * number for number in range(count)]
    usable = sorted(origin for origin in grid if origin + 1 >= HISTORY_DAYS_MIN)
    return usable or ([newest] if newest + 1 >= HISTORY_DAYS_MIN else [])


def backtest(panel: Panel, models: Sequence[Model], origins: Sequence[int], horizon_days: int) -> Backtest:
    """Fit and judge each model at each origin.

    Args:
        panel: The panel.
        models: Models with different names.
        origins: Day indices; each at least a horizon before the panel's own origin.
        horizon_days: Days forecast from each.
    """
    trials = [try_origin(panel, model, origin, horizon_days) for model in models for origin in origins]
    return summed_up(trials, horizon_days)


def try_origin(panel: Panel, model: Model, origin: int, horizon_days: int) -> Trial:
    """Fit and judge one model at one origin; arguments as in `backtest`."""
    forecast = model.fit(panel, origin, horizon_days).predict(panel, origin, horizon_days)
    actual = outcome(panel, origin, horizon_days)
    return Trial(
        metrics=_judge(panel, origin, forecast, actual, level_codes(panel.series)),
        daily=_daily(panel, origin, forecast, actual),
        notes=[{"model": model.name, "origin": forecast.origin, "note": note} for note in forecast.notes],
        cells=summed_cells(panel, origin, actual, forecast),
    )


def summed_up(trials: Sequence[Trial], horizon_days: int) -> Backtest:
    """The backtest that trials make up.

    Args:
        trials: Each model at the same origins; models and origins in the order in which they are to stand.
        horizon_days: Days forecast from each origin.
    """
    cells: dict[str, list[pl.DataFrame]] = {}
    for trial in trials:
        cells.setdefault(str(trial.metrics["model"]), []).append(trial.cells)
    groups = [errors_by_slice(model, found) for model, found in cells.items()]
    daily = [trial.daily for trial in trials]
    notes = [note for trial in trials for note in trial.notes]
    per_origin = pl.DataFrame([trial.metrics for trial in trials], schema=_METRICS_SCHEMA)
    overall = per_origin.group_by("model", maintain_order=True).agg(
        pl.lit(None, pl.Date).alias("origin"),
        # A metric that is not defined at one origin (nothing was sold) is judged by the others.
        *(pl.col(name).fill_nan(None).mean().fill_null(float("nan")) for name in METRICS),
        pl.col("series").max(),
    )
    return Backtest(
        horizon_days,
        pl.concat([per_origin, overall]),
        pl.concat(groups) if groups else pl.DataFrame(schema=SLICES_SCHEMA),
        pl.concat(daily) if daily else pl.DataFrame(schema=_DAILY_SCHEMA),
        pl.DataFrame(notes, schema={"model": pl.String, "origin": pl.Date, "note": pl.String}),
    )


_METRICS_SCHEMA: dict[str, type[pl.DataType]] = {
    "model": pl.String,
    "origin": pl.Date,
    **dict.fromkeys(METRICS, pl.Float64),
    "series": pl.Int64,
}
_DAILY_SCHEMA: dict[str, type[pl.DataType]] = {
    "model": pl.String,
    "origin": pl.Date,
    "date": pl.Date,
    "actual": pl.Float64,
    "mean": pl.Float64,
}


def outcome(panel: Panel, origin: int, horizon_days: int) -> FloatArray:
    """What was sold after an origin, of the series that were known then.

    Returns:
        (n_series, horizon_days) units; NaN where not on sale, and for series not known at the origin.
    """
    known = start_as_of(panel, origin) < NEVER
    sold = panel.quantity[:, origin + 1 : origin + 1 + horizon_days]
    return np.where(known[:, None], sold, np.float32(np.nan))


def last_revenue(panel: Panel, origin: int) -> NDArray[np.float64]:
    """Money taken by each series in the last 28 days, by the price of the day or the series' mean price.

    Returns:
        (n_series,) in the customer's currency.
    """
    window = slice(max(0, origin + 1 - REVENUE_DAYS), origin + 1)
    price = np.where(np.isnan(panel.price[:, window]), panel.unit_value[:, None], panel.price[:, window])
    revenue: NDArray[np.float64] = np.nansum(panel.quantity[:, window] * price, axis=1, dtype=np.float64)
    return revenue


def _judge(
    panel: Panel, origin: int, forecast: Forecast, actual: FloatArray, levels: dict[str, NDArray[np.int64]]
) -> dict[str, object]:
    history = panel.quantity[:, : origin + 1]
    per_series = rmsse(actual, forecast.mean, history)
    usable = per_series[~np.isnan(per_series)]
    quantiles = forecast.quantiles
    place = {level: index for index, level in enumerate(LEVELS)}
    return {
        "model": forecast.model,
        "origin": forecast.origin,
        "wape": wape(actual, forecast.mean),
        "bias": bias(actual, forecast.mean),
        "rmsse": float(usable.mean()) if len(usable) else float("nan"),
        "wrmsse": wrmsse(actual, forecast.mean, history, last_revenue(panel, origin), levels)["all"],
        "pinball": scaled_pinball(actual, quantiles, LEVELS, history),
        "coverage_90": coverage(actual, quantiles[:, :, place[0.05]], quantiles[:, :, place[0.95]]),
        "coverage_50": coverage(actual, quantiles[:, :, place[0.25]], quantiles[:, :, place[0.75]]),
        "series": int((~np.isnan(actual)).any(axis=1).sum()),
    }


def _daily(panel: Panel, origin: int, forecast: Forecast, actual: FloatArray) -> pl.DataFrame:
    horizon_days = actual.shape[1]
    return pl.DataFrame(
        {
            "model": [forecast.model] * horizon_days,
            "origin": [forecast.origin] * horizon_days,
            "date": panel.days[origin + 1 : origin + 1 + horizon_days],
            "actual": np.nansum(actual, axis=0, dtype=np.float64),
            "mean": np.where(np.isnan(actual), 0, forecast.mean).sum(axis=0, dtype=np.float64),
        },
        schema=_DAILY_SCHEMA,
    )
