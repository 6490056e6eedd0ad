"""A week of days with all that goes wrong in one, in a real Prefect server: every good day is forecast once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from infra.blobs import BlobStore, open_store
from infra.prefect_server import start_prefect_server, wait_for_prefect
from infra.settings import PortSettings, Settings, load_settings, settings_environment
from lake.forecast_status import load_status
from lake.forecasts import current, runs
from tests.flows.conftest import SERVE, WEEK
from tests.flows.retailer import deliver
from tests.running import free_port

T = TypeVar("T")

WAIT_S = 200.0
ROOT = Path(__file__).parents[2]
MADE = {"Published", "Refused"}
"""A forecast was made; whether it beats the one in use is left to chance."""


class Installation:
    """A Prefect server and the process that serves the flows, each of which can be ended and started again.

    A day comes when the test says so: it starts what the schedule would start.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store: BlobStore = open_store(settings)
        self.log = (settings.home / "log").open("ab")
        self.server = self.flows = None  # type: subprocess.Popen[bytes] | None

    def start(self) -> None:
        if self.server is None:
            self.server = start_prefect_server(self.settings, self.log)
            wait_for_prefect(self.settings, timeout_s=WAIT_S)
        if self.flows is None:
            environment = {**os.environ, **settings_environment(self.settings), "PYTHONPATH": str(ROOT)}
            self.flows = subprocess.Popen(
                [sys.executable, "-c", SERVE], env=environment, cwd=self.settings.home,
                stdout=self.log, stderr=self.log, start_new_session=True,
            )  # fmt: skip
        eventually(lambda: len(self.asked("deployments/filter")) == 4)

    def kill_flows(self) -> None:
        """Kill the process that serves the flows and every run in it."""
        assert self.flows is not None
        os.killpg(self.flows.pid, signal.SIGKILL)
        self.flows.wait()
        self.flows = None

    def stop_server(self) -> None:
        assert self.server is not None
        self.server.terminate()
        self.server.wait(60)
        self.server = None

    def stop(self) -> None:
        if self.flows is not None:
            self.flows.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.flows.wait(60)
            if self.flows.poll() is None:
                self.kill_flows()
        if self.server is not None:
            self.stop_server()
        self.log.close()

    def asked(self, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = httpx.post(f"{self.settings.prefect}/api/{path}", json=body or {}, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def begin(self, deployment: str, **parameters: Any) -> str:
        """What the schedule does at its time: a run of a deployment."""
        found = httpx.get(
            f"{self.settings.prefect}/api/deployments/name/{deployment}/{deployment}", timeout=60
        ).json()
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        started: str = self.asked(f"deployments/{found['id']}/create_flow_run", body)["id"]
        return started

    def state(self, flow_run_id: str) -> dict[str, Any]:
        assert self.flows is None or self.flows.poll() is None, (self.settings.home / "log").read_text()[
            -2000:
        ]
        answer = httpx.get(f"{self.settings.prefect}/api/flow_runs/{flow_run_id}", timeout=60)
        found: dict[str, Any] = answer.json()["state"] or {"type": "NONE", "name": "", "message": ""}
        return found

    def ended(self, flow_run_id: str) -> dict[str, Any]:
        """The final state of a run."""
        return eventually(
            lambda: (
                found
                if (found := self.state(flow_run_id))["type"] in {"COMPLETED", "FAILED", "CRASHED"}
                else None
            )
        )

    def of_deployment(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.asked(
            "flow_runs/filter", {"deployments": {"name": {"any_": [name]}}}
        )
        return found


def eventually(look: Callable[[], T | None]) -> T:
    deadline = time.monotonic() + WAIT_S
    while not (found := look()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.3)
    return found


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    ports = PortSettings(prefect=free_port(), http=free_port())
    # The schedules are never due by themselves within the test, which says when a day has come.
    flow = WEEK.model_copy(update={"cron": "0 0 29 2 *", "seal_cron": "0 0 29 2 *", "time_zone": "UTC"})
    home = tmp_path / "home"
    home.mkdir()
    made = Installation(load_settings(home=home, ports=ports, flow=flow))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_week_with_all_that_goes_wrong_ends_with_every_good_day_forecast_once(
    installation: Installation,
) -> None:
    store = installation.store
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=back) for back in reversed(range(1, 8))]
    # Until the week begins, all is well.
    deliver(store, "acme", days[0] - timedelta(days=1))
    assert (
        installation.ended(installation.begin("daily", as_of=f"{days[0] - timedelta(days=1)}"))["name"]
        in MADE
    )

    def day_comes(day: date, **parameters: Any) -> dict[str, Any]:
        return installation.ended(installation.begin("daily", as_of=f"{day}", **parameters))

    def arrives(day: date, **further: Any) -> None:
        deliver(store, "acme", day, days=1, master=False, **further)

    # 1: as ever, and once more.
    arrives(days[0])
    assert day_comes(days[0])["name"] in MADE
    assert day_comes(days[0])["name"] == "Unchanged"

    # 2: the run is killed with the process; the next one goes on from what is there.
    arrives(days[1])
    killed = installation.begin("daily", as_of=f"{days[1]}")
    eventually(lambda: installation.state(killed)["type"] == "RUNNING")
    installation.kill_flows()
    installation.start()
    assert day_comes(days[1])["name"] in {*MADE, "Unchanged"}

    # 3: the server is restarted while a day is worked on.
    arrives(days[2])
    under_way = installation.begin("daily", as_of=f"{days[2]}")
    installation.stop_server()
    time.sleep(2)
    installation.start()
    installation.ended(under_way)
    assert day_comes(days[2])["name"] in {*MADE, "Unchanged"}

    # 4: a day that came in part holds the training, and the forecast in use is marked.
    arrives(days[3], things=("apple",))
    held = day_comes(days[3])
    assert held["name"] == "Held"
    assert load_status(store, "acme").state == "degraded"
    served = current(store, "acme")
    assert served is not None
    assert served.origin == days[2]

    # 5: the rest comes late, with the next day; nobody was there that night.
    arrives(days[3], things=("bread", "cheese", "dates"), seed=2)
    arrives(days[4])

    # 6 and 7: two runs at once, without a day given, make up for what was missed.
    arrives(days[5])
    arrives(days[6])
    both = [installation.begin("daily"), installation.begin("daily")]
    ended = {installation.ended(run)["name"] for run in both}
    assert "Unchanged" in ended
    assert ended & MADE

    made = [run.origin for run in runs(store, "acme")]
    assert sorted(made) == [days[0] - timedelta(days=1), *days], "each good day once"
    newest = current(store, "acme")
    assert newest is not None
    assert newest.accepted
    assert load_status(store, "acme").state == ("fresh" if newest.origin == days[6] else "degraded")
