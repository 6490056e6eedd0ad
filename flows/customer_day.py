"""One customer's day, step by step: seal, check, backtest, train, judge; `flows.publication` keeps what comes of it.

Guarantee: no Prefect here; each step is a function that can be called and tested alone. The same sealed days,
last day and settings lead to the same run id, and what was published under it stays as it is: a step done
twice, or by two processes at once, changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from flows.outcome import CustomerOutcome, outcome_of_run
from flows.plan import NoPlan, Plan, days_due, plan_forecast, run_id_of
from flows.run_record import backtest_of
from flows.training_data import days_sold, inputs_of
from infra.blobs import BlobStore
from infra.settings import FlowSettings
from lake.forecasts import ForecastRun, current, forecast_frame, load_run, publish, runs
from lake.manifests import Manifest, load_manifest
from lake.news import customers_with_news
from lake.read import Lake
from lake.seal import seal
from ml.backtest import Backtest
from ml.baselines import SeasonalNaive, WeekdayMean
from ml.day_checks import DayFinding
from ml.forecast_frame import expected_series
from ml.forecast_frame import forecast_frame as lay_out
from ml.gate import Limits, Verdict, judge
from ml.global_trees import GlobalTrees
from ml.models import FittedModel, Forecast, Model
from ml.panel import Panel

BASELINE = SeasonalNaive().name


@dataclass(frozen=True, slots=True)
class Trained:
    """A model fitted to all that is known, and what it forecasts.

    Attributes:
        fitted: The model.
        forecast: Its forecast, in the panel's order of series.
        rows: The forecast as rows: location_id, product_id, date, mean, q05 … q95, model.
    """

    fitted: FittedModel
    forecast: Forecast
    rows: pl.DataFrame


def customers(store: BlobStore) -> list[str]:
    """Ids of the customers for whom anything lies in the lake, sealed or not yet, sorted."""
    return sorted({*Lake(store).customers(), *customers_with_news(store)})


def seal_customer(store: BlobStore, customer_id: str, now: datetime) -> Manifest | None:
    """Seal what has arrived and return the manifest that now stands; None when nothing ever arrived."""
    return seal(store, customer_id, now) or load_manifest(store, customer_id)


def days_to_forecast_from(
    store: BlobStore, manifest: Manifest | None, customer_id: str, through: date, flow: FlowSettings
) -> list[date]:
    """The last days of sales of the forecasts that are due, the oldest first; see `plan.days_due`."""
    if manifest is None:
        return [through]
    origins = [run.origin for run in runs(store, customer_id, newest=1)]
    return days_due(days_sold(manifest, through), origins, through, flow.catch_up_days)


def check(
    store: BlobStore,
    customer_id: str,
    manifest: Manifest | None,
    through: date,
    flow: FlowSettings,
    *,
    is_trial: bool,
) -> Plan | CustomerOutcome:
    """Decide whether there is anything to do, and from what.

    A run that was made before is not made again; one whose publication was cut short is completed.

    Args:
        store: The lake.
        customer_id: The customer.
        manifest: The sealed sales; None without any.
        through: The last day whose sales count.
        flow: What the forecast is to be.
        is_trial: Whether nothing will be kept, so that what was made before does not matter.

    Returns:
        The plan, or what the day came to without one.
    """
    if manifest is None:
        return CustomerOutcome(customer_id, "skipped", ("nothing has been sealed yet",))
    days = days_sold(manifest, through)
    plan = plan_forecast(min(days, default=None), max(days, default=None), through, flow.horizon_days)
    if isinstance(plan, NoPlan):
        return CustomerOutcome(customer_id, "skipped", (plan.reason,), manifest=manifest.seq)
    if is_trial:
        return plan
    served = current(store, customer_id)
    made = load_run(store, customer_id, run_id_of(plan.origin, inputs_of(manifest, plan.origin), flow))
    if made is not None:
        return _found_again(store, made, served)
    if served is not None and served.origin > plan.origin:
        reason = (
            f"the forecast in use knows the sales up to {served.origin}; one up to {plan.origin} is older"
        )
        return CustomerOutcome(customer_id, "skipped", (reason,), manifest=manifest.seq)
    return plan


def _found_again(store: BlobStore, made: ForecastRun, served: ForecastRun | None) -> CustomerOutcome:
    nothing_new = f"nothing new since run {made.run_id}"
    if not made.accepted:
        return outcome_of_run(made, "unchanged", (f"{nothing_new}, which was refused", *made.reasons))
    if served is not None and (served.run_id == made.run_id or served.origin > made.origin):
        return outcome_of_run(made, "unchanged", (nothing_new,))
    publish(store, made, forecast_frame(store, made))
    return outcome_of_run(made, "published", (f"{nothing_new}, whose publication was completed",))


def held_outcome(manifest: Manifest, plan: Plan, findings: Sequence[DayFinding]) -> CustomerOutcome | None:
    """The outcome of a day that must not be learned from; None when no finding says so."""
    broken = [finding for finding in findings if finding.is_broken]
    if not broken:
        return None
    days = " ".join(f"--accept {day}" for day in sorted({finding.day for finding in broken}))
    advice = f"deliver what is missing, or take it as it is: headrace daily --customer {manifest.customer_id} {days}"
    reasons = (*(finding.line for finding in broken), advice)
    return CustomerOutcome(
        manifest.customer_id, "held", reasons, manifest=manifest.seq, origin=plan.origin.isoformat()
    )


def champion_of(store: BlobStore, customer_id: str) -> ForecastRun | None:
    """The run in use, which a new one must not be worse than; None before the first."""
    return current(store, customer_id)


def models_of(flow: FlowSettings) -> dict[str, Model]:
    """The model and those that learn nothing, by name, in the order in which they are shown."""
    models: tuple[Model, ...] = (model_of(flow), SeasonalNaive(), WeekdayMean())
    return {model.name: model for model in models}


def train(panel: Panel, flow: FlowSettings) -> Trained:
    """Fit the daily flow's model to all days and forecast the horizon."""
    return train_model(model_of(flow), panel, flow.horizon_days)


def train_model(model: Model, panel: Panel, horizon_days: int) -> Trained:
    """Fit a model to all days of a panel and forecast the horizon."""
    fitted = model.fit(panel, panel.origin, horizon_days)
    forecast = fitted.predict(panel, panel.origin, horizon_days)
    return Trained(fitted, forecast, lay_out(panel, forecast))


def judge_run(
    panel: Panel, tried: Backtest, trained: Trained, champion: ForecastRun | None, flow: FlowSettings
) -> Verdict:
    """Ask the gate about a forecast.

    Args:
        panel: What the model was fitted to.
        tried: The backtest.
        trained: The model and its forecast.
        champion: The run in use; None before the first.
        flow: What the forecast is measured by.
    """
    comparable = champion is not None and champion.horizon_days == tried.horizon_days
    limits = Limits(
        champion_tolerance=flow.gate.champion_tolerance,
        bias_max=flow.gate.bias_max,
        coverage_min=flow.gate.coverage_min,
    )
    return judge(
        tried,
        trained.rows,
        expected_series(panel, trained.forecast),
        backtest_of(champion) if champion is not None and comparable else None,
        model=trained.forecast.model,
        limits=limits,
    )


def model_of(flow: FlowSettings) -> GlobalTrees:
    """The model of the daily flow."""
    return GlobalTrees(rows_max=flow.training_rows_max, learner=flow.learner)
