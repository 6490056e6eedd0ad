"""How good forecasts of the M5 competition's sales are, by the competition's own measure.

Guarantee: WRMSSE as the competitors' guide defines it, over the twelve levels of the stores that were
forecast. Where the folder holds the official weights and scales of the origin and all their series were
forecast, they are used.

RMSSE = sqrt(mean over the horizon of (y − ŷ)² ÷ mean over the training days from the second on, counted from
the first sale, of (y_t − y_{t−1})²). WRMSSE = Σ weight × RMSSE in each level, averaged over the levels; the
weights are shares of dollar sales in the last 28 training days (M5 Competitors' Guide, 2020).
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from cli.m5_files import M5Files, find_m5, read_calendar, read_prices, read_store, sales_days
from infra.errors import SettingError

HORIZON_DAYS = 28
LEVELS: tuple[tuple[str, ...], ...] = (
    (),
    ("state_id",),
    ("store_id",),
    ("cat_id",),
    ("dept_id",),
    ("state_id", "cat_id"),
    ("state_id", "dept_id"),
    ("store_id", "cat_id"),
    ("store_id", "dept_id"),
    ("item_id",),
    ("item_id", "state_id"),
    ("item_id", "store_id"),
)
"""By what the series of each level are summed."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Sales:
    """Of n series: ids, units in training and in the horizon, and dollars of the last 28 training days."""

    series: pl.DataFrame
    training: Floats
    actual: Floats
    dollars: Floats


def score_m5(folder: Path, forecasts: pl.DataFrame, first_day: date) -> dict[str, object]:
    """Score forecasts of 28 days against what was sold.

    Args:
        folder: The competition's files, as `import_m5` reads them; they must hold the 28 days.
        forecasts: location_id, product_id, date and mean (units a day); one row each. Every series of a
            location that occurs is scored; a day without a forecast counts as a forecast of zero and is
            counted.
        first_day: First of the 28 days; the days before are the training days.

    Returns:
        `first_day`, `days`, `stores`, `series`, `missing_cells` (cells without a forecast), `scales`
        (`official` or `computed` from the days at hand), `wape` (Σ|y − ŷ| ÷ Σy), `bias` (Σŷ ÷ Σy − 1),
        `rmsse` (mean over the series that can be scaled), `wrmsse`, and `levels`: the twelve levels' own, by
        `level_1` … `level_12`.

    Raises:
        MissingPartError: A file is missing.
        SettingError: The days are not held by the files, or the forecasts are not as described.
    """
    files = find_m5(folder)
    missing = [
        name for name in ("location_id", "product_id", "date", "mean") if name not in forecasts.columns
    ]
    if missing:
        raise SettingError(
            f"forecasts: expected location_id, product_id, date, mean; missing {', '.join(missing)}"
        )
    stores = forecasts["location_id"].unique().sort().to_list()
    sales, origin, days = _read(files, stores, first_day)
    forecast, missing_cells = _matrix(forecasts, sales.series, days)
    official = _official(files.calendar.parent, origin, sales.series)
    levels = [_level(parts, sales, forecast, official) for parts in LEVELS]
    bottom = _rmsse(sales.training, sales.actual, forecast)
    total = sales.actual.sum()
    return {
        "first_day": first_day.isoformat(),
        "days": HORIZON_DAYS,
        "stores": stores,
        "series": sales.series.height,
        "missing_cells": missing_cells,
        "scales": "computed" if official is None else "official",
        "wape": float(np.abs(sales.actual - forecast).sum() / total) if total else None,
        "bias": float(forecast.sum() / total - 1) if total else None,
        "rmsse": float(np.nanmean(bottom)) if np.isfinite(bottom).any() else None,
        "wrmsse": float(np.mean(levels)),
        "levels": {f"level_{number}": value for number, value in enumerate(levels, start=1)},
    }


def _read(files: M5Files, stores: list[str], first_day: date) -> tuple[_Sales, int, pl.DataFrame]:
    calendar = read_calendar(files)
    held = sales_days(files)
    known = calendar.filter(pl.col("day").is_in(held))
    future = known.filter(pl.col("date") >= first_day).head(HORIZON_DAYS)
    past = known.filter(pl.col("date") < first_day)
    if future.height < HORIZON_DAYS or past.height < HORIZON_DAYS:
        raise SettingError(
            f"first_day: expected {HORIZON_DAYS} days of sales from {first_day} on and as many before it, "
            f"found {past.height} days before it and {future.height} from it on in {files.sales.name}"
        )
    parts: list[_Sales] = []
    for store in stores:
        read = read_store(files, store, [*past["day"].to_list(), *future["day"].to_list()])
        if read.series.is_empty():
            raise SettingError(f"forecasts: expected locations of {files.sales.name}, found {store}")
        units = read.units.astype(np.float64)
        training = units[:, : past.height]
        prices = _weekly(read_prices(files, store), read.series, past.tail(HORIZON_DAYS))
        dollars = (training[:, -HORIZON_DAYS:] * prices).sum(axis=1)
        parts.append(_Sales(read.series, training, units[:, past.height :], dollars))
    whole = _Sales(
        pl.concat(part.series for part in parts),
        np.concatenate([part.training for part in parts]),
        np.concatenate([part.actual for part in parts]),
        np.concatenate([part.dollars for part in parts]),
    )
    return whole, int(past["day"][-1]), future


