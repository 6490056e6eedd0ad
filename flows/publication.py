"""What comes of a customer's day: the run's record, its model with a manifest, and which run is served.

Guarantee: a run that is there is never written again; whoever makes it a second time, after a kill or beside another
process, finds what stands and completes it.
"""

import hashlib
from dataclasses import asdict, replace
from datetime import date
from typing import Any

import polars as pl

from flows.customer_day import Trained
from flows.fits import Work
from flows.outcome import CustomerOutcome, outcome_of_run
from flows.plan import Plan, run_id_of
from flows.run_record import details_of, metrics_of
from flows.training_data import first_day_read, inputs_of
from infra.blobs import BlobStore
from infra.code_version import code_version
from infra.errors import AlreadyExistsError, FaultError
from infra.settings import FlowSettings
from lake.forecast_status import mark_degraded, mark_fresh
from lake.forecasts import ForecastRun, current, forecast_frame, load_run, publish, rows_bytes, runs
from lake.manifests import Manifest
from lake.model_manifests import (
    ModelManifest,
    keep_model,
    keep_model_manifest,
    load_model_manifest,
    model_path,
    read_model,
)
from ml.backtest import Backtest
from ml.gate import Verdict
from ml.global_trees import FittedTrees, GlobalTrees
from ml.stored_model import Storable, load_model, save_model


def work_of(manifest: Manifest, plan: Plan, flow: FlowSettings) -> Work:
    """The fits that a run needs."""
    key = run_id_of(plan.origin, inputs_of(manifest, plan.origin), flow)
    return Work(manifest.customer_id, manifest.seq, plan.origin, flow, key)


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
    customer_id, inputs = manifest.customer_id, inputs_of(manifest, plan.origin)
    run_id = run_id_of(plan.origin, inputs, flow)
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
            rows=sum(item.rows for item in inputs if item.day is not None),
            series=trained.rows.height // flow.horizon_days,
            training_rows_max=flow.training_rows_max,
        ),
        model_path=model_path(customer_id, run_id),
    )


def parameters_of(model: GlobalTrees) -> dict[str, Any]:
    """The parameters of a model that decide what it learns: all but the number of threads."""
    return {name: value for name, value in asdict(model).items() if name != "threads"}


def publish_run(
    store: BlobStore, manifest: Manifest, run: ForecastRun, trained: Trained, model: GlobalTrees
) -> ForecastRun:
    """Keep a run with its model, and make it current if the gate let it pass.

    Args:
        store: The lake.
        manifest: What the model was trained on.
        run: The record.
        trained: The model and its forecast.
        model: The model before it learned.

    Returns:
        The run as it stands: an earlier try may have been made on another day or from an older manifest.
    """
    if not isinstance(trained.fitted, Storable):
        raise FaultError(
            f"run {run.run_id}: expected a model that can be stored, found {type(trained.fitted)}"
        )
    model_sha256 = keep_model(store, run.customer_id, run.run_id, save_model(trained.fitted))
    run = _as_begun(store, run)
    rows = rows_of(run, trained)
    keep_model_manifest(
        store, _manifest_of(manifest, run, trained, model, model_sha256, rows_bytes(run, rows))
    )
    try:
        publish(store, run, rows)
    except AlreadyExistsError:
        # Another process was faster with the record; what it came to there is what the run came to.
        found = load_run(store, run.customer_id, run.run_id)
        if found is None:
            raise
        return found
    return run


def rows_of(run: ForecastRun, trained: Trained) -> pl.DataFrame:
    """The rows of a run as they are published."""
    return trained.rows.with_columns(manifest=pl.lit(run.manifest, pl.Int64), made_on=pl.lit(run.made_on))


def _as_begun(store: BlobStore, run: ForecastRun) -> ForecastRun:
    """A run with the day and the manifest of an earlier try that was cut short, so that it can be completed."""
    if store.stat(run.rows_path) is None:
        return run
    begun = forecast_frame(store, run).select("manifest", "made_on").row(0, named=True)
    return replace(run, **begun)


def _manifest_of(
    manifest: Manifest,
    run: ForecastRun,
    trained: Trained,
    model: GlobalTrees,
    model_sha256: str,
    forecast: bytes,
) -> ModelManifest:
    return ModelManifest(
        run_id=run.run_id,
        customer_id=run.customer_id,
        model=run.model,
        made_on=run.made_on,
        code=code_version(),
        parameters=parameters_of(model),
        features=trained.fitted.coding.names if isinstance(trained.fitted, FittedTrees) else (),
        origin=run.origin,
        horizon_days=run.horizon_days,
        manifest=run.manifest,
        first_day=first_day_read(run.origin),
        inputs=inputs_of(manifest, run.origin),
        offsets=manifest.offsets,
        metrics=run.metrics,
        champion=run.details["champion"],
        model_path=model_path(run.customer_id, run.run_id),
        model_sha256=model_sha256,
        forecast_sha256=hashlib.sha256(forecast).hexdigest(),
    )


def load_run_model(store: BlobStore, run: ForecastRun) -> Storable:
    """The model of a run, if it is what was stored.

    Raises:
        CorruptLakeError: It was changed, or is gone.
        NotFoundError: The run has no manifest of its model.
    """
    manifest = load_model_manifest(store, run.customer_id, run.run_id)
    return load_model(read_model(store, manifest))


def mark_status(store: BlobStore, outcome: CustomerOutcome, as_of: date) -> None:
    """Say whether the forecast that is served is the one that should be, after a customer's day.

    Args:
        store: The lake.
        outcome: What the day came to; one that was skipped leaves the status as it is.
        as_of: The last day whose sales were to count.
    """
    if outcome.verdict == "published":
        mark_fresh(store, outcome.customer_id, as_of)
    elif outcome.verdict in {"refused", "unchanged"} and outcome.run_id is not None:
        run = load_run(store, outcome.customer_id, outcome.run_id)
        if run is not None and run.accepted:
            mark_fresh(store, outcome.customer_id, as_of)
        elif run is not None:
            mark_degraded(store, outcome.customer_id, as_of, run.reasons, run.run_id)
    elif outcome.verdict in {"held", "failed"}:
        mark_degraded(store, outcome.customer_id, as_of, outcome.reasons)


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
