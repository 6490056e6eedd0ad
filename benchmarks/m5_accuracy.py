"""Accuracy of the models on M5's sales: WRMSSE of 28 days after each of several origins, and what it costs.

Run it with `HEADRACE_DATA` set to the folder that holds `m5/`:

    make bench-m5                                # all of it
    python -m benchmarks.m5_accuracy --stores 1 --windows 1914 --models lightgbm,weekday_mean

Windows are named by their first day (d_N). For the one that starts at d_1914 with all stores, the validation
phase, weights and scales are the competition's own and the score compares with published ones; elsewhere they
are computed from the days at hand. Each panel ends at its window's origin: no model is given a later day. The
ranges of sums of the 28 days are learned from the windows before. The last line is one JSON object.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.m5_panel import HORIZON_DAYS, official_wrmsse, read_m5
from infra.errors import SettingError
from infra.settings import FlowSettings, load_settings
from ml.backtest import last_revenue
from ml.baselines import SeasonalNaive, WeekdayMean
from ml.global_trees import GlobalTrees
from ml.hierarchy import level_codes
from ml.metrics import bias, coverage, scaled_pinball, summed, wape, wrmsse
from ml.models import Forecast, Model
from ml.panel import Panel
from ml.quantiles import LEVELS
from ml.smoothing import Smoothing
from ml.sums import Past, shared_errors, sum_quantiles

VALIDATION = 1914
WINDOWS = (1858, 1886, VALIDATION)
ALL_STORES = 10
SERIES_SUMMED_MAX = 2_000
"""Series whose sum of the days is judged; drawn by chance."""


def models_of(rows_max: int) -> dict[str, Model]:
    """Every model that can be asked for."""
    return {
        "seasonal_naive": SeasonalNaive(),
        "weekday_mean": WeekdayMean(),
        "exponential_smoothing": Smoothing("exponential_smoothing"),
        "tsb": Smoothing("tsb"),
        "hist_gradient_boosting": GlobalTrees(rows_max=rows_max, learner="hist_gradient_boosting"),
        "lightgbm": GlobalTrees(rows_max=rows_max, learner="lightgbm"),
    }


def score(
    folder: Path | None, panel: Panel, actual: NDArray[np.float32], forecast: Forecast
) -> dict[str, object]:
    """The scores of one forecast; `folder` is given when the competition's weights apply."""
    history = panel.quantity[:, : panel.origin + 1]
    if folder is None:
        revenue = last_revenue(panel, panel.origin)
        levels = wrmsse(actual, forecast.mean, history, revenue, level_codes(panel.series))
    else:
        levels = official_wrmsse(folder, panel, actual, forecast.mean)
    lower, upper = forecast.quantiles[:, :, 0], forecast.quantiles[:, :, -1]
    return {
        "wrmsse": round(levels.pop("all"), 4),
        "levels": {name: round(value, 4) for name, value in levels.items()},
        "wape": round(wape(actual, forecast.mean), 4),
        "bias": round(bias(actual, forecast.mean), 4),
        "pinball": round(scaled_pinball(actual, forecast.quantiles, LEVELS, history), 4),
        "coverage_90": round(coverage(actual, lower, upper), 4),
        "coverage_50": round(coverage(actual, forecast.quantiles[:, :, 2], forecast.quantiles[:, :, 4]), 4),
    }


def score_sums(panel: Panel, forecast: Forecast, pasts: Sequence[Past], now: Past) -> dict[str, object]:
    """How many sums of the 28 days lay within their range from 5 to 95 %: of series, and of departments."""
    if not pasts:
        return {}
    shared, group = shared_errors(pasts), panel.codes.group.astype(np.int64)
    mean = np.where(np.isnan(now.actual), 0, forecast.mean)
    some = np.random.default_rng(0).permutation(panel.n_series)[:SERIES_SUMMED_MAX]
    found: dict[str, object] = {}
    for name, rows, sums in (
        ("series", some, np.arange(len(some))),
        ("location_department", np.arange(panel.n_series), group),
    ):
        ranges = sum_quantiles(mean[rows], shared, sums)
        sold = summed(now.actual[rows], sums).sum(axis=1)[:, None]
        found[name] = round(coverage(sold, ranges[:, :1], ranges[:, -1:]), 4)
    return {"coverage_90_sums": found}


def run(
    folder: Path, windows: Sequence[int], names: Sequence[str], stores: int, rows_max: int, *, is_long: bool
) -> dict[str, dict[int, dict[str, object]]]:
    """Fit and score each model in each window.

    Returns:
        By model and window its scores, `train_s`, `forecast_s` (seconds of the clock) and `cpu_s`.
    """
    models = models_of(rows_max)
    found: dict[str, dict[int, dict[str, object]]] = {name: {} for name in names}
    pasts: dict[str, list[Past]] = {name: [] for name in names}
    for window in sorted(windows):
        panel, actual = read_m5(folder, stores, window - 1, is_long=is_long)
        is_official = window == VALIDATION and stores >= ALL_STORES
        for name in names:
            began, began_cpu = time.perf_counter(), time.process_time()
            fitted = models[name].fit(panel, panel.origin, HORIZON_DAYS)
            trained = time.perf_counter()
            forecast = fitted.predict(panel, panel.origin, HORIZON_DAYS)
            ended, ended_cpu = time.perf_counter(), time.process_time()
            past = Past(forecast.mean, actual, panel.codes.group.astype(np.int64))
            found[name][window] = score(folder if is_official else None, panel, actual, forecast)
            found[name][window] |= score_sums(panel, forecast, pasts[name], past)
            pasts[name].append(past)
            found[name][window] |= {
                "train_s": round(trained - began, 1),
                "forecast_s": round(ended - trained, 1),
                "cpu_s": round(ended_cpu - began_cpu, 1),
            }
            sys.stderr.write(f"d_{window} {name}: {found[name][window]}\n")
    return found


def summary(windows: dict[int, dict[str, object]]) -> dict[str, object]:
    """One model's result: its last window, and the WRMSSE of each."""
    by_window = {str(window): scores["wrmsse"] for window, scores in windows.items()}
    mean = float(np.mean([float(str(value)) for value in by_window.values()]))
    return {**windows[max(windows)], "wrmsse_windows": by_window, "wrmsse_mean": round(mean, 4)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--stores", type=int, default=ALL_STORES, help="stores to take")
    parser.add_argument("--windows", default=",".join(map(str, WINDOWS)), help="first days d_N, by commas")
    parser.add_argument("--models", default=",".join(models_of(1)), help="names, by commas")
    parser.add_argument(
        "--rows-max", type=int, default=FlowSettings().training_rows_max, help="rows of a fit"
    )
    parser.add_argument(
        "--short-history", action="store_true", help="without the years before the daily sales"
    )
    chosen = parser.parse_args(arguments)
    data = load_settings().data
    if data is None or not (data / "m5").is_dir():
        raise SettingError(f"HEADRACE_DATA: expected the folder that holds m5/, found {data}.")
    windows = [int(window) for window in chosen.windows.split(",")]
    names = chosen.models.split(",")
    unknown = sorted(set(names) - set(models_of(1)))
    if unknown:
        raise SettingError(f"--models: expected some of {', '.join(models_of(1))}, found {unknown[0]}.")
    found = run(data / "m5", windows, names, chosen.stores, chosen.rows_max, is_long=not chosen.short_history)
    best = names[-1]
    result = {
        "benchmark": "m5",
        "model": best,
        **summary(found[best]),
        "stores": chosen.stores,
        "rows_max": chosen.rows_max,
        "rss_gib_max": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "models": {name: summary(scores) for name, scores in found.items() if name != best},
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
