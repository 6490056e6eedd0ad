"""The flows as Prefect sees them: thin wrappers around the plain functions of `flows.customer_day`.

Guarantee: one customer's trouble never keeps another customer's forecast back. The settings are read when
a run starts, from the environment of the process that serves the flows.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from prefect import flow, get_client, get_run_logger, tags
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.flows import Flow
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from prefect.states import Completed, Failed

from flows import customer_day as steps
from flows import fits, tasks
from flows.customer_day import held_outcome, model_of
from flows.outcome import (
    CUSTOMER_TAG,
    RUN_TAG,
    STATE_NAMES,
    CustomerOutcome,
    Verdict,
    joint_verdict,
    outcome_of_run,
)
from flows.plan import last_day_over
from flows.publication import mark_status, run_of, work_of
from flows.runners import forget_results, runner_of
from infra.blobs import BlobStore, open_dataset
from infra.settings import CustomerId, Settings, load_settings
from lake.forecast_status import load_status
from lake.forecasts import ForecastRun
from lake.manifests import Manifest, load_manifest
from ml.backtest import summed_up

DAY_SEALED = "lake.day.sealed"
"""Event of a customer whose last day is sealed, looks whole and has no forecast yet."""
CUSTOMER_LABEL = "headrace.customer"
"""Label of the event that names the customer."""
FLOW_S = 24 * 3600
"""Longest duration of a flow, seconds: the next day's run is then due."""


def _run_name() -> str:
    """Names a run after its customer and day."""
    given = flow_run.get_parameters()
    day = given.get("as_of") or last_day_over(datetime.now(UTC), load_settings().flow.time_zone)
    return f"{given.get('customer_id') or 'all customers'}, {day}"


