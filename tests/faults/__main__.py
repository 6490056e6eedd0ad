"""`make test-faults`: deliver on Apache Kafka and MinIO while processes are killed, stopped and started again.

The last line is one JSON object; the exit code is 0 only if nothing was lost, doubled or misjudged.
"""

import argparse
import dataclasses
import json
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from cli.lag import lags
from cli.parts import stack_parts
from cli.stream_view import StreamView
from infra.blobs import open_store
from infra.errors import HeadraceError
from infra.kafka import broker_answers
from infra.settings import PortSettings, load_settings, settings_environment
from infra.supervised import Supervisor
from schemas import catalogue
from stream_jobs.ingest.accept import Desk
from tests import running, s3
from tests.faults.checker import check
from tests.faults.traffic import CUSTOMER, File, Traffic
from tests.running import Server, free_port, wait_until

JOBS = ("ingest-sales", "ingest-master", "validate", "join", "report", "sink")
STOPPED = ("validate", "join")
"""Jobs that are also stopped for longer than their group waits, and wake up when others have their work."""
STOPPED_S = 20.0
RARE_EVERY = 12
"""Each so-manieth fault is a server's death or a job that is stopped and wakes up."""
DONE_S_MAX = 600.0


def main() -> int:
    """Run the rounds; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="rounds of deliveries, each with two faults")
    parser.add_argument("--sales", type=int, default=20_000, help="sales of a round")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    running.ON_KAFKA = s3.ON_MINIO = True
    with tempfile.TemporaryDirectory(prefix="headrace-faults-") as folder, ExitStack() as stack:
        place = Place(Path(folder), stack, random.Random(arguments.seed))
        return place.run(arguments.rounds, arguments.sales, arguments.seed)


class Place:
    """An installation on servers of its own, and what is done to it."""

    def __init__(self, folder: Path, stack: ExitStack, dice: random.Random) -> None:
        self._folder = folder
        self._dice = dice
        self._kafka = Server(running.broker_program(folder / "kafka", free_port()))
        stack.callback(self._kafka.kill)
        self._minio = Server(s3.s3_program(folder / "s3", free_port()))
        stack.callback(self._minio.kill)
        self._s3 = s3.S3Server(self._minio.url)
        wait_until(self._s3.has_bucket, "MinIO's answer")
        lake = self._s3.settings()
        ports = PortSettings(registry=free_port(), metrics=28300)
        self._settings = load_settings(
            home=folder / "home", broker=self._kafka.url, lake=lake.lake, s3=lake.s3, ports=ports
        )
        wait_until(lambda: broker_answers(self._settings), "Kafka's answer")
        self._supervisor = Supervisor(self._settings.home)
        self._start(stack)
        self._kills = self._faults = 0

    def _start(self, stack: ExitStack) -> None:
        parts = {part.part.name: part for part in stack_parts(self._settings)}
        environment = settings_environment(self._settings) | {"HEADRACE_STREAM__FLUSH_S_MAX": "2"}
        self._supervisor.start([parts[name].part for name in ("registry", *JOBS)], environment)
        stack.callback(self._supervisor.stop)
        self._supervisor.start_part("registry")
        wait_until(parts["registry"].is_ready, "the registry")
        catalogue.apply(self._settings)
        for name in JOBS:
            self._supervisor.start_part(name)
        for name in JOBS:
            wait_until(parts[name].is_ready, name)

    def run(self, rounds: int, sales: int, seed: int) -> int:
        """Deliver round by round, do something bad in each, wait for the end, and check."""
        traffic, delivered = Traffic(self._folder / "files", seed, sales), dict[int, File]()
        began = time.monotonic()
        for number in range(rounds):
            for file in traffic.round(number):
                delivered[self._accepted(file)] = file
            for _ in range(2):
                self._fault()
        self._say("waiting for the last reports")
        self._await_reports(delivered)
        wait_until(lambda: not any(lag.messages for lag in lags(self._settings)), "the lake")
        found = check(self._settings, self._s3, delivered)
        told = {
            "faults": self._faults, "kills": self._kills,
            "sales": sum(file.records for file in delivered.values() if file.content == "sales"),
            **dataclasses.asdict(found), "seed": seed, "rounds": rounds, "seconds": round(time.monotonic() - began),
        }  # fmt: skip
        print(json.dumps(told))
        return int(found.lost + found.duplicated + found.misjudged > 0)

    def _accepted(self, file: File) -> int:
        """The id of a delivery, sent again until it is answered, as a customer would."""
        deadline = time.monotonic() + DONE_S_MAX
        while True:
            try:
                with (
                    closing(Desk(self._settings, open_store(self._settings))) as desk,
                    file.path.open("rb") as data,
                ):
                    return desk.accept(CUSTOMER, file.content, file.path.name, data).delivery_id
            except HeadraceError as error:
                if time.monotonic() > deadline:
                    raise
                self._say(f"{file.path.name}: {str(error)[:100]}")
                time.sleep(0.5)

    def _await_reports(self, delivered: dict[int, File]) -> None:
        deadline = time.monotonic() + DONE_S_MAX
        while time.monotonic() < deadline:
            try:
                with closing(StreamView(self._settings, open_store(self._settings))) as view:
                    view.read_to_end()
                    reports = {delivery_id: view.get(delivery_id) for delivery_id in delivered}
            except HeadraceError as error:
                self._say(str(error)[:100])
                continue
            open_ones = {k: r for k, r in reports.items() if r is None or r.state != "done"}
            if not open_ones:
                wrong = [
                    (delivery_id, report)
                    for delivery_id, report in reports.items()
                    if report and report.invalid != len(delivered[delivery_id].codes)
                ]
                assert not wrong, f"reports say other counts: {wrong[:3]}"
                return
            time.sleep(1)
        raise AssertionError(f"{len(open_ones)} deliveries are not done: {list(open_ones.items())[:3]}")

    def _fault(self) -> None:
        self._faults += 1
        time.sleep(self._dice.uniform(0.0, 1.5))
        rare = (self._kill_kafka, self._kill_minio, self._stop_job)
        if self._faults % RARE_EVERY:
            self._kill_job()
        else:
            rare[self._faults // RARE_EVERY % len(rare)]()

    def _pid(self, name: str) -> int:
        return next(state.pid for state in self._supervisor.states() if state.name == name)

    def _kill_job(self) -> None:
        name = self._dice.choice((*JOBS, "registry"))
        if pid := self._pid(name):
            os.kill(pid, signal.SIGKILL)
            self._kills += 1
            self._say(f"killed {name}")

    def _stop_job(self) -> None:
        name = self._dice.choice(STOPPED)
        if pid := self._pid(name):
            self._say(f"stopped {name} for {STOPPED_S:g} s")
            os.kill(pid, signal.SIGSTOP)
            time.sleep(STOPPED_S)
            os.kill(pid, signal.SIGCONT)

    def _kill_kafka(self) -> None:
        self._kill_server(self._kafka, "Kafka")

    def _kill_minio(self) -> None:
        self._kill_server(self._minio, "MinIO")

    def _kill_server(self, server: Server, name: str) -> None:
        self._say(f"killed {name}")
        self._kills += 1
        server.kill()
        time.sleep(self._dice.uniform(0.5, 3.0))
        server.start()

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
