"""Whether a forecast may be published: a pure decision with its reasons in words.

Guarantee: a forecast with a missing series or day, a number that is not finite, negative or out of order is
never accepted; nor one whose model lost, on the same origins, against a baseline or the champion, is far off for a
whole location, or whose range holds too few of the days.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import polars as pl

from ml.backtest import Backtest
from ml.forecast_frame import QUANTILE_COLUMNS

JUDGED_BY = ("wrmsse", "pinball")
"""Metrics that decide; less is better in each."""
LOCATIONS_NAMED_MAX = 3
"""Locations named in a reason."""


def _baselines() -> Mapping[str, float]:
    return {"seasonal_naive": 0.0, "weekday_mean": 0.02}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a forecast is measured by.

    Attributes:
        baselines: By model that it is compared with the share by which it may be worse; the first one's bias is
            that which a location's is compared with.
        champion_tolerance: Share by which it may be worse than the champion: smaller differences are chance.
        bias_max: Share by which the forecasts of a location may be off in sum, unless the first baseline's were as
            far off: what nobody could know is no fault.
        bias_units_min: Units that a location sold in the backtest; one with fewer is not judged.
        coverage_min: Share of the days that the range from q05 to q95 has to hold.
    """

    baselines: Mapping[str, float] = field(default_factory=_baselines)
    champion_tolerance: float = 0.02
    bias_max: float = 0.3
    bias_units_min: float = 100.0
    coverage_min: float = 0.75


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
    limits: Limits | None = None,
) -> Verdict:
    """Judge a forecast and the model behind it.

    Args:
        backtest: Backtest of the model and the baselines.
        forecast: What would be published: location_id, product_id, date, mean, q05 … q95.
        expected_series: location_id, product_id of every series that must be in it.
        champion_metrics: `Backtest.metrics` of the run that is published now, of its model; None when there
            is none.
        model: Name of the model in the backtest.
        limits: What it is measured by; None means the usual.
    """
    limits = limits or Limits()
    reasons = _faults_of_frame(forecast, expected_series, backtest.horizon_days)
    judged = backtest.metrics.filter(pl.col("origin").is_not_null())
    own = judged.filter(pl.col("model") == model)
    remarks = []
    if own.is_empty():
        remarks.append("The history is too short for a backtest: the model could not be compared.")
    else:
        for baseline, tolerance in limits.baselines.items():
            other = judged.filter(pl.col("model") == baseline)
            lost, unknown = _compare(own, other, f"the {baseline} model", tolerance)
            reasons += lost
            remarks += unknown
        reasons += _off_locations(backtest.groups, model, limits) + _too_narrow(own, limits.coverage_min)
    if champion_metrics is not None and not own.is_empty():
        lost, unknown = _compare(
            own, champion_metrics, "the published run's model", limits.champion_tolerance
        )
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


def _off_locations(groups: pl.DataFrame, model: str, limits: Limits) -> list[str]:
    """Locations whose forecasts were off in sum by more than may be, and by more than the first baseline's."""
    if groups.is_empty():
        return []
    baseline = next(iter(limits.baselines), model)
    by_location = groups.filter(pl.col("level") == "location", pl.col("quantity") >= limits.bias_units_min)
    theirs = by_location.filter(pl.col("model") == baseline).select("key", other=pl.col("bias").abs())
    off = (
        by_location.filter(pl.col("model") == model, pl.col("bias").abs() > limits.bias_max)
        .join(theirs, on="key", how="left")
        .filter(pl.col("bias").abs() > pl.col("other").fill_nan(None).fill_null(0.0))
        .sort(pl.col("bias").abs(), descending=True)
    )
    if off.is_empty():
        return []
    named = ", ".join(
        f"{row['key']} by {row['bias']:+.0%}" for row in off.head(LOCATIONS_NAMED_MAX).to_dicts()
    )
    beyond = f"more than {limits.bias_max:.0%} and more than by the {baseline} model"
    return [f"The forecasts of {off.height} locations were off in sum by {beyond}: {named}."]


def _too_narrow(own: pl.DataFrame, coverage_min: float) -> list[str]:
    known = own["coverage_90"].fill_nan(None).drop_nulls()
    if known.is_empty() or (found := float(known.to_numpy().mean())) >= coverage_min:
        return []
    return [f"The range from q05 to q95 held {found:.0%} of the days, expected at least {coverage_min:.0%}."]


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
