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
from ml.metrics import bias, rmsse, summed, wape, wrmsse

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
    codes = {f"level_{number}": _codes(sales.series, parts) for number, parts in enumerate(LEVELS, start=1)}
    if official is None:
        levels = wrmsse(sales.actual, forecast, sales.training, sales.dollars, codes)
    else:
        levels = _official_wrmsse(sales, forecast, codes, official)
    return {
        "first_day": first_day.isoformat(),
        "days": HORIZON_DAYS,
        "stores": stores,
        "series": sales.series.height,
        "missing_cells": missing_cells,
        "scales": "computed" if official is None else "official",
        "wape": _number(wape(sales.actual, forecast)),
        "bias": _number(bias(sales.actual, forecast)),
        "rmsse": _number(_mean(rmsse(sales.actual, forecast, sales.training))),
        "wrmsse": _number(levels["all"]),
        "levels": {name: _number(levels[name]) for name in codes},
    }


def _number(value: float) -> float | None:
    """A metric that cannot be told is null in a report, for JSON has no NaN."""
    return float(value) if np.isfinite(value) else None


def _mean(scores: Floats) -> float:
    known = scores[np.isfinite(scores)]
    return float(known.mean()) if len(known) else float("nan")


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
    if not chosen["mean"].is_finite().fill_null(value=False).all():
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
    mine = series.select(_keys(LEVELS[-1]).alias("key"))["key"]
    return table if set(bottom) == set(mine) else None


def _keys(parts: tuple[str, ...]) -> pl.Expr:
    return pl.concat_str(parts, separator="_") if parts else pl.lit("Total")


def _codes(series: pl.DataFrame, parts: tuple[str, ...]) -> NDArray[np.int64]:
    """The number of each series' group, in the order of the groups' keys, (n_series,)."""
    keys = series.with_columns(_keys(parts).alias("key"))["key"]
    return keys.rank("dense").to_numpy().astype(np.int64) - 1


def _official_wrmsse(
    sales: _Sales, forecast: Floats, codes: dict[str, NDArray[np.int64]], official: pl.DataFrame
) -> dict[str, float]:
    """The levels' scores by the official weights and scales; their mean under "all"."""
    scores: dict[str, float] = {}
    for number, (name, groups) in enumerate(codes.items(), start=1):
        keys = sales.series.select(_keys(LEVELS[number - 1]).alias("key")).unique().sort("key")
        here = official.filter(pl.col("level") == number)
        joined = keys.join(here, on="key", how="left", maintain_order="left")
        errors = summed(sales.actual, groups) - summed(forecast, groups)
        score = np.sqrt(np.square(errors).mean(axis=1) / joined["scale"].to_numpy())
        scores[name] = float((joined["weight"].to_numpy() * score).sum())
    scores["all"] = float(np.mean(list(scores.values())))
    return scores
