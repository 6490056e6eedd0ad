"""M5's files as the panel of a retailer, and the competition's own score of a forecast.

Guarantee: a panel holds no sale after its last training day.
"""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.m5_history import earlier_totals
from ml.hierarchy import LEVELS as HIERARCHY
from ml.metrics import summed
from ml.panel import Panel, build_panel

HORIZON_DAYS = 28


def read_m5(
    folder: Path, stores: int, last_day: int, *, is_long: bool = True
) -> tuple[Panel, NDArray[np.float32]]:
    """Turn the files into the frames that a customer would have delivered, and those into a panel.

    Args:
        folder: Folder of the Parquet files.
        stores: Number of stores to take, in the order of their names.
        last_day: Number of the last day (d_N) whose sales are known.
        is_long: Whether the totals of the years before the daily sales are given too.

    Returns:
        The panel and the (n_series, 28) sales of the days after.
    """
    calendar = pl.read_parquet(folder / "calendar.parquet").with_columns(pl.col("date").str.to_date())
    day_of = dict(zip(calendar["d"], calendar["date"], strict=True))
    wide = pl.read_parquet(folder / "sales_train_d1495_d1941.parquet")
    kept = wide["store_id"].cast(pl.String).unique().sort().head(stores)
    wide = wide.with_columns(
        pl.col("id", "store_id", "item_id", "dept_id", "cat_id", "state_id").cast(pl.String)
    )
    wide = wide.filter(pl.col("store_id").is_in(kept.implode())).sort("store_id", "item_id")
    names = [name for name in wide.columns if name.startswith("d_")]
    daily = (
        wide.select("store_id", "item_id", *names)
        .unpivot(index=["store_id", "item_id"], variable_name="d", value_name="quantity")
        .filter(pl.col("quantity") > 0)
        .select(
            location_id="store_id",
            product_id="item_id",
            sold_on=pl.col("d").replace_strict(day_of, return_dtype=pl.Date),
            quantity=pl.col("quantity").cast(pl.Float64),
        )
    )
    first_days = calendar.group_by("wm_yr_wk").agg(valid_from=pl.col("date").min())
    prices = (
        pl.read_parquet(folder / "sell_prices.parquet")
        .with_columns(pl.col("store_id", "item_id").cast(pl.String))
        .filter(pl.col("store_id").is_in(kept.implode()))
        .join(first_days, on="wm_yr_wk")
        .select(
            "valid_from", location_id="store_id", product_id="item_id", unit_price="sell_price",
            promotion=pl.lit(value=False),
        )
    )  # fmt: skip
    panel = build_panel(
        daily,
        wide.select(location_id="store_id", region="state_id").unique(),
        wide.select(product_id="item_id", department="dept_id", category="cat_id").unique(),
        prices,
        _events(calendar),
        day_of[f"d_{last_day}"],
        HORIZON_DAYS,
        earlier=earlier_totals(folder, wide.select("id", "store_id", "dept_id"), day_of) if is_long else None,
    )
    ahead = [f"d_{last_day + number}" for number in range(1, HORIZON_DAYS + 1)]
    known = panel.series.select(store_id="location_id", item_id="product_id")
    sold = known.join(
        wide.select("store_id", "item_id", *ahead), on=["store_id", "item_id"], maintain_order="left"
    )
    return panel, sold.select(ahead).to_numpy().astype(np.float32)


def _events(calendar: pl.DataFrame) -> pl.DataFrame:
    """Named events of both columns, and a benefit day of each state as an event of its region."""
    named = [
        calendar.select(
            "date", name=f"event_name_{n}", type=f"event_type_{n}", region=pl.lit(None, pl.String)
        )
        for n in (1, 2)
    ]
    benefit = [
        calendar.filter(pl.col(f"snap_{state}") == 1).select(
            "date", name=pl.lit(None, pl.String), type=pl.lit("benefit"), region=pl.lit(state)
        )
        for state in ("CA", "TX", "WI")
    ]
    return pl.concat([*(frame.drop_nulls("type") for frame in named), *benefit])


def official_wrmsse(
    folder: Path, panel: Panel, actual: NDArray[np.float32], mean: NDArray[np.float32]
) -> dict[str, float]:
    """WRMSSE with the competition's weights and scales, by level and under "all"."""
    given = pl.read_parquet(folder / "wrmsse_weights_scales_d1913.parquet")
    scores = {}
    for number, (level, names) in enumerate(HIERARCHY.items(), start=1):
        columns = sorted(names, reverse=True) if level == "series" else names
        parts = [pl.col(name) for name in columns] or [pl.lit("Total")]
        suffix = pl.lit("_evaluation" if level == "series" else "")
        keys = panel.series.select(key=pl.concat_str([pl.concat_str(parts, separator="_"), suffix]))["key"]
        codes = (
            (keys.rank("dense").cast(pl.Int64) - 1).to_numpy()
            if columns
            else np.zeros(panel.n_series, np.int64)
        )
        ours = pl.DataFrame({"key": keys.unique().sort() if columns else ["Total"]})
        known = ours.join(
            given.filter(pl.col("level") == f"Level{number}"), on="key", how="left", maintain_order="left"
        )
        error = ((summed(actual, codes) - summed(mean, codes)) ** 2).mean(axis=1)
        weight, scale = known["weight_val"].to_numpy(), known["scale_val_d1913"].to_numpy()
        scores[level] = float((weight * np.sqrt(error / scale)).sum())
    return scores | {"all": float(np.mean(list(scores.values())))}
