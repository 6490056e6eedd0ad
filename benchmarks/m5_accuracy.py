"""WRMSSE of the models on the validation phase of M5: train to d_1913, forecast the 28 days after.

Run it with `HEADRACE_DATA` set to the folder that holds `m5/`:

    python -m benchmarks.m5_accuracy [--stores 1] [--models global_trees,seasonal_naive] [--rows-max 400000]

Weights and scales are the competition's own, so the score compares with published ones. With fewer than all
stores the scores are of our own weights and compare with each other only. The last line is one JSON object.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.errors import SettingError
from infra.settings import load_settings
from ml.backtest import last_revenue
from ml.baselines import SeasonalNaive, WeekdayMean
from ml.global_trees import GlobalTrees
from ml.hierarchy import LEVELS as HIERARCHY
from ml.hierarchy import level_codes
from ml.metrics import coverage, rmsse, scaled_pinball, summed, wrmsse
from ml.models import Forecast, Model
from ml.panel import Panel, build_panel
from ml.quantiles import LEVELS

HORIZON_DAYS = 28
LAST_TRAINING_DAY = 1913


def read_m5(folder: Path, stores: int, last_day: int) -> tuple[Panel, NDArray[np.float32]]:
    """Turn the files into the frames that a customer would have delivered, and those into a panel.

    Args:
        folder: Folder of the Parquet files.
        stores: Number of stores to take, in the order of their names.
        last_day: Number of the last day (d_N) whose sales are known.

    Returns:
        The panel and the (n_series, 28) sales of the days after.
    """
    calendar = pl.read_parquet(folder / "calendar.parquet").with_columns(pl.col("date").str.to_date())
    day_of = dict(zip(calendar["d"], calendar["date"], strict=True))
    wide = pl.read_parquet(folder / "sales_train_d1495_d1941.parquet")
    kept = wide["store_id"].cast(pl.String).unique().sort().head(stores)
    wide = wide.with_columns(pl.col("store_id", "item_id", "dept_id", "cat_id", "state_id").cast(pl.String))
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
    )
    ahead = [f"d_{last_day + number}" for number in range(1, HORIZON_DAYS + 1)]
    return panel, wide.select(ahead).to_numpy().astype(np.float32)


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


def score(
    folder: Path | None, panel: Panel, actual: NDArray[np.float32], forecast: Forecast
) -> dict[str, float]:
    """What the benchmark prints of a forecast; `folder` is given when the competition's weights apply."""
    history = panel.quantity[:, : panel.origin + 1]
    if folder is None:
        levels = wrmsse(
            actual, forecast.mean, history, last_revenue(panel, panel.origin), level_codes(panel.series)
        )
    else:
        levels = official_wrmsse(folder, panel, actual, forecast.mean)
    return {
        "wrmsse": levels["all"],
        **{f"wrmsse_{name}": levels[name] for name in ("total", "location_department", "series")},
        "rmsse_mean": float(np.nanmean(rmsse(actual, forecast.mean, history))),
        "bias": float(forecast.mean.sum() / actual.sum() - 1),
        "pinball": scaled_pinball(actual, forecast.quantiles, LEVELS, history),
        "coverage_90": coverage(actual, forecast.quantiles[:, :, 0], forecast.quantiles[:, :, -1]),
        "coverage_50": coverage(actual, forecast.quantiles[:, :, 2], forecast.quantiles[:, :, 4]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--stores", type=int, default=10, help="stores to take")
    parser.add_argument(
        "--models", default="seasonal_naive,weekday_mean,global_trees", help="names, by commas"
    )
    parser.add_argument("--rows-max", type=int, default=GlobalTrees().rows_max, help="rows of a fit")
    parser.add_argument(
        "--last-day", type=int, default=LAST_TRAINING_DAY, help="N of the last training day d_N"
    )
    chosen = parser.parse_args(arguments)
    data = load_settings().data
    if data is None or not (data / "m5").is_dir():
        raise SettingError(f"HEADRACE_DATA: expected the folder that holds m5/, found {data}.")
    folder = data / "m5"
    models: dict[str, Model] = {
        model.name: model for model in (SeasonalNaive(), WeekdayMean(), GlobalTrees(rows_max=chosen.rows_max))
    }
    began = time.perf_counter()
    panel, actual = read_m5(folder, chosen.stores, chosen.last_day)
    result: dict[str, object] = {
        "benchmark": "m5_accuracy",
        "n_series": panel.n_series,
        "last_training_day": str(panel.day(panel.origin)),
        "panel_s": round(time.perf_counter() - began, 1),
    }
    official = chosen.stores >= 10 and chosen.last_day == LAST_TRAINING_DAY
    scores = {}
    for name in chosen.models.split(","):
        began = time.perf_counter()
        fitted = models[name].fit(panel, panel.origin, HORIZON_DAYS)
        fitted_after = time.perf_counter()
        forecast = fitted.predict(panel, panel.origin, HORIZON_DAYS)
        times = {"fit_s": fitted_after - began, "predict_s": time.perf_counter() - fitted_after}
        found = score(folder if official else None, panel, actual, forecast) | times
        scores[name] = {key: round(value, 4) for key, value in found.items()}
        sys.stderr.write(f"{name}: {scores[name]}\n")
    result |= {
        "weights": "competition" if official else "own",
        "models": scores,
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
