"""Where a forecast errs: by location, department, class of volume and week ahead, and what it adds to a simple one.

Guarantee: within each level every judged cell counts in exactly one row, so that the rows' units add up to the whole.

Forecast value added is what a forecast takes off the error of a simpler one: Gilliland, The Business Forecasting
Deal (2010), chapter 4.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ml.models import Forecast
from ml.panel import Panel
from ml.quantiles import VOLUME_EDGES

VOLUME_DAYS = 56
"""Days up to the origin whose mean tells a series' class of volume."""
NO_HISTORY = "no history"
LEVELS = ("location", "department", "volume", "week ahead")

SLICES_SCHEMA: dict[str, type[pl.DataType]] = {
    "model": pl.String,
    "level": pl.String,
    "key": pl.String,
    "quantity": pl.Float64,
    "wape": pl.Float64,
    "bias": pl.Float64,
    "coverage_90": pl.Float64,
}

FloatArray = NDArray[np.float32]


def summed_cells(panel: Panel, origin: int, actual: FloatArray, forecast: Forecast) -> pl.DataFrame:
    """What the days of a forecast amount to, in each slice.

    Args:
        panel: The panel that it was made for.
        origin: Day index of its origin.
        actual: (n_series, horizon) units sold; NaN is left out.
        forecast: The forecast.

    Returns:
        A row for each level ("location", "department", "volume", "week ahead") and key with a known outcome, keys in
        their order: level, key, place (its number in that order), and over its cells their number, the units sold
        and forecast, the absolute errors, and how many lay from the 5 to the 95 % quantile.
    """
    known = ~np.isnan(actual)
    sold, mean = actual[known].astype(np.float64), forecast.mean[known].astype(np.float64)
    quantiles = forecast.quantiles[known]
    inside = (sold >= quantiles[:, 0]) & (sold <= quantiles[:, -1])
    weights = {
        "cells": known[known],
        "sold": sold,
        "forecast": mean,
        "error": np.abs(mean - sold),
        "inside": inside,
    }
    frames = []
    for level, keys, code in _codes(panel, origin, actual.shape):
        numbers = code[known]
        sums = {name: np.bincount(numbers, weight, len(keys)) for name, weight in weights.items()}
        frames.append(
            pl.DataFrame({"level": [level] * len(keys), "key": keys, "place": np.arange(len(keys)), **sums})
        )
    return pl.concat(frames).filter(pl.col("cells") > 0)


def errors_by_slice(model: str, cells: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """WAPE, bias and coverage of a model's forecasts, all origins taken together.

    Args:
        model: Name of the model.
        cells: `summed_cells` of each of its forecasts, at least one.

    Returns:
        A row for each level and key: model, level, key, quantity (units sold), wape, bias (above 0: too much),
        coverage_90 (share of the days from the 5 to the 95 % quantile).
    """
    summed = (
        pl.concat(cells)
        .group_by("level", "key", "place")
        .agg(pl.all().sum())
        .sort(pl.col("level").cast(pl.Enum(LEVELS)), "place")
    )
    sold = pl.when(pl.col("sold") > 0).then("sold")
    return summed.select(
        pl.lit(model).alias("model"),
        "level",
        "key",
        quantity="sold",
        wape=(pl.col("error") / sold).fill_null(float("nan")),
        bias=((pl.col("forecast") - pl.col("sold")) / sold).fill_null(float("nan")),
        coverage_90=pl.col("inside") / pl.col("cells"),
    )


def value_added(slices: pl.DataFrame, baseline: str) -> pl.DataFrame:
    """How much of a simple model's error each other model takes off, slice by slice.

    Args:
        slices: Rows of `errors_by_slice` of several models, judged on the same cells.
        baseline: Name of the simple model.

    Returns:
        The rows of the other models, and `value_added`: 1 − WAPE ÷ the baseline's WAPE. 0.1 is a tenth less error,
        below 0 is more error; null where the baseline made none, or did not forecast.
    """
    simple = slices.filter(pl.col("model") == baseline).select("level", "key", simple="wape")
    return (
        slices.filter(pl.col("model") != baseline)
        .join(simple, on=["level", "key"], how="left", maintain_order="left")
        .with_columns(
            value_added=pl.when(pl.col("simple") > 0)
            .then(1 - pl.col("wape") / pl.col("simple"))
            .fill_nan(None)
        )
        .drop("simple")
    )


def _codes(
    panel: Panel, origin: int, shape: tuple[int, ...]
) -> Iterator[tuple[str, list[str], NDArray[np.int64]]]:
    """Each level's keys, and the number of the key of every cell, (n_series, horizon)."""
    for level, column in (("location", "location_id"), ("department", "department")):
        names = panel.series[column].fill_null("")
        code = (names.rank("dense").cast(pl.Int64) - 1).to_numpy()
        yield level, names.unique().sort().to_list(), np.broadcast_to(code[:, None], shape)
    yield "volume", _volume_names(), np.broadcast_to(_volume(panel, origin)[:, None], shape)
    weeks = [f"days {day} to {min(day + 6, shape[1])}" for day in range(1, shape[1] + 1, 7)]
    yield "week ahead", weeks, np.broadcast_to(np.arange(shape[1]) // 7, shape)


def _volume(panel: Panel, origin: int) -> NDArray[np.int64]:
    """(n_series,) class of the mean day on sale up to the origin; one more for series without such a day."""
    past = panel.quantity[:, max(0, origin + 1 - VOLUME_DAYS) : origin + 1]
    known = ~np.isnan(past)
    days = known.sum(axis=1)
    mean = np.where(known, past, 0).sum(axis=1) / np.maximum(days, 1)
    return np.where(days > 0, np.searchsorted(VOLUME_EDGES, mean), len(VOLUME_EDGES) + 1)


def _volume_names() -> list[str]:
    edges = [f"{edge:g}" for edge in VOLUME_EDGES]
    between = [f"over {low} up to {high}" for low, high in pairwise(edges)]
    return [
        f"up to {edges[0]} a day",
        *(f"{name} a day" for name in between),
        f"over {edges[-1]} a day",
        NO_HISTORY,
    ]
