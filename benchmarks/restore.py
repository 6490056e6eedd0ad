"""How soon a killed validate judges again, with a million products in its table: from a snapshot, and without.

The time runs from the start of the process to the first verdict on sales that were waiting, so it includes
Python's imports, the registry, the consumer group and the transaction. The peer is the same process without
snapshots, which reads its topics from their beginning.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.own_stack import await_true, own_settings, running_parts
from cli.data import wait_for_deliveries
from cli.stream_view import StreamView
from infra.blobs import open_store
from infra.extents import extents
from infra.settings import Settings
from schemas.catalogue import DELIVERY_TALLIES
from stream_jobs.ingest.accept import Desk

CUSTOMER = "acme"
SALES = 1_000
WAIT_S = 900.0
VALIDATE = (sys.executable, "-m", "cli.jobs", "validate")


def main() -> None:
    """Measure, and print one JSON object last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--products", type=int, default=1_000_000)
    parser.add_argument("--restarts", type=int, default=3, help="restarts of each kind")
    arguments = parser.parse_args()
    os.environ["HEADRACE_STREAM__SNAPSHOT_S"] = "5"
    with tempfile.TemporaryDirectory(prefix="headrace-restore-") as folder:
        settings = own_settings(Path(folder))
        with running_parts(settings, ["ingest-sales", "ingest-master", "report"]):
            print(json.dumps(run(settings, arguments.products, arguments.restarts)))


def run(settings: Settings, products: int, restarts: int) -> dict[str, object]:
    """Deliver the products, then kill and restart a validate with sales waiting for it."""
    store, folder = open_store(settings), settings.home / "files"
    folder.mkdir()
    log = folder / "validate.log"
    with closing(Desk(settings, store)) as desk:
        _deliver(settings, desk, folder, "locations", [["location_id"], ["L1"]])
        _deliver(
            settings,
            desk,
            folder,
            "products",
            [["product_id", "name"], *([f"P{n:07d}", _name(n)] for n in range(products))],
        )
        began = time.monotonic()
        process = _validate(log)
        await_true(lambda: bool(store.list("state/master")), "a snapshot", WAIT_S)
        first_snapshot_s = time.monotonic() - began
        size = sum(stat.size_bytes for stat in store.stats("state/master").values())
        seconds: dict[str, list[float]] = {"snapshot": [], "topic": []}
        for number in range(2 * restarts):
            process.kill()
            process.wait()
            _deliver(settings, desk, folder, "sales", _sales(number, products))
            before, kind = _tallied(settings), ("snapshot", "topic")[number % 2]
            # Validate asks the blob store for snapshots and nothing else.
            elsewhere = {"HEADRACE_LAKE": str(settings.home / f"empty-{number}")} if kind == "topic" else {}
            began = time.monotonic()
            process = _validate(log, elsewhere)
            await_true(partial(_has_judged, settings, before), "a verdict", WAIT_S)
            seconds[kind].append(round(time.monotonic() - began, 2))
        process.kill()
        process.wait()
    from_snapshot, from_topic = sorted(seconds["snapshot"]), sorted(seconds["topic"])
    judges_again_s = from_snapshot[restarts // 2]
    parts = re.findall(r"snapshot read in ([\d.]+) s, tables made of it in ([\d.]+) s", log.read_text())
    return {
        "products": products, "snapshot_mb": round(size / 1e6, 1), "first_snapshot_after_s": round(first_snapshot_s, 1),
        "from_snapshot_s": from_snapshot, "from_topic_s": from_topic, "judges_again_s": judges_again_s,
        "of_replay": round(judges_again_s / from_topic[restarts // 2], 3),
        "read_s": float(parts[0][0]), "tables_s": float(parts[0][1]),
    }  # fmt: skip


def _validate(log: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(VALIDATE, stderr=output, env={**os.environ, **(environment or {})})


def _has_judged(settings: Settings, before: int) -> bool:
    return _tallied(settings) > before


def _name(number: int) -> str:
    """A name that does not shrink when it is compressed."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:24]


def _sales(number: int, products: int) -> list[list[str]]:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    rows = [
        [f"{number}-{sale}", "L1", f"P{sale * products // SALES:07d}", now, "1", "2.5"]
        for sale in range(SALES)
    ]
    return [["sale_id", "location_id", "product_id", "sold_at", "quantity", "unit_price"], *rows]


def _deliver(settings: Settings, desk: Desk, folder: Path, content: str, rows: list[list[str]]) -> None:
    """Deliver a file and wait until its records are in their topic."""
    path = folder / f"{content}.csv"
    with path.open("w", newline="") as written:
        csv.writer(written).writerows(rows)
    with path.open("rb") as file:
        delivery_id = desk.accept(CUSTOMER, content, path.name, file).delivery_id
    with closing(StreamView(settings, open_store(settings))) as view:
        if content == "sales":
            # Judged they are not: validate is down.
            def read() -> bool:
                view.read_to_end()
                found = view.get(delivery_id)
                return found is not None and found.records == len(rows) - 1

            await_true(read, "the sales in their topic", WAIT_S)
        else:
            wait_for_deliveries(view, [delivery_id], WAIT_S, Console(stderr=True))


def _tallied(settings: Settings) -> int:
    return sum(extent.end for extent in extents(settings, [DELIVERY_TALLIES]).values())


if __name__ == "__main__":
    main()