def mark_failed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Say that the forecasts in use are older than they should be, after a run failed or was killed."""
    settings = load_settings()
    store, named = open_dataset(settings), flow_run.parameters.get("customer_id")
    day = flow_run.parameters.get("as_of") or last_day_over(datetime.now(UTC), settings.flow.time_zone)
    through = day if isinstance(day, date) else date.fromisoformat(day)
    reason = f"the daily run {(state.name or 'failed').lower()}: {state.message or 'see its page in Prefect'}"
    for customer in [named] if named else steps.customers(store):
        if load_status(store, customer).as_of != through:
            mark_status(store, CustomerOutcome(customer, "failed", (reason,)), through)


@flow(name="daily", flow_run_name=_run_name, timeout_seconds=FLOW_S, on_crashed=[mark_failed])
def daily(
    customer_id: CustomerId | None = None, as_of: date | None = None, accept: tuple[date, ...] = ()
) -> State[Any]:
    """Seal what has arrived, train, judge, and publish the forecast of the coming days.

    For each customer: **seal** the days' sales, **check** whether there is enough and anything new, and whether the
    new days look whole, **backtest** the model beside two that learn nothing, **train** it on all days, ask the
    **gate**, and **publish**. Days that were missed are made up for, the oldest first. The run ends as

    - **Published**: a new forecast is served,
    - **Refused**: a forecast was made and kept, the gate said no, and the one before stays in use,
    - **Held**: a sealed day looks broken; nothing was trained, and the forecast in use stays in use,
    - **Unchanged**: nothing arrived since the last run,
    - **Skipped**: there is not enough to forecast from; the message says what is missing,
    - **Failed**: a step broke for a customer; the others were done.

    Args:
        customer_id: The customer; none means each of them.
        as_of: The last day whose sales count; none means yesterday, and the days missed before it.
        accept: Days that are taken as they are, however they look.
    """
    settings = load_settings()
    one_day = customer_day.with_options(task_runner=runner_of(settings.flow))
    ended = _each_customer(
        settings, customer_id, lambda customer: one_day(customer, as_of, accept, return_state=True)
    )
    forget_results(get_current_settings().results.local_storage_path)
    return ended


@flow(name="train", flow_run_name=_run_name, timeout_seconds=FLOW_S)
def train(customer_id: CustomerId | None = None, as_of: date | None = None) -> State[Any]:
    """Try the model on the days that are sealed, and show what the gate would say. Nothing is kept.

    Args:
        customer_id: The customer; none means each of them.
        as_of: The last day whose sales count; none means yesterday.
    """
    settings = load_settings()
    one_trial = trial.with_options(task_runner=runner_of(settings.flow))
    return _each_customer(
        settings, customer_id, lambda customer: one_trial(customer, as_of, return_state=True)
    )


@flow(name="seal", flow_run_name=_run_name, timeout_seconds=FLOW_S)
def seal(customer_id: CustomerId | None = None) -> State[Any]:
    """Seal what has arrived, and tell of each customer whose last day is whole: that starts its daily run.

    Args:
        customer_id: The customer; none means each of them.
    """
    settings, now = load_settings(), datetime.now(UTC)
    store, day = open_dataset(settings), last_day_over(now, settings.flow.time_zone)
    names = [customer_id] if customer_id else tasks.list_customers(store)
    lines = []
    for name in names:
        manifest = tasks.seal(store, name, now)
        lines.append(f"{name}: {_sealed(manifest)}")
        if manifest is not None and tasks.day_is_due(store, manifest, day, settings.flow):
            emit_event(
                DAY_SEALED,
                {"prefect.resource.id": f"headrace.customer.{name}", CUSTOMER_LABEL: name},
                payload={"day": f"{day}", "manifest": manifest.seq},
            )
            lines[-1] += f"; {day} is whole"
    return Completed(message="; ".join(lines) or "no customer has anything in the lake")


@flow(name="publish", flow_run_name=_run_name, timeout_seconds=FLOW_S)
def publish(customer_id: CustomerId, run_id: str | None = None) -> State[Any]:
    """Make a kept run the one in use: the newest that the gate let pass, or an older one to go back to it.

    It stays in use until the daily flow publishes another; pause that flow's schedule to keep it longer.

    Args:
        customer_id: The customer.
        run_id: The run; none means the newest that the gate let pass.
    """
    outcome = tasks.promote(open_dataset(load_settings()), customer_id, run_id)
    _tag(outcome)
    return _state(outcome)


@flow(
    name="customer-day",
    flow_run_name=_run_name,
    timeout_seconds=FLOW_S,
    on_failure=[mark_failed],
)
def customer_day(customer_id: str, as_of: date | None = None, accept: tuple[date, ...] = ()) -> State[Any]:
    """One customer's part of the daily flow."""
    settings, now = load_settings(), datetime.now(UTC)
    store = open_dataset(settings)
    manifest = tasks.seal(store, customer_id, now)
    through = as_of or last_day_over(now, settings.flow.time_zone)
    due = [through] if as_of else tasks.find_days(store, manifest, customer_id, through, settings.flow)
    for day in due[:-1]:
        get_run_logger().info("%s was missed and is made up for", day)
        outcome = _forecast(settings, customer_id, manifest, day, now, accept)
        if outcome.verdict == "held":
            return _state(outcome)
    return _state(_forecast(settings, customer_id, manifest, through, now, accept))


@flow(name="customer-trial", flow_run_name=_run_name, timeout_seconds=FLOW_S)
def trial(customer_id: str, as_of: date | None = None) -> State[Any]:
    """One customer's part of the train flow."""
    settings, now = load_settings(), datetime.now(UTC)
    manifest = load_manifest(open_dataset(settings), customer_id)
    through = as_of or last_day_over(now, settings.flow.time_zone)
    return _state(_forecast(settings, customer_id, manifest, through, now, is_trial=True))


