"""The M5 competition's files as columns, from its own CSV files or from Parquet files of the same tables.

Guarantee: sales and prices are read one store at a time, so that memory stays far below the files' size;
whatever is missing is named together with the file names that were looked for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.errors import MissingPartError, SettingError

TIME_ZONES = {"CA": "America/Los_Angeles", "TX": "America/Chicago", "WI": "America/Chicago"}
"""Time zone of each state's stores."""

_NAMES = {
    "calendar": ("calendar.csv", "calendar.parquet"),
    "prices": ("sell_prices.csv", "sell_prices.parquet"),
    "sales": ("sales_train_evaluation.csv", "sales_train_validation.csv", "sales_train_d*_d*.parquet"),
}
_SERIES = ("item_id", "dept_id", "cat_id", "store_id", "state_id")
_DAY = re.compile(r"d_(\d+)")


@dataclass(frozen=True, slots=True)
class M5Files:
    """Where the three tables lie.

    Attributes:
        calendar: Days with their weeks, events and SNAP flags.
        prices: Weekly prices by store and item.
        sales: Daily units, one column a day.
    """

    calendar: Path
    prices: Path
    sales: Path


@dataclass(frozen=True, slots=True, eq=False)
class StoreSales:
    """Daily units of one store.

    Attributes:
        series: item_id, dept_id, cat_id, store_id and state_id, one row a series.
        days: Numbers of the days, rising, (n_days,): day 1 is 2011-01-29.
        units: Units sold, (n_series, n_days).
    """

    series: pl.DataFrame
    days: NDArray[np.int64]
    units: NDArray[np.int16]


def find_m5(folder: Path) -> M5Files:
    """Look for the three tables in a folder, or in its subfolder `m5`.

    Raises:
        MissingPartError: The folder or a table is missing; the text names what was looked for.
    """
    if not folder.is_dir():
        raise MissingPartError(f"{folder}: expected a folder with the M5 files, found none")
    places = [folder, folder / "m5"]
    found = {table: _first(places, names) for table, names in _NAMES.items()}
    missing = [f"{table} ({' or '.join(_NAMES[table])})" for table, path in found.items() if path is None]
    if missing:
        raise MissingPartError(
            f"{folder} and {folder / 'm5'}: expected the M5 tables, missing {'; '.join(missing)}"
        )
    return M5Files(**{table: path for table, path in found.items() if path is not None})


def _first(places: list[Path], names: Sequence[str]) -> Path | None:
    for place in places:
        for name in names:
            # Of several files with daily sales the one that goes furthest serves.
            matches = sorted(place.glob(name), key=_last_day)
            if matches:
                return matches[-1]
    return None


def _last_day(path: Path) -> int:
    digits = path.stem.rpartition("_d")[2]
    return int(digits) if digits.isdigit() else 0


def read_calendar(files: M5Files) -> pl.DataFrame:
    """The calendar with `date` as a date and the day's number `day`, in the order of days."""
    table = _scan(files.calendar).collect()
    _require(files.calendar, table.columns, ["date", "d", "wm_yr_wk", "event_name_1", "event_type_1"])
    return table.with_columns(
        pl.col("date").cast(pl.String).str.to_date("%Y-%m-%d"),
        pl.col("d").str.strip_prefix("d_").cast(pl.Int64).alias("day"),
        pl.col("wm_yr_wk").cast(pl.Int32),
    ).sort("day")


def read_series(files: M5Files) -> pl.DataFrame:
    """The ids of all series: item_id, dept_id, cat_id, store_id, state_id."""
    source = _scan(files.sales)
    _require(files.sales, source.collect_schema().names(), _SERIES)
    return source.select(pl.col(_SERIES).cast(pl.String)).collect()


def sales_days(files: M5Files) -> list[int]:
    """Numbers of the days that the file of sales holds, rising."""
    names = _scan(files.sales).collect_schema().names()
    days = sorted(int(match[1]) for name in names if (match := _DAY.fullmatch(name)))
    if not days:
        raise SettingError(f"{files.sales.name}: expected columns d_1, d_2, …; found {', '.join(names[:8])}")
    return days


def read_store(files: M5Files, store: str, days: Sequence[int]) -> StoreSales:
    """Read one store's units of some days, in the order of items."""
    source = _scan(files.sales).filter(pl.col("store_id") == store)
    units = [pl.col(f"d_{day}").cast(pl.Int16) for day in days]
    table = (
        source.select(*(pl.col(name).cast(pl.String) for name in _SERIES), *units).collect().sort("item_id")
    )
    matrix = table.select(f"d_{day}" for day in days).to_numpy()
    return StoreSales(table.select(_SERIES), np.asarray(days, dtype=np.int64), matrix)


def read_prices(files: M5Files, store: str) -> pl.DataFrame:
    """One store's weekly prices: item_id, wm_yr_wk, sell_price, in the order of items and weeks."""
    here = _prices(files).filter(pl.col("store_id").cast(pl.String) == store).drop("store_id")
    return here.collect(engine="streaming").sort("item_id", "wm_yr_wk")


def first_weeks(files: M5Files) -> pl.DataFrame:
    """Of each item the first week in which any store had a price for it: item_id, wm_yr_wk."""
    weeks = _prices(files).group_by("item_id").agg(pl.col("wm_yr_wk").min())
    return weeks.collect(engine="streaming").sort("item_id")


def _prices(files: M5Files) -> pl.LazyFrame:
    source = _scan(files.prices)
    _require(files.prices, source.collect_schema().names(), ["store_id", "item_id", "wm_yr_wk", "sell_price"])
    return source.select(
        "store_id",
        pl.col("item_id").cast(pl.String),
        pl.col("wm_yr_wk").cast(pl.Int32),
        pl.col("sell_price").cast(pl.Float64),
    )


def _scan(path: Path) -> pl.LazyFrame:
    if path.suffix == ".parquet":
        return pl.scan_parquet(path)
    names = pl.scan_csv(path).collect_schema().names()
    # Types are given: a first non-empty event or a price without decimals must not decide them.
    kinds: dict[str, pl.DataType] = {name: pl.String() for name in names}
    kinds |= {name: pl.Int16() for name in names if _DAY.fullmatch(name) or name.startswith("snap_")}
    kinds |= {"wm_yr_wk": pl.Int32(), "sell_price": pl.Float64()}
    return pl.scan_csv(path, schema={name: kinds[name] for name in names})


def _require(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    missing = [name for name in expected if name not in found]
    if missing:
        raise SettingError(
            f"{path.name}: expected the columns {', '.join(expected)}; missing {', '.join(missing)}"
        )
