"""Whether a forecast may be published: a pure decision with its reasons in words.

Guarantee: a forecast with a missing series or day, a number that is not finite, negative or out of order is
    never
accepted; nor one whose model lost, on the same origins, against the seasonal naive or the champion.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from ml.backtest import Backtest
from ml.forecast_frame import QUANTILE_COLUMNS

JUDGED_BY = ("wrmsse", "pinball")
"""Metrics that decide; less is better in each."""
CHAMPION_TOLERANCE = 0.02
"""Share by which a model may be worse than the champion: smaller differences are chance."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer.

    Attributes:
        accepted: True when the forecast may be published.
        reasons: One sentence for each reason to refuse; empty when accepted.
        remarks: What could not be judged, and why; never a reason to refuse.
    """

    accepted: bool
    reasons: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def judge(
    backtest: Backtest,
    forecast: pl.DataFrame,
    expected_series: pl.DataFrame,
    champion_metrics: pl.DataFrame | None,
    *,
    model: str = "global_trees",
    baseline: str = "seasonal_naive",
    tolerance: float = CHAMPION_TOLERANCE,
) -> Verdict:
    """Judge a forecast and the model behind it.

    Args:
        backtest: Backtest of the model and the baseline.
        forecast: What would be published: location_id, product_id, date, mean, q05 … q95.
        expected_series: location_id, product_id of every series that must be in it.
        champion_metrics: `Backtest.metrics` of the run that is published now, of its model; None when there
            is none.
        model: Name of the model in the backtest.
        baseline: Name of the model that it must not lose against.
        tolerance: Share by which it may be worse than the champion.
    """
    reasons = _faults_of_frame(forecast, expected_series, backtest.horizon_days)
    judged = backtest.metrics.filter(pl.col("origin").is_not_null())
    own = judged.filter(pl.col("model") == model)
    remarks = []
    if own.is_empty():
        remarks.append("The history is too short for a backtest: the model could not be compared.")
    else:
        lost, unknown = _compare(
            own, judged.filter(pl.col("model") == baseline), f"the {baseline} model", 0.0
        )
        reasons += lost
        remarks += unknown
    if champion_metrics is not None and not own.is_empty():
        lost, unknown = _compare(own, champion_metrics, "the published run's model", tolerance)
        reasons += lost
        remarks += unknown
    return Verdict(not reasons, tuple(reasons), tuple(remarks))


def _faults_of_frame(forecast: pl.DataFrame, expected: pl.DataFrame, horizon_days: int) -> list[str]:
    pair = ["location_id", "product_id"]
    reasons = []
    missing = expected.join(forecast, on=pair, how="anti")
    if missing.height:
        reasons.append(
            f"{missing.height} of {expected.height} series have no forecast, {_named(missing.rows())}."
        )
    days = forecast.group_by(pair).agg(rows=pl.len(), days=pl.col("date").n_unique())
    odd = days.filter((pl.col("rows") != horizon_days) | (pl.col("days") != horizon_days)).sort(pair)
    if odd.height:
        reasons.append(
            f"{odd.height} series do not have one row for each of {horizon_days} days, "
            f"{_named(odd.select(pair).rows())}."
        )
    columns = ["mean", *QUANTILE_COLUMNS]
    not_finite = forecast.filter(
        ~pl.all_horizontal(pl.col(columns).is_finite().fill_null(value=False))
    ).height
    if not_finite:
        reasons.append(f"{not_finite} rows have a number that is not finite.")
    negative = forecast.filter(pl.any_horizontal(pl.col(columns) < 0)).height
    if negative:
        reasons.append(f"{negative} rows have a negative number.")
    neighbours = pairwise(QUANTILE_COLUMNS)
    crossing = forecast.filter(
        pl.any_horizontal(*(pl.col(low) > pl.col(high) for low, high in neighbours))
    ).height
    if crossing:
        reasons.append(f"{crossing} rows have quantiles that cross.")
    return reasons


def _named(pairs: Sequence[tuple[object, ...]]) -> str:
    """The first few series of many."""
    return "such as " + ", ".join(f"{product} at {location}" for location, product in pairs[:3])


def _compare(
    own: pl.DataFrame, other: pl.DataFrame, name: str, tolerance: float
) -> tuple[list[str], list[str]]:
    """Compare means over the origins that both were judged on.

    Returns:
        Reasons to refuse, and remarks on what could not be compared.
    """
    both = own.join(other.filter(pl.col("origin").is_not_null()), on="origin", suffix="_other")
    if both.is_empty():
        return [], [f"No origin in common with {name}: not compared."]
    reasons, remarks = [], []
    for metric in JUDGED_BY:
        defined = both.filter(pl.col(metric).is_finite() & pl.col(f"{metric}_other").is_finite())
        if defined.is_empty():
            remarks.append(
                f"{metric} is not defined, since next to nothing was sold: not compared with {name}."
            )
            continue
        mine, theirs = (float(defined[column].to_numpy().mean()) for column in (metric, f"{metric}_other"))
        if mine > theirs * (1 + tolerance):
            allowed = f" (up to {tolerance:.0%} more is allowed)" if tolerance else ""
            reasons.append(
                f"{metric} is {mine:.4f}, worse than {theirs:.4f} of {name}{allowed}, "
                f"on {defined.height} origins."
            )
    return reasons, remarks