def _forecast(
    settings: Settings,
    customer_id: str,
    manifest: Manifest | None,
    through: date,
    now: datetime,
    accept: tuple[date, ...] = (),
    *,
    is_trial: bool = False,
) -> CustomerOutcome:
    """The steps after the seal, for one day."""
    store, wanted = open_dataset(settings), settings.flow
    plan = tasks.check(store, customer_id, manifest, through, wanted, is_trial=is_trial)
    if isinstance(plan, CustomerOutcome):
        return plan if is_trial else _ended(store, plan, through)
    assert manifest is not None, "check gives no plan without a manifest"
    if not is_trial:
        findings = tasks.check_days(store, manifest, plan.origin, wanted, accept)
        if findings:
            tasks.show_days(customer_id, plan.origin, findings, return_state=True)
            plan = replace(
                plan, remarks=(*plan.remarks, *(one.line for one in findings if not one.is_broken))
            )
        held = held_outcome(manifest, plan, findings)
        if held is not None:
            get_run_logger().warning(held.line)
            return _ended(store, held, through)
    get_run_logger().info("forecasting from the sales up to %s of manifest %d", plan.origin, manifest.seq)
    work = work_of(manifest, plan, wanted)
    panel = tasks.read_panel(work)
    training = tasks.train.submit(work)
    trials = [tasks.try_one.submit(work, model, origin) for model, origin in fits.trials_of(work)]
    tried = summed_up([trial.result() for trial in trials], wanted.horizon_days)
    trained = training.result()
    champion = tasks.find_champion(store, customer_id)
    changed = tasks.find_corrections(store, champion, manifest, trained)
    plan = replace(plan, remarks=(*plan.remarks, *changed))
    verdict = tasks.judge(panel, tried, trained, champion, wanted)
    run = run_of(manifest, plan, wanted, tried, trained, verdict, champion, now.date())
    if is_trial:
        outcome = outcome_of_run(run, "tried", _would_be(run))
    else:
        run = tasks.publish(store, manifest, run, trained, model_of(wanted))
        verdict_word: Verdict = "published" if run.accepted else "refused"
        outcome = _ended(store, outcome_of_run(run, verdict_word, run.reasons), through)
    # What cannot be shown is still published: the failed task tells of it.
    tasks.show(settings, run, outcome, panel, tried, trained, return_state=True)
    return outcome


def _ended(store: BlobStore, outcome: CustomerOutcome, through: date) -> CustomerOutcome:
    """Say in the lake and on the flow run what the day came to."""
    tasks.mark_status(store, outcome, through)
    _tag(outcome)
    return outcome


def _would_be(run: ForecastRun) -> tuple[str, ...]:
    if run.accepted:
        return ("the gate would let it pass",)
    return ("the gate would refuse it", *run.reasons)


def _each_customer(
    settings: Settings, customer_id: str | None, act: Callable[[str], State[Any]]
) -> State[Any]:
    """Do something for each customer, go on whatever becomes of one, and sum up."""
    names = [customer_id] if customer_id else tasks.list_customers(open_dataset(settings))
    outcomes = []
    for name in names:
        with tags(f"{CUSTOMER_TAG}{name}"):
            outcome = _outcome(name, act(name))
        get_run_logger().info(outcome.line)
        outcomes.append(outcome)
    verdict = joint_verdict(outcomes)
    message = "; ".join(f"{found.customer_id}: {found.verdict}" for found in outcomes)
    if verdict == "failed":
        return Failed(message=message)
    return Completed(name=STATE_NAMES[verdict], message=message or "no customer has anything in the lake")


def _outcome(customer_id: str, state: State[Any]) -> CustomerOutcome:
    """What a customer's run came to; a broken one has told why in its own log and state."""
    found = state.result(raise_on_failure=False)
    return found if isinstance(found, CustomerOutcome) else CustomerOutcome(customer_id, "failed")


def _state(outcome: CustomerOutcome) -> State[Any]:
    return Completed(name=STATE_NAMES[outcome.verdict], message=outcome.line, data=outcome)


def _tag(outcome: CustomerOutcome) -> None:
    """Tag the flow run with its customer and the forecast run, by which others find them."""
    found = {*flow_run.get_tags(), f"{CUSTOMER_TAG}{outcome.customer_id}"}
    if outcome.run_id:
        found.add(f"{RUN_TAG}{outcome.run_id}")
    with get_client(sync_client=True) as client:
        client.update_flow_run(UUID(flow_run.get_id()), tags=sorted(found))


def _sealed(manifest: Manifest | None) -> str:
    if manifest is None:
        return "nothing has arrived"
    return f"manifest {manifest.seq}, sales from {manifest.first_sold_on} to {manifest.last_sold_on}"
