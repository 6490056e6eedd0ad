"""The M5 competition's sales (Walmart, ten stores in three states) as deliveries.

Guarantee: a non-zero cell is one sale line with an id of its own, and the same folder and arguments give the
same files. Stores are written one after the other; memory holds one of them.

The competition is described in Makridakis, Spiliotis and Assimakopoulos, "The M5 competition: Background,
organization, and implementation", International Journal of Forecasting 38 (2022).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from cli.delivery_files import file_kind, write_delivery
from cli.m5_files import (
    TIME_ZONES,
    M5Files,
    StoreSales,
    find_m5,
    first_weeks,
    read_calendar,
    read_prices,
    read_series,
    read_store,
    sales_days,
)
from cli.m5_score import score_m5
from infra.errors import SettingError

__all__ = ["Period", "WrittenFile", "import_m5", "score_m5"]

Period = Literal["month", "quarter"]


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A delivery file that was written.

    Attributes:
        path: Where it lies.
        content: sales, locations, products, prices or events.
        records: Number of records in it.
        size_bytes: Its size.
    """

    path: Path
    content: str
    records: int
    size_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The parts of the calendar that every store needs."""

    calendar: pl.DataFrame
    days: list[int]
    week_starts: pl.DataFrame


def import_m5(
    folder: Path,
    out: Path,
    *,
    stores: Sequence[str] | None = None,
    first_day: date | str | None = None,
    last_day: date | str | None = None,
    period: Period = "quarter",
    extension: str = "xml",
) -> tuple[WrittenFile, ...]:
    """Write the M5 data as delivery files.

    Prices and events go to the end of the calendar: in M5 they are known ahead. Prices are change points;
    the one in force on the first day is among them.

    Args:
        folder: Folder of the competition's CSV files or of the Parquet files of the same tables.
        out: Folder to write into; files of the same names are replaced.
        stores: Ids such as CA_1; all by default.
        first_day: First day of sales, ISO 8601; the file's first by default.
        last_day: Last day of sales; the file's last by default. 2016-04-24 leaves out the final 28 days, so
            that forecasts of them can be scored.
        period: What a file of sales holds of a store.
        extension: Of the files: xml, csv, jsonl, parquet, also with .gz or .zst (prices, events and sales
            alike).

    Returns:
        The files in the order in which to deliver them: master data, then sales by period and store.

    Raises:
        MissingPartError: A file is missing.
        SettingError: An argument cannot be meant, or a file lacks columns.
    """
    files = find_m5(folder)
    file_kind(Path(f"sales.{extension}"))
    if period not in ("month", "quarter"):
        raise SettingError(f"period: expected month or quarter, found {period!r}")
    series = read_series(files)
    chosen = _chosen_stores(series, stores)
    table = _calendar(files, _day_of(first_day, "first_day"), _day_of(last_day, "last_day"))
    series = series.filter(pl.col("store_id").is_in(chosen))
    states = series["state_id"].unique().sort().to_list()
    start = _date_of(table, table.days[0])
    masters = [
        ("locations", _locations(series)),
        ("products", _products(series, first_weeks(files), table)),
        ("events", _events(table.calendar.filter(pl.col("date") >= start), states)),
    ]
    written = [_write(out, content, content, extension, frame) for content, frame in masters]
    sales: list[tuple[str, WrittenFile]] = []
    for store in chosen:
        prices = read_prices(files, store)
        changes = _price_changes(prices, table.week_starts, store, start)
        written.append(_write(out, "prices", f"prices-{store}", extension, changes))
        lines = _sale_lines(read_store(files, store, table.days), prices, table.calendar)
        for label, part in _by_period(lines, period):
            sales.append((label, _write(out, "sales", f"sales-{store}-{label}", extension, part)))
    # Sorting keeps the stores' order within a period: history arrives as it happened.
    return (*written, *(file for _, file in sorted(sales, key=lambda item: item[0])))


def _write(out: Path, content: str, name: str, extension: str, frame: pl.DataFrame) -> WrittenFile:
    path = out / f"{name}.{extension}"
    return WrittenFile(path, content, frame.height, write_delivery(path, content, frame))


def _chosen_stores(series: pl.DataFrame, stores: Sequence[str] | None) -> list[str]:
    known = series["store_id"].unique().sort().to_list()
    unknown = [store for store in stores or () if store not in known]
    if unknown or (stores is not None and not stores):
        raise SettingError(
            f"stores: expected some of {', '.join(known)}, found {', '.join(unknown) or 'none'}"
        )
    return [store for store in known if stores is None or store in stores]


def _day_of(value: date | str | None, name: str) -> date | None:
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise SettingError(f"{name}: expected a date such as 2016-04-24, found {value!r}") from error


def _calendar(files: M5Files, first_day: date | None, last_day: date | None) -> _Table:
    calendar = read_calendar(files)
    held = calendar.filter(pl.col("day").is_in(sales_days(files)))
    inside = held.filter(
        pl.lit(first_day is None) | (pl.col("date") >= pl.lit(first_day, pl.Date)),
        pl.lit(last_day is None) | (pl.col("date") <= pl.lit(last_day, pl.Date)),
    )
    if inside.is_empty():
        raise SettingError(
            f"first_day, last_day: expected days from {held['date'].item(0)} to {held['date'].item(-1)}, "
            f"found {first_day or 'the first'} to {last_day or 'the last'}"
        )
    starts = calendar.group_by("wm_yr_wk").agg(pl.col("date").min().alias("valid_from")).sort("wm_yr_wk")
    return _Table(calendar, inside["day"].to_list(), starts)


def _date_of(table: _Table, day: int) -> date:
    found: date = table.calendar.filter(pl.col("day") == day)["date"].item()
    return found


def _locations(series: pl.DataFrame) -> pl.DataFrame:
    zones = pl.col("region").replace_strict(TIME_ZONES, default=None)
    found = series.select(
        pl.col("store_id").alias("location_id"), pl.col("state_id").alias("region")
    ).unique()
    found = found.sort("location_id").with_columns(zones.alias("time_zone"))
    foreign = found.filter(pl.col("time_zone").is_null())["region"].to_list()
    if foreign:
        raise SettingError(f"state_id: expected one of {', '.join(TIME_ZONES)}, found {', '.join(foreign)}")
    return found.with_columns(pl.lit("supermarket").alias("kind"), pl.lit("USD").alias("currency"))


def _products(series: pl.DataFrame, first: pl.DataFrame, table: _Table) -> pl.DataFrame:
    """Items; one whose prices begin after the calendar does was introduced then."""
    introduced = first.join(table.week_starts, on="wm_yr_wk").filter(
        pl.col("valid_from") > table.calendar["date"].min()
    )
    return (
        series.select(
            pl.col("item_id").alias("product_id"),
            pl.col("dept_id").alias("department"),
            pl.col("cat_id").alias("category"),
        )
        .unique()
        .join(
            introduced.select(
                pl.col("item_id").alias("product_id"), pl.col("valid_from").alias("introduced_on")
            ),
            on="product_id",
            how="left",
        )
        .with_columns(pl.lit("piece").alias("unit"))
        .sort("product_id")
    )


def _events(calendar: pl.DataFrame, states: list[str]) -> pl.DataFrame:
    """The calendar's events, and the days on which a state pays SNAP benefits."""
    # A table of few events may have no second one on any day, and then lacks the columns or their type.
    named = [
        calendar.select(
            pl.col(f"event_name_{place}").cast(pl.String).alias("name"),
            pl.col(f"event_type_{place}").cast(pl.String).alias("type"),
            "date",
            pl.lit(None, dtype=pl.String).alias("region"),
        ).filter(pl.col("name").is_not_null())
        for place in (1, 2)
        if f"event_name_{place}" in calendar.columns
    ]
    benefits = [
        calendar.filter(pl.col(f"snap_{state}") == 1).select(
            pl.lit("SNAP").alias("name"), pl.lit("SNAP").alias("type"), "date", pl.lit(state).alias("region")
        )
        for state in states
        if f"snap_{state}" in calendar.columns
    ]
    slug = pl.col("name").str.replace_all(r"[^A-Za-z0-9]+", "")
    return (
        pl.concat([*named, *benefits])
        .with_columns(
            pl.concat_str(
                [slug, "region", pl.col("date").dt.to_string("%Y-%m-%d")], separator="-", ignore_nulls=True
            ).alias("event_id")
        )
        .sort("date", "event_id")
        .select("event_id", "date", "name", "type", "region")
    )


