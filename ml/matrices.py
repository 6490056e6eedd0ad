"""Rows of sales and prices to matrices of series × days: the cells of the panel.

Guarantee: pure functions; nothing here looks from a day to a later one.
"""

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

NEVER = np.int32(2**30)
"""Day index of what has not happened."""
SHUT_WINDOW_DAYS = 28
"""Days before a day that tell what its location usually sells."""
SHUT_SHARE = 0.02
"""Share of the usual sales below which a location was shut."""
SHUT_MEDIAN_MIN = 20.0
"""Units a day below which a location may sell nothing by chance."""


def days_from(column: pl.Series, first: date, missing: np.int32) -> NDArray[np.int32]:
    """Days from a first day to each date of a column, and `missing` for a null."""
    return (column - first).dt.total_days().cast(pl.Int32).fill_null(int(missing)).to_numpy()


def scatter_sales(sales: pl.DataFrame, first: date, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Lay sales out.

    Args:
        sales: Columns row (of the series), sold_on, quantity; several rows of one cell are summed.
        first: The first day.
        shape: Number of series and days.

    Returns:
        (n_series, n_days) units, 0 where nothing was sold.
    """
    summed = sales.group_by("row", day=(pl.col("sold_on") - first).dt.total_days()).agg(
        pl.col("quantity").sum()
    )
    sold = np.zeros(shape, dtype=np.float32)
    sold[summed["row"].to_numpy(), summed["day"].to_numpy()] = summed["quantity"].to_numpy()
    return sold


def scatter_prices(
    plan: pl.DataFrame, first: date, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int32]]:
    """Lay prices out, each carried forward until the next.

    Args:
        plan: Columns row (of the series), valid_from, unit_price, promotion, priced_on (its first price).
        first: The first day.
        shape: Number of series and days.

    Returns:
        price, promotion and withheld (a null price), each (n_series, n_days), and (n_series,) day of the
        first price, which may lie before the first day, or `NEVER`.
    """
    ordered = plan.sort("row", "valid_from").with_columns(day=(pl.col("valid_from") - first).dt.total_days())
    rows = ordered["row"].to_numpy()
    held = np.full(shape, -1, dtype=np.int32)
    # A price from before the first day holds on it; of several on one cell the last in order stays.
    held[rows, np.maximum(ordered["day"].to_numpy(), 0)] = np.arange(len(rows), dtype=np.int32)
    np.maximum.accumulate(held, axis=1, out=held)
    # Index -1, before the first price, finds what is appended here.
    unit_price = np.append(ordered["unit_price"].to_numpy().astype(np.float32), np.float32(np.nan))
    promotion = np.append(ordered["promotion"].to_numpy().astype(np.bool_), np.False_)
    price = unit_price[held]
    priced_from = np.full(shape[0], NEVER, dtype=np.int32)
    priced_from[rows] = days_from(ordered["priced_on"], first, NEVER)
    return price, promotion[held], (held >= 0) & np.isnan(price), priced_from


def shut_days(
    sold: NDArray[np.float32], location: NDArray[np.int32], n_locations: int, origin: int
) -> NDArray[np.bool_]:
    """Days on which a location that usually sells sold next to nothing: it was shut.

    A day is compared only with the days before it, so the answer for a day never changes later.

    Args:
        sold: (n_series, n_days) units.
        location: (n_series,) index of each series' location.
        n_locations: Number of locations.
        origin: Day index of the last day whose sales are known.

    Returns:
        (n_locations, n_days) bool.
    """
    totals = np.zeros((n_locations, sold.shape[1]), dtype=np.float64)
    np.add.at(totals, location, sold)
    shut = np.zeros(totals.shape, dtype=np.bool_)
    if origin < SHUT_WINDOW_DAYS or not n_locations:
        return shut
    windows = np.lib.stride_tricks.sliding_window_view(totals[:, :origin], SHUT_WINDOW_DAYS, axis=1)
    usual = np.median(windows, axis=2)
    shut[:, SHUT_WINDOW_DAYS : origin + 1] = (usual >= SHUT_MEDIAN_MIN) & (
        totals[:, SHUT_WINDOW_DAYS : origin + 1] < SHUT_SHARE * usual
    )
    return shut


def mean_unit_value(
    price: NDArray[np.float32], sales: pl.DataFrame, row: pl.DataFrame
) -> NDArray[np.float32]:
    """Mean price of each series, by its prices, else by its revenue, else the median of the others.

    Args:
        price: (n_series, n_days) prices up to the origin, NaN where none is known.
        sales: Columns location_id, product_id, quantity and, if at hand, revenue.
        row: Columns row, location_id, product_id of the series, in their order.

    Returns:
        (n_series,) above 0; all 1 when nothing is known of any price.
    """
    known = ~np.isnan(price)
    count = known.sum(axis=1)
    value = np.where(known, price, 0).sum(axis=1, dtype=np.float64) / np.maximum(count, 1)
    value[count == 0] = np.nan
    if "revenue" in sales.columns:
        taken = (
            sales.filter(pl.col("revenue").is_not_null())
            .group_by("location_id", "product_id")
            .agg(value=pl.col("revenue").sum() / pl.col("quantity").sum())
        )
        earned = row.join(taken, on=["location_id", "product_id"], how="left").sort("row")["value"].to_numpy()
        value = np.where(np.isnan(value), earned, value)
    value[~(value > 0)] = np.nan
    found = value[~np.isnan(value)]
    usual = float(np.median(found)) if len(found) else 1.0
    return np.where(np.isnan(value), usual, value).astype(np.float32)
