"""A real Prefect server and the process that serves the flows, once for all tests."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from infra.blobs import BlobStore, open_store
from infra.prefect_server import prefect_environment, start_prefect_server, wait_for_prefect
from infra.settings import FlowSettings, PortSettings, Settings, load_settings, settings_environment
from tests.running import free_port

WEEK = FlowSettings(horizon_days=7, training_rows_max=2000, cron="30 4 * * *", time_zone="Europe/Vienna")
"""A short horizon and small samples: the tests ask whether things are joined up, not how good a model is."""

SERVE = (
    "import signal, threading; from infra.settings import load_settings; from flows.serve import run_flows; "
    "stop = threading.Event(); signal.signal(signal.SIGTERM, lambda *_: stop.set()); "
    "run_flows(load_settings(), stop)"
)
"""What the command line does in a process of its own."""


@pytest.fixture(scope="session")
def yesterday() -> date:
    """The last day that is over for the schedule, as a run started now will see it."""
    from flows.plan import last_day_over

    return last_day_over(datetime.now(UTC), WEEK.time_zone)


@pytest.fixture
def store(home: Path) -> BlobStore:
    """An empty lake in a directory."""
    return open_store(load_settings(home=home))


class Told:
    """Somebody who is told when a day went wrong."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        told = self.texts

        class Listener(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """A quiet test."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


@pytest.fixture(scope="session")
def told() -> Iterator[Told]:
    """Where the alerts of the served flows go."""
    made = Told()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(20)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, told: Told) -> Settings:
    """Settings of the installation that the served flows belong to."""
    ports = PortSettings(prefect=free_port(), http=free_port())
    home = tmp_path_factory.mktemp("stack")
    return load_settings(home=home, flow=WEEK, ports=ports, alert_url=told.url)


@pytest.fixture(scope="session")
def prefect_server(stack: Settings) -> Iterator[Settings]:
    """A Prefect server."""
    stack.home.mkdir(exist_ok=True)
    with (stack.home / "server.log").open("wb") as output:
        process = start_prefect_server(stack, output)
        try:
            wait_for_prefect(stack, timeout_s=240)
            os.environ.update(prefect_environment(stack))
            yield stack
            _send_what_waits()
        finally:
            process.terminate()
            process.wait(60)


def _send_what_waits() -> None:
    """Send the logs and events of flows run in this process, which else tries on after the server's end."""
    if "prefect" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for worker in (EventsWorker, APILogWorker):
            worker.drain_all(timeout=20)


@pytest.fixture(scope="session")
def served(prefect_server: Settings) -> Iterator[Settings]:
    """The process that serves the flows, started in another folder, its settings in the environment."""
    folder = Path(__file__).parents[2]
    elsewhere = prefect_server.home / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, **settings_environment(prefect_server), "PYTHONPATH": str(folder)}
    with (prefect_server.home / "flows.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE], env=environment, cwd=elsewhere, stdout=output, stderr=output
        )
        try:
            yield prefect_server
        finally:
            process.terminate()
            assert process.wait(60) == 0, (prefect_server.home / "flows.log").read_text()
            # A restart of the process must not end the schedule.
            answer = httpx.get(f"{prefect_server.prefect}/api/deployments/name/daily/daily", timeout=60)
            assert not answer.json()["paused"]
            assert answer.json()["schedules"][0]["active"]
