"""One customer's day, step by step: seal, check, read, backtest, train, judge, publish.

Guarantee: no Prefect here; each step is a function that can be called and tested alone. The same manifest,
last day and settings lead to the same run id, and what was published under it stays as it is: a step done
twice, or by two processes at once, changes nothing.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import polars as pl

from flows.outcome import CustomerOutcome, outcome_of_run
from flows.plan import NoPlan, Plan, days_sold, plan_forecast, run_id_of
from flows.run_record import backtest_of, details_of, metrics_of
from infra.blobs import BlobStore
from infra.errors import AlreadyExistsError, FaultError
from infra.settings import FlowSettings
from lake.forecasts import ForecastRun, current, forecast_frame, load_run, publish, runs
from lake.manifests import Manifest, load_manifest
from lake.news import customers_with_news
from lake.read import Lake
from lake.seal import seal
from ml.backtest import Backtest, backtest, backtest_origins
from ml.baselines import SeasonalNaive, WeekdayMean
from ml.forecast_frame import expected_series
from ml.forecast_frame import forecast_frame as lay_out
from ml.gate import Verdict, judge
from ml.global_trees import GlobalTrees
from ml.models import FittedModel, Forecast, Model
from ml.panel import Panel, build_panel
from ml.stored_model import Storable, save_model

HISTORY_DAYS_MAX = 800
"""Days of sales of single series read at most; bounds the memory."""
EARLIER_DAYS_MAX = 1_400
"""Days before those of which totals of each location's departments are read at most."""
BASELINE = SeasonalNaive().name
SALES_COLUMNS = ("location_id", "product_id", "sold_on", "quantity", "revenue")


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
    made = load_run(store, customer_id, run_id_of(plan.origin, manifest.seq, flow))
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


def champion_of(store: BlobStore, customer_id: str) -> ForecastRun | None:
    """The run in use, which a new one must not be worse than; None before the first."""
    return current(store, customer_id)


def read_panel(store: BlobStore, manifest: Manifest, origin: date, horizon_days: int) -> Panel:
    """Read what a forecast is made from, as the manifest has it.

    Args:
        store: The lake.
        manifest: The manifest that pins the data.
        origin: Last day whose sales are used.
        horizon_days: Days to forecast.
    """
    lake, customer_id = Lake(store), manifest.customer_id
    start = origin - timedelta(days=HISTORY_DAYS_MAX - 1)
    sold = lake.daily(customer_id, start, origin, manifest)
    daily = replace(sold, plan=sold.lazy().select(SALES_COLUMNS)).polars()
    locations, products, prices, events = (
        lake.master(customer_id, name, manifest).polars()
        for name in ("locations", "products", "prices", "events")
    )
    return build_panel(
        daily,
        locations,
        products,
        prices,
        events,
        origin,
        horizon_days,
        HISTORY_DAYS_MAX,
        earlier=_earlier_totals(lake, manifest, products, start),
    )


def _earlier_totals(lake: Lake, manifest: Manifest, products: pl.DataFrame, start: date) -> pl.DataFrame:
    """Units by location, department and day, of the days before those that are read by product."""
    sold = lake.daily(
        manifest.customer_id, start - timedelta(days=EARLIER_DAYS_MAX), start - timedelta(days=1), manifest
    )
    departments = products.lazy().select("product_id", "department")
    totals = (
        sold.lazy()
        .select("location_id", "product_id", "sold_on", "quantity")
        .join(departments, on="product_id", how="left")
        .group_by("location_id", "department", "sold_on")
        .agg(pl.col("quantity").sum())
    )
    return replace(sold, plan=totals).polars()


def try_models(panel: Panel, flow: FlowSettings) -> Backtest:
    """Backtest the model beside two that learn nothing."""
    models: list[Model] = [_model(flow), SeasonalNaive(), WeekdayMean()]
    origins = backtest_origins(panel, flow.backtest_origins, flow.horizon_days)
    return backtest(panel, models, origins, flow.horizon_days)


def train(panel: Panel, flow: FlowSettings) -> Trained:
    """Fit the model to all days and forecast the horizon."""
    fitted = _model(flow).fit(panel, panel.origin, flow.horizon_days)
    forecast = fitted.predict(panel, panel.origin, flow.horizon_days)
    return Trained(fitted, forecast, lay_out(panel, forecast))


