"""How the stream side scales: processes, partitions, and what a sale costs as ever more of them lie in the lake.

Validate in one process on 4, 16 and 64 partitions, and in one, two and four processes of one group on 16 partitions,
each checked as `benchmarks.validate` does. The processes run on Apache Kafka: with the embedded broker a group of
four that begins at once may wait for its partitions for ever. Then all jobs carry a volume from files to the lake in
equal steps: seconds and processor time for each sale, listing and snapshots should not grow with what is there
already. Checked after each step: the rows of the lake are as many as the sales.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console

from benchmarks.contestants import VALIDATE, Contestant, workers
from benchmarks.digests import check_equal
from benchmarks.filled import Retailer, deliver_masters, deliver_sales
from benchmarks.own_stack import await_true, own_settings, running_parts
from benchmarks.processes import cpu_s, peak_rss_mb
from benchmarks.race import Run
from benchmarks.validate import Course, stack
from infra.blobs import open_store
from infra.errors import HeadraceError, MissingPartError
from infra.settings import Settings
from infra.supervised import Supervisor

PROCESSES = (1, 2, 4)
PARTITIONS = (4, 16, 64)
MOST_PROCESSES_ON = 16
RETAILER = Retailer(locations=500)
"""Locations enough for every partition to have some."""
ALL_VALID = replace(RETAILER, refused=0.0)

JOBS = ("ingest-sales", "ingest-master", "validate", "join", "sink", "report")
STEP_S_MAX = 3600.0


@dataclass(frozen=True, slots=True)
class Step:
    """What one more part of the volume took.

    Attributes:
        sales: Sales in the lake after it.
        seconds: From the delivery of its files to its last row in the lake.
        cpu_us: Processor time of all jobs for each of its sales, microseconds.
        files: Files of the lake's table after it.
        list_ms: Listing them once, milliseconds.
        snapshot_mb: Snapshots of what jobs keep in memory.
        rss_mb: Most memory of one job until then.
    """

    sales: int
    seconds: float
    cpu_us: float
    files: int
    list_ms: float
    snapshot_mb: float
    rss_mb: float


class Volume:
    """A stack that is given ever more sales.

    Args:
        settings: Of the stack.
        supervisor: Of its jobs.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self._settings = settings
        self._store = open_store(settings)
        self._supervisor = supervisor
        self._rows: dict[str, int] = {}
        self._sales = 0

    def step(self, sales: int) -> Step:
        """Deliver so many more, and wait until they are in the lake."""
        pids = [state.pid for state in self._supervisor.states() if state.name in JOBS]
        before, began = sum(map(cpu_s, pids)), time.monotonic()
        deliver_sales(self._settings, ALL_VALID, sales, self._sales)
        self._sales += sales
        await_true(lambda: self._in_lake() >= self._sales, f"{self._sales} rows in the lake", STEP_S_MAX)
        seconds, cpu = time.monotonic() - began, sum(map(cpu_s, pids)) - before
        check_equal("rows in the lake", self._in_lake(), self._sales)
        began = time.monotonic()
        files = len(self._store.list("sales_joined"))
        list_ms = (time.monotonic() - began) * 1000
        snapshots = sum(stat.size_bytes for stat in self._store.stats("state").values())
        return Step(
            self._sales, round(seconds, 1), round(cpu / sales * 1e6, 2), files, round(list_ms, 1),
            round(snapshots / 1e6, 2), max(map(peak_rss_mb, pids)),
        )  # fmt: skip

    def _in_lake(self) -> int:
        """Rows in the lake; each file is looked into once."""
        for path in self._store.list("sales_joined"):
            if path not in self._rows:
                with self._store.open(path) as file:
                    self._rows[path] = pq.read_metadata(file).num_rows
        time.sleep(0.2)
        return sum(self._rows.values())


def figures(
    processes: Mapping[int, Sequence[Run]], partitions: Mapping[int, Sequence[Run]], steps: Sequence[Step]
) -> dict[str, object]:
    """Medians, and the last step beside the first that found all jobs warm."""
    first, last = steps[min(1, len(steps) - 1)], steps[-1]

    def rates(runs: Mapping[int, Sequence[Run]]) -> dict[str, int]:
        return {
            str(count): round(statistics.median(run.per_s for run in some)) for count, some in runs.items()
        }

    return {
        "processes": rates(processes),
        "partitions": rates(partitions),
        "volume": last.sales,
        "cpu_growth": round(last.cpu_us / first.cpu_us, 3),
        "time_growth": round(last.seconds / first.seconds, 3),
        "files": last.files,
        "list_ms": last.list_ms,
        "snapshot_mb": last.snapshot_mb,
        "rss_mb_max": last.rss_mb,
        "steps": [asdict(step) for step in steps],
    }


def run_course(
    partitions: int, sales: int, contestants: Mapping[int, Contestant], runs: int, *, on_kafka: bool
) -> dict[int, list[Run]]:
    """Let contestants run in turn on so many partitions."""
    os.environ["HEADRACE_SALES_PARTITIONS"] = str(partitions)
    found: dict[int, list[Run]] = {number: [] for number in contestants}
    with stack(RETAILER, sales, on_kafka=on_kafka) as settings:
        course = Course(settings, RETAILER, sales, 0)
        for turn in range(runs):
            for number, contestant in contestants.items():
                found[number].append(course.run(contestant, f"{contestant.name}-{turn}"))
    del os.environ["HEADRACE_SALES_PARTITIONS"]
    return found


def run_volume(volume: int, steps: int) -> list[Step]:
    """Carry a volume to the lake in equal steps."""
    os.environ |= {"HEADRACE_STREAM__SNAPSHOT_S": "10", "HEADRACE_STREAM__FLUSH_S_MAX": "2"}
    console = Console(stderr=True)
    found = []
    with tempfile.TemporaryDirectory(prefix="headrace-scale-") as folder:
        settings = own_settings(Path(folder))
        with running_parts(settings, JOBS) as supervisor:
            deliver_masters(settings, ALL_VALID)
            carried = Volume(settings, supervisor)
            for _ in range(steps):
                found.append(carried.step(volume // steps))
                console.print(str(found[-1]), soft_wrap=True)
    return found


def main() -> None:
    """Measure, and print one JSON object last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sales", type=int, default=2_000_000, help="for processes and partitions")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument(
        "--volume", type=int, default=5_000_000, help="carried to the lake; 100000000 takes an hour"
    )
    parser.add_argument("--steps", type=int, default=10)
    arguments = parser.parse_args()
    sales, runs = arguments.sales, arguments.runs
    partitions = {
        count: run_course(count, sales, {count: VALIDATE}, runs, on_kafka=False)[count]
        for count in PARTITIONS
    }
    steps = run_volume(arguments.volume, arguments.steps)
    processes: dict[int, list[Run]] = {}
    not_run: dict[str, str] = {}
    try:
        teams = {count: workers(count) for count in PROCESSES}
        processes = run_course(MOST_PROCESSES_ON, sales, teams, runs, on_kafka=True)
    except MissingPartError as error:
        not_run["processes"] = str(error)
    found = figures(processes, partitions, steps)
    print(json.dumps(found | {"sales": sales, "runs": runs, "not_run": not_run}))


if __name__ == "__main__":
    try:
        main()
    except HeadraceError as error:
        sys.exit(f"benchmarks.scale: {error}")
