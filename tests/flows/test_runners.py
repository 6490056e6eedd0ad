"""Where fits run, and that one which has ended is not done again."""

import os
import time
from pathlib import Path

import pytest

from infra.blobs import open_store
from infra.settings import FlowSettings, Settings
from lake.forecasts import ForecastRun, current, forecast_frame
from tests.flows.conftest import WEEK
from tests.flows.retailer import deliver
from tests.flows.test_customer_day import LAST, one_day
from tests.flows.test_served_flows import asked, of_stack


def test_the_settings_say_where_fits_run(prefect_server: Settings) -> None:
    from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

    from flows.runners import runner_of

    threads = runner_of(FlowSettings(workers=3))
    assert isinstance(threads, ThreadPoolTaskRunner)
    assert isinstance(runner_of(FlowSettings(runner="processes")), ProcessPoolTaskRunner)
    elsewhere = runner_of(FlowSettings(runner="dask", dask_address="tcp://cluster:8786"))
    assert vars(elsewhere)["address"] == "tcp://cluster:8786"


@pytest.mark.parametrize("runner", ["threads", "processes", "dask"])
def test_the_forecast_is_the_same_wherever_its_fits_run(
    prefect_server: Settings, runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.daily import daily

    here = open_store(prefect_server.model_copy(update={"home": tmp_path / "alone"}))
    flow = WEEK.model_copy(update={"runner": runner, "workers": 2})
    settings = prefect_server.model_copy(update={"lake": str(tmp_path / "lake"), "flow": flow})
    for store in (here, open_store(settings)):
        deliver(store, "acme", LAST)
    alone, _ = one_day(here)
    of_stack(settings, monkeypatch)
    state = daily("acme", LAST, return_state=True)
    assert (state.name, state.message) == ("Published", "acme: published")
    run = current(open_store(settings), "acme")
    assert run is not None
    assert isinstance(alone, ForecastRun)
    made = forecast_frame(open_store(settings), run).drop("made_on")
    assert made.equals(forecast_frame(here, alone).drop("made_on"))
    # Made again from nothing but the sealed days, no fit is done again.
    for path in ("current.json", f"{run.run_id}.json"):
        open_store(settings).delete(f"forecast_runs/acme/{path}")
    again = daily("acme", LAST, return_state=True)
    assert again.name == "Published"
    within = {"flow_runs": {"parent_flow_run_id": {"any_": [str(again.state_details.flow_run_id)]}}}
    steps = asked(prefect_server, "task_runs/filter", within)
    fits = [step["state_name"] for step in steps if step["name"].startswith(("backtest", "train"))]
    assert set(fits) == {"Cached"}
    assert len(fits) == 7


def test_results_that_no_run_will_ask_for_are_deleted(prefect_server: Settings, tmp_path: Path) -> None:
    from flows.runners import RESULTS_KEPT, forget_results

    for name in ("old", "new"):
        (tmp_path / name).write_bytes(b"result")
    past_s = time.time() - RESULTS_KEPT.total_seconds() - 60
    os.utime(tmp_path / "old", (past_s, past_s))
    assert forget_results(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert forget_results(tmp_path / "none") == 0
