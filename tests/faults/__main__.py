"""`make test-faults`: deliver on Apache Kafka and MinIO while everything that can fail does.

The last line is one JSON object; the exit code is 0 only if nothing was lost, doubled, misjudged, misreported or
missummed.
docs/faults.md says what each fault is.
"""

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from cli.lag import lags
from cli.stream_view import StreamView
from infra.blobs import open_store
from infra.errors import HeadraceError
from infra.settings import Settings
from tests import running, s3
from tests.faults.checker import check
from tests.faults.courier import Courier
from tests.faults.installation import JOBS, Installation
from tests.faults.plan import plan
from tests.faults.traffic import File, Traffic
from tests.faults.wrecker import Wrecker
from tests.running import wait_until

DONE_S_MAX = 600.0


def main() -> int:
    """Run the rounds; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="rounds of deliveries, each with two kills")
    parser.add_argument("--sales", type=int, default=20_000, help="sales of a round")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    parser.add_argument("--logs", type=Path, help="folder that the logs are kept in")
    arguments = parser.parse_args()
    running.ON_KAFKA = s3.ON_MINIO = True
    # Whoever ends the run from outside leaves no server and no mounted disk behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    with ExitStack() as stack:
        # Logs are written outside of the disks that are filled.
        folder = Path(
            arguments.logs or stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-faults-"))
        )
        return _run(Installation(folder, stack), arguments.rounds, arguments.sales, arguments.seed)


def _run(place: Installation, rounds: int, sales: int, seed: int) -> int:
    """Deliver round by round, do bad things meanwhile, wait for the end, and check."""
    for kind, reason in place.left_out.items():
        _say(f"{kind} is left out: {reason}")
    traffic, courier = Traffic(place.folder / "files", seed, sales), Courier(place.settings, _say)
    wrecker = Wrecker(place, _say)
    began = time.monotonic()
    for number, faults in enumerate(plan(seed, rounds, JOBS, list(place.left_out))):
        courier.take(traffic.round(number))
        for fault in faults:
            wrecker.do(fault)
    _say("waiting for the last deliveries and reports")
    courier.finish()
    _await_reports(place.settings, courier.delivered)
    wait_until(lambda: not any(lag.messages for lag in lags(place.settings)), "the lake")
    found = check(place.settings, place.store, courier.delivered)
    told = {
        "faults": wrecker.done.total(),
        "kills": wrecker.kills,
        "sales": sum(file.records for file in courier.delivered.values() if file.content == "sales"),
        **dataclasses.asdict(found),
        "by_kind": dict(sorted(wrecker.done.items())),
        "left_out": place.left_out,
        "seed": seed,
        "rounds": rounds,
        "seconds": round(time.monotonic() - began),
    }
    print(json.dumps(told))
    return 0 if found.nothing else 1


def _await_reports(settings: Settings, delivered: dict[int, File]) -> None:
    """Wait until every delivery is told to be done; whether the counts are right is the checker's to say."""
    deadline, store = time.monotonic() + DONE_S_MAX, open_store(settings)
    while time.monotonic() < deadline:
        try:
            with closing(StreamView(settings, store)) as view:
                view.read_to_end()
                reports = {delivery_id: view.get(delivery_id) for delivery_id in delivered}
        except HeadraceError as error:
            _say(str(error)[:100])
            continue
        open_ones = {k: report for k, report in reports.items() if report is None or report.state != "done"}
        if not open_ones:
            return
        time.sleep(1)
    raise AssertionError(f"{len(open_ones)} deliveries are not done: {list(open_ones.items())[:3]}")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
