"""The years of M5 before the daily sales of all series, by store, department and day.

Guarantee: no day from the first daily one on is looked at, save the rest of its month.

Of those years the data holds each month's units of all series, and each day's of a sample of them (7 %). A
retailer's own lake holds every day; here each month's total is spread over its days as the sample sold: the
store's department, drawn towards its department in the state, and that towards the department everywhere.
"""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

FIRST_DAILY_DAY = 1495
MONTH_END_DAY = 1523
"""Last day (d_N) of the month in which the daily sales begin; an origin before it would see what follows."""
OWN_UNITS, STATE_UNITS = 60.0, 300.0
"""Units in a month that a sample must hold to weigh as much as what it is drawn towards."""
KEYS = ("store_id", "dept_id")


def earlier_totals(folder: Path, series: pl.DataFrame, day_of: dict[str, object]) -> pl.DataFrame:
    """Read and spread the months.

    Args:
        folder: Folder of the Parquet files.
        series: Columns id, store_id, dept_id of the series to sum.
        day_of: Date of each day's name (d_N).

    Returns:
        Columns location_id, department, sold_on, quantity; the days before the daily sales.
    """
    names = [f"d_{number}" for number in range(1, MONTH_END_DAY + 1)]
    sample = pl.read_parquet(
        folder / "sales_full_history_sample_2147.parquet", columns=["id", *KEYS, *names]
    ).with_columns(pl.col("id", *KEYS).cast(pl.String))
    daily = sample.group_by(KEYS).agg(pl.col(names).cast(pl.Float64).sum())
    monthly = pl.read_parquet(folder / "sales_monthly_2011-01_2016-04.parquet").with_columns(
        pl.col("id").cast(pl.String)
    )
    months = monthly.columns[1:]
    totals = monthly.join(series, on="id").group_by(KEYS).agg(pl.col(months).cast(pl.Float64).sum())
    groups = totals.join(daily, on=KEYS, how="left").sort(KEYS).with_columns(pl.col(names).fill_null(0))
    month_of = [str(day_of[name])[:7] for name in names]
    units = np.zeros((groups.height, len(names)))
    for month in dict.fromkeys(month_of):
        days = [number for number, name in enumerate(month_of) if name == month]
        sold = groups.select([names[number] for number in days]).to_numpy()
        units[:, days] = groups[month].to_numpy()[:, None] * _shares(groups, sold)
    kept = FIRST_DAILY_DAY - 1
    dates = pl.Series([day_of[name] for name in names[:kept]], dtype=pl.Date)
    return (
        groups.select(location_id="store_id", department="dept_id")
        .select(pl.all().repeat_by(kept).explode())
        .with_columns(sold_on=pl.concat([dates] * groups.height), quantity=pl.Series(units[:, :kept].ravel()))
    )


def _shares(groups: pl.DataFrame, sold: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_groups, n_days) share of each day in its month's sales."""
    department = groups["dept_id"].to_numpy()
    state = groups["store_id"].str.head(2).to_numpy()
    shares = np.empty_like(sold)
    for number in range(len(sold)):
        same = department == department[number]
        near = same & (state == state[number])
        everywhere = sold[same].sum(axis=0) / max(sold[same].sum(), 1.0)
        around = _drawn(sold[near].sum(axis=0), everywhere, STATE_UNITS)
        shares[number] = _drawn(sold[number], around, OWN_UNITS)
    return shares


def _drawn(sold: NDArray[np.float64], towards: NDArray[np.float64], units: float) -> NDArray[np.float64]:
    """Shares of days by what was sold and by other shares, which weigh as a number of units."""
    drawn: NDArray[np.float64] = (sold + units * towards) / (sold.sum() + units)
    return drawn