def _weekly(prices: pl.DataFrame, series: pl.DataFrame, days: pl.DataFrame) -> Floats:
    """Prices by series and day, (n_series, n_days); zero where an item had none, for it was not sold."""
    items = series.select("item_id").with_row_index("row")
    cells = items.join(days.select("wm_yr_wk").with_row_index("column"), how="cross")
    found = cells.join(prices, on=["item_id", "wm_yr_wk"], how="left").sort("row", "column")
    return found["sell_price"].fill_null(0.0).to_numpy().reshape(series.height, days.height)


def _matrix(forecasts: pl.DataFrame, series: pl.DataFrame, days: pl.DataFrame) -> tuple[Floats, int]:
    """Forecasts as (n_series, 28), zero where there is none, and how many are missing."""
    places = series.select("store_id", "item_id").with_row_index("row")
    columns = days.select("date").with_row_index("column")
    chosen = (
        forecasts.select(
            "location_id", "product_id", pl.col("date").cast(pl.Date), pl.col("mean").cast(pl.Float64)
        )
        .join(places, left_on=["location_id", "product_id"], right_on=["store_id", "item_id"])
        .join(columns, on="date")
    )
    if chosen.select(pl.struct("row", "column").is_duplicated().any()).item():
        raise SettingError("forecasts: expected one row for each location, product and day, found several")
    if not chosen["mean"].is_finite().all():
        raise SettingError("forecasts: expected finite means, found null or NaN")
    matrix = np.zeros((series.height, days.height))
    matrix[chosen["row"].to_numpy(), chosen["column"].to_numpy()] = chosen["mean"].to_numpy()
    return matrix, matrix.size - chosen.height


def _official(folder: Path, origin: int, series: pl.DataFrame) -> pl.DataFrame | None:
    """The official weights and scales of an origin, if they are there for exactly these series."""
    path = folder / f"wrmsse_weights_scales_d{origin}.parquet"
    if not path.exists():
        return None
    table = pl.read_parquet(path)
    table = table.select(
        pl.col("level").str.strip_prefix("Level").cast(pl.Int64),
        pl.col("key").str.replace(r"_(evaluation|validation)$", ""),
        pl.col("^weight.*$").alias("weight"),
        pl.col("^scale.*$").alias("scale"),
    )
    bottom = table.filter(pl.col("level") == len(LEVELS))["key"]
    mine = series.select(pl.concat_str(LEVELS[-1], separator="_").alias("key"))["key"]
    return table if set(bottom) == set(mine) else None


def _level(parts: tuple[str, ...], sales: _Sales, forecast: Floats, official: pl.DataFrame | None) -> float:
    keys = pl.concat_str(parts, separator="_") if parts else pl.lit("Total")
    named = sales.series.with_columns(keys.alias("key"))["key"]
    codes = named.rank("dense").to_numpy().astype(np.int64) - 1
    training, actual, predicted = (
        _summed(values, codes) for values in (sales.training, sales.actual, forecast)
    )
    if official is None:
        dollars = np.bincount(codes, sales.dollars)
        weight = dollars / dollars.sum() if dollars.sum() else dollars
        scores = _rmsse(training, actual, predicted)
    else:
        order = pl.DataFrame({"key": named.unique().sort()})
        here = official.filter(pl.col("level") == LEVELS.index(parts) + 1)
        joined = order.join(here, on="key", how="left", maintain_order="left")
        weight, scale = joined["weight"].to_numpy(), joined["scale"].to_numpy()
        scores = np.sqrt(np.square(actual - predicted).mean(axis=1) / scale)
    # A series without a sale in the last 28 days weighs nothing, whether or not it can be scaled.
    return float(np.sum(np.where(weight > 0, weight * scores, 0.0)))


def _summed(values: Floats, codes: NDArray[np.int64]) -> Floats:
    sums = np.zeros((int(codes.max()) + 1, values.shape[1]))
    np.add.at(sums, codes, values)
    return sums


def _rmsse(training: Floats, actual: Floats, forecast: Floats) -> Floats:
    """RMSSE of each series, (n_series,); NaN where the training days hold no change from which to scale."""
    begun = np.maximum.accumulate(training > 0, axis=1)
    steps = np.where(begun[:, :-1], np.square(np.diff(training, axis=1)), 0.0)
    counts = begun[:, :-1].sum(axis=1)
    scale = np.divide(steps.sum(axis=1), counts, out=np.full(len(training), np.nan), where=counts > 0)
    scale[scale == 0] = np.nan
    return np.asarray(np.sqrt(np.square(actual - forecast).mean(axis=1) / scale))