def _price_changes(prices: pl.DataFrame, week_starts: pl.DataFrame, store: str, start: date) -> pl.DataFrame:
    """Prices where they change, from the one in force on the first day on."""
    changed = (
        prices.join(week_starts, on="wm_yr_wk")
        .sort("item_id", "valid_from")
        .filter((pl.col("sell_price") != pl.col("sell_price").shift().over("item_id")).fill_null(value=True))
    )
    next_from = pl.col("valid_from").shift(-1).over("item_id")
    kept = changed.filter((next_from > start).fill_null(value=True))
    return kept.select(
        pl.lit(store).alias("location_id"),
        pl.col("item_id").alias("product_id"),
        "valid_from",
        pl.col("sell_price").alias("unit_price"),
    )


def _sale_lines(sales: StoreSales, prices: pl.DataFrame, calendar: pl.DataFrame) -> pl.DataFrame:
    """One line for each non-zero cell, day by day, sold at local noon; `date` says on which day."""
    day, item = np.nonzero(sales.units.T)
    cells = pl.DataFrame(
        {
            "item_id": sales.series["item_id"].gather(item),
            "day": sales.days[day],
            "quantity": sales.units[item, day],
        }
    )
    store, state = sales.series["store_id"][0], sales.series["state_id"][0]
    noon = pl.col("date").cast(pl.Datetime("us")) + timedelta(hours=12)
    return (
        cells.join(calendar.select("day", "date", "wm_yr_wk"), on="day", how="left", maintain_order="left")
        .join(prices, on=["item_id", "wm_yr_wk"], how="left", maintain_order="left")
        .select(
            pl.format("{}-{}-{}", pl.lit(store), "item_id", "day").alias("sale_id"),
            pl.lit(store).alias("location_id"),
            pl.col("item_id").alias("product_id"),
            noon.dt.replace_time_zone(TIME_ZONES[state]).alias("sold_at"),
            "quantity",
            pl.col("sell_price").alias("unit_price"),
            "date",
        )
    )


def _by_period(lines: pl.DataFrame, period: Period) -> Iterator[tuple[str, pl.DataFrame]]:
    if period == "month":
        label = pl.col("date").dt.to_string("%Y-%m")
    else:
        label = pl.format("{}-Q{}", pl.col("date").dt.year(), pl.col("date").dt.quarter())
    labelled = lines.with_columns(label.alias("label"))
    for part in labelled.partition_by("label", maintain_order=True):
        yield part["label"][0], part.drop("label", "date")
