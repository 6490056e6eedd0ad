"""What the flows write into a run's record in the lake, and read from it again.

Guarantee: what is read is what was written; a metric that is not defined is null in the record, and NaN here.
"""

import math
from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl

from lake.forecasts import ForecastRun
from ml.backtest import METRICS, Backtest

_SCHEMA: dict[str, type[pl.DataType]] = {
    "model": pl.String,
    "origin": pl.Date,
    **dict.fromkeys(METRICS, pl.Float64),
    "series": pl.Int64,
}


def metrics_of(tried: Backtest, model: str) -> dict[str, float]:
    """The mean scores of a model over all origins, those that are defined."""
    mean = tried.metrics.filter(pl.col("model") == model, pl.col("origin").is_null())
    return {name: mean[name][0] for name in METRICS if mean.height and math.isfinite(mean[name][0])}


def details_of(
    tried: Backtest,
    *,
    remarks: Sequence[str],
    champion: str | None,
    rows: int,
    series: int,
    training_rows_max: int,
) -> dict[str, Any]:
    """What a record holds beside its own fields.

    Args:
        tried: The backtest; all its scores are kept.
        remarks: What a reader of the forecast should know.
        champion: Id of the run that it was compared with.
        rows: Rows of daily sums in its manifest.
        series: Pairs of location and product that are forecast.
        training_rows_max: Rows sampled for a fit at most.
    """
    scores = [
        {name: _plain(value) for name, value in row.items()} for row in tried.metrics.iter_rows(named=True)
    ]
    return {
        "remarks": list(remarks),
        "champion": champion,
        "rows": rows,
        "series": series,
        "training_rows_max": training_rows_max,
        "backtest": scores,
    }


def backtest_of(run: ForecastRun) -> pl.DataFrame | None:
    """The scores of a run's own model as they were written; None when the record holds no backtest.

    A row for each origin, and one with a null origin for their mean.
    """
    scores = run.details.get("backtest", [])
    if not scores:
        return None
    frame = pl.DataFrame(
        [{**row, "origin": row["origin"] and date.fromisoformat(row["origin"])} for row in scores],
        schema=_SCHEMA,
    )
    return frame.filter(pl.col("model") == run.model).with_columns(pl.col(METRICS).fill_null(float("nan")))


def _plain(value: object) -> object:
    """A value as JSON holds it."""
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