def judge_run(panel: Panel, tried: Backtest, trained: Trained, champion: ForecastRun | None) -> Verdict:
    """Ask the gate about a forecast.

    Args:
        panel: What the model was fitted to.
        tried: The backtest.
        trained: The model and its forecast.
        champion: The run in use; None before the first.
    """
    comparable = champion is not None and champion.horizon_days == tried.horizon_days
    return judge(
        tried,
        trained.rows,
        expected_series(panel, trained.forecast),
        backtest_of(champion) if champion is not None and comparable else None,
        model=trained.forecast.model,
        baseline=BASELINE,
    )


def run_of(
    manifest: Manifest,
    plan: Plan,
    flow: FlowSettings,
    tried: Backtest,
    trained: Trained,
    verdict: Verdict,
    champion: ForecastRun | None,
    made_on: date,
) -> ForecastRun:
    """The record of a run.

    Args:
        manifest: What it was trained on.
        plan: From which day.
        flow: The settings that it was made with.
        tried: The backtest.
        trained: The model and its forecast.
        verdict: The gate's.
        champion: The run that it was compared with.
        made_on: Day on which it is made, UTC.
    """
    customer_id, run_id = manifest.customer_id, run_id_of(plan.origin, manifest.seq, flow)
    return ForecastRun(
        run_id=run_id,
        customer_id=customer_id,
        model=trained.forecast.model,
        manifest=manifest.seq,
        made_on=made_on,
        origin=plan.origin,
        horizon_days=flow.horizon_days,
        accepted=verdict.accepted,
        reasons=verdict.reasons,
        metrics=metrics_of(tried, trained.forecast.model),
        details=details_of(
            tried,
            remarks=(*plan.remarks, *trained.fitted.notes, *verdict.remarks),
            champion=champion.run_id if champion else None,
            rows=sum(item.rows for item in manifest.of("sales_daily")),
            series=trained.rows.height // flow.horizon_days,
            training_rows_max=flow.training_rows_max,
        ),
        model_path=f"models/{customer_id}/{run_id}.skops",
    )


def publish_run(store: BlobStore, run: ForecastRun, trained: Trained) -> None:
    """Keep a run with its model, and make it current if the gate let it pass.

    Raises:
        AlreadyExistsError: Another process has made this run meanwhile, with other rows.
    """
    if not isinstance(trained.fitted, Storable) or run.model_path is None:
        raise FaultError(
            f"run {run.run_id}: expected a model that can be stored, found {type(trained.fitted)}"
        )
    # The same panel and settings give the same model, so one that is there already is this one.
    with suppress(AlreadyExistsError):
        store.put_if_absent(run.model_path, save_model(trained.fitted))
    rows = trained.rows.with_columns(manifest=pl.lit(run.manifest, pl.Int64), made_on=pl.lit(run.made_on))
    publish(store, run, rows)


def promote(store: BlobStore, customer_id: str, run_id: str | None) -> CustomerOutcome:
    """Make a kept run current: the newest accepted one, or the one named, to go back to it.

    Args:
        store: The lake.
        customer_id: The customer.
        run_id: The run; None means the newest that the gate let pass.
    """
    if run_id is None:
        passed = [run for run in runs(store, customer_id) if run.accepted]
        if not passed:
            return CustomerOutcome(customer_id, "skipped", ("there is no run that the gate let pass",))
        run = max(passed, key=lambda run: (run.origin, run.manifest))
    else:
        named = load_run(store, customer_id, run_id)
        if named is None:
            return CustomerOutcome(customer_id, "skipped", (f"there is no run {run_id}",))
        run = named
    if not run.accepted:
        return outcome_of_run(run, "refused", run.reasons)
    served = current(store, customer_id)
    if served is not None and served.run_id == run.run_id:
        return outcome_of_run(run, "unchanged", (f"run {run.run_id} is in use already",))
    publish(store, run, forecast_frame(store, run))
    before = f", in place of {served.run_id}" if served else ""
    return outcome_of_run(run, "published", (f"run {run.run_id} is in use now{before}",))


def _model(flow: FlowSettings) -> GlobalTrees:
    return GlobalTrees(rows_max=flow.training_rows_max, learner=flow.learner)
