"""The flows in a real Prefect server, run by the process that serves them."""

import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from flows.outcome import CustomerOutcome
from flows.trigger import DailyOutcome, run_daily
from infra.blobs import open_store
from infra.errors import MissingPartError
from infra.settings import Settings, settings_environment
from lake.forecast_status import load_status
from lake.forecasts import current
from tests.flows.conftest import WEEK, Told
from tests.flows.retailer import deliver

WAIT_S = 240.0


def asked(settings: Settings, path: str, body: dict[str, Any] | None = None) -> Any:
    """What the server's API answers."""
    answer = httpx.post(f"{settings.prefect}/api/{path}", json=body or {}, timeout=60)
    answer.raise_for_status()
    return answer.json()


def eventually(look: Callable[[], Any]) -> Any:
    """The first answer that is not empty."""
    deadline = time.monotonic() + WAIT_S
    while not (found := look()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def deployed(served: Settings) -> dict[str, dict[str, Any]]:
    """The deployments by name, once all are there."""
    found = eventually(lambda: len(all_ := asked(served, "deployments/filter")) == 4 and all_)
    return {deployment["name"]: deployment for deployment in found}


@pytest.fixture(scope="module")
def ended(served: Settings, deployed: dict[str, dict[str, Any]], yesterday: date) -> DailyOutcome:
    """A day of four customers: a usual one, one whose weeks never change, a broken one, and a new one."""
    store = open_store(served)
    deliver(store, "acme", yesterday)
    deliver(store, "beat_co", yesterday, noise=False)
    deliver(store, "tiny", yesterday, days=9)
    store.replace("manifests/broken/0000000001.json", b"not a manifest")
    return run_daily(served, timeout_s=WAIT_S)


def of_stack(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process the environment that a run's process has."""
    for name, value in settings_environment(settings).items():
        monkeypatch.setenv(name, value)


def of(outcome: DailyOutcome, customer_id: str) -> CustomerOutcome:
    return next(found for found in outcome.customers if found.customer_id == customer_id)


def test_each_flow_can_be_started_from_the_ui_and_none_twice_at_once(
    deployed: dict[str, dict[str, Any]],
) -> None:
    assert set(deployed) == {"daily", "seal", "train", "publish"}
    for deployment in deployed.values():
        assert deployment["description"]
        assert deployment["global_concurrency_limit"]["limit"] == 1
    scheduled = {name for name, deployment in deployed.items() if deployment["schedules"]}
    assert scheduled == {"daily", "seal"}


def test_the_schedule_of_the_daily_flow_yields_runs_at_the_local_time_of_the_settings(
    served: Settings, deployed: dict[str, dict[str, Any]]
) -> None:
    body = {
        "deployments": {"id": {"any_": [deployed["daily"]["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}, "tags": {"all_": ["auto-scheduled"]}},
    }
    runs = eventually(lambda: asked(served, "flow_runs/filter", body))
    for run in runs:
        at = datetime.fromisoformat(run["expected_start_time"]).astimezone(ZoneInfo(WEEK.time_zone))
        assert (at.hour, at.minute) == (4, 30)


def test_a_triggered_day_publishes_refuses_and_skips_each_customer_by_its_own_sales(
    served: Settings, ended: DailyOutcome
) -> None:
    store = open_store(served)
    published = current(store, "acme")
    assert published is not None
    acme = of(ended, "acme")
    assert (acme.verdict, acme.run_id, acme.manifest) == ("published", published.run_id, 1)
    assert acme.scores[0].model == published.model
    assert acme.scores[0].wape == published.metrics["wape"]
    refused = of(ended, "beat_co")
    assert refused.verdict == "refused"
    assert "seasonal_naive" in refused.line
    assert current(store, "beat_co") is None
    assert of(ended, "tiny").line.startswith("tiny: skipped: there are sales of 9 days")


def test_a_broken_lake_of_one_customer_fails_the_run_and_keeps_no_other_back(ended: DailyOutcome) -> None:
    assert (ended.state, ended.succeeded) == ("Failed", False)
    assert ended.message == "acme: published; beat_co: refused; broken: failed; tiny: skipped"
    assert of(ended, "broken").verdict == "failed"
    assert "0000000001.json: expected a manifest" in of(ended, "broken").line


def test_the_ui_shows_backtest_picture_and_verdict_of_each_run(served: Settings, ended: DailyOutcome) -> None:
    shown = {artifact["key"]: artifact for artifact in asked(served, "artifacts/latest/filter")}
    for customer in ("acme", "beat--co"):
        assert shown[f"backtest-{customer}"]["type"] == "table"
        assert "](data:image/png;base64," in shown[f"forecast-{customer}"]["data"]
    verdict = shown["gate-acme"]["data"]
    assert "# acme: published" in verdict
    assert of(ended, "acme").run_id in verdict
    assert str(served.home / "lake" / "forecasts") in verdict
    assert f"http://127.0.0.1:{served.ports.http}/?customer=acme" in verdict
    assert "Why it was refused" in shown["gate-beat--co"]["data"]


def test_runs_are_named_after_customer_and_day(
    served: Settings, ended: DailyOutcome, yesterday: date
) -> None:
    within = {"flow_runs": {"parent_flow_run_id": {"any_": [ended.flow_run_id]}}}
    names = {run["name"] for run in asked(served, "flow_runs/filter", within)}
    assert names == {f"{customer}, {yesterday}" for customer in ("acme", "beat_co", "broken", "tiny")}


def test_a_second_day_with_nothing_new_changes_nothing(
    served: Settings, ended: DailyOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.daily import daily

    of_stack(served, monkeypatch)
    before = open_store(served).stats("")
    state = daily("acme", return_state=True)
    assert (state.name, state.message) == ("Unchanged", "acme: unchanged")
    assert open_store(served).stats("") == before


def test_a_trial_shows_the_gates_verdict_and_keeps_nothing(
    served: Settings, ended: DailyOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.daily import train

    of_stack(served, monkeypatch)
    before = open_store(served).stats("")
    state = train("beat_co", return_state=True)
    assert state.name == "Tried"
    assert open_store(served).stats("") == before
    shown = {artifact["key"]: artifact for artifact in asked(served, "artifacts/latest/filter")}
    assert "# beat_co: tried" in shown["gate-beat--co"]["data"]


def test_days_are_sealed_without_a_forecast(
    served: Settings, ended: DailyOutcome, yesterday: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.daily import seal

    of_stack(served, monkeypatch)
    last = yesterday - timedelta(days=1)
    deliver(open_store(served), "sealed-only", last, days=30)
    state = seal("sealed-only", return_state=True)
    assert state.message == f"sealed-only: manifest 1, sales from {last - timedelta(29)} to {last}"
    assert current(open_store(served), "sealed-only") is None


def test_a_run_that_the_gate_refused_is_not_published_by_hand(
    served: Settings, ended: DailyOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.daily import publish

    of_stack(served, monkeypatch)
    state = publish("beat_co", of(ended, "beat_co").run_id, return_state=True)
    assert state.name == "Refused"
    assert current(open_store(served), "beat_co") is None
    again = publish("acme", return_state=True)
    assert (again.name, again.is_completed()) == ("Unchanged", True)


def test_without_a_server_the_trigger_says_how_to_start_one(offline_settings: Settings) -> None:
    with pytest.raises(MissingPartError, match="headrace up"):
        run_daily(offline_settings)


def test_a_day_that_is_whole_starts_the_daily_run_of_its_customer_by_an_event(
    served: Settings, ended: DailyOutcome, yesterday: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.daily import seal

    of_stack(served, monkeypatch)
    store = open_store(served)
    deliver(store, "whole", yesterday)
    state = seal("whole", return_state=True)
    assert (
        state.message
        == f"whole: manifest 1, sales from {yesterday - timedelta(99)} to {yesterday}; {yesterday} is whole"
    )
    run = eventually(lambda: current(store, "whole"))
    assert run.origin == yesterday
    started = asked(served, "flow_runs/filter", {"deployments": {"name": {"any_": ["daily"]}}})
    assert {"customer_id": "whole"} in [found["parameters"] for found in started]
    assert seal("whole", return_state=True).message == state.message.removesuffix(f"; {yesterday} is whole")


def test_a_customer_whose_run_broke_is_marked_as_degraded(served: Settings, ended: DailyOutcome) -> None:
    status = load_status(open_store(served), "broken")
    assert status.state == "degraded"
    assert status.reasons[0].startswith("the daily run failed: ")
    assert load_status(open_store(served), "beat_co").run_id == of(ended, "beat_co").run_id
    assert load_status(open_store(served), "acme").state == "fresh"


def test_somebody_is_told_of_a_day_that_went_wrong(ended: DailyOutcome, told: Told) -> None:
    text = eventually(lambda: next((text for text in told.texts if "acme: published" in text), None))
    assert text.startswith("Headrace, all customers, ")
    assert ": Failed: acme: published; beat_co: refused; broken: failed; tiny: skipped" in text
