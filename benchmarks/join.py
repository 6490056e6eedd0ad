"""Sales joined a second by one join process, from `sales-validated` to committed Parquet.

The lake lies in a directory, and in S3: SeaweedFS, or MinIO if asked. The time runs from the first sale that the
process has taken to the last row that it says is in the lake; it is told to stop, and so to flush, when it has taken
all. Beside it stand a consumer that throws everything away, and Quix Streams' file sink. Checked after each run: the
rows of the lake are the sales of the topic, each once, every value as it was, with its product's name and department.
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks.contestants import PEERS, peer_python
from benchmarks.digests import check_equal, committed_values, rows_digest, together
from benchmarks.filled import Retailer, deliver_masters, deliver_sales
from benchmarks.own_stack import await_true, own_settings, running_parts
from benchmarks.peers.by_record import Judge, Route
from benchmarks.processes import session_usage
from benchmarks.race import Run, running
from infra.blobs import open_store
from infra.errors import FaultError, HeadraceError, MissingPartError
from infra.extents import extents
from infra.settings import Settings, load_settings, settings_environment
from schemas.catalogue import SALES_VALIDATED
from tests import s3
from tests.running import free_port

RUN_S_MAX = 900.0
JOBS = ("ingest-sales", "ingest-master", "report", "validate")
COLUMNS = ("sale_id", "location_id", "product_id", "sold_at", "quantity", "unit_price", "position")


def metric(text: str, name: str, label: str) -> int:
    """The value of one of a job's counters, 0 when it is not there yet."""
    found = re.search(rf"^headrace_{name}_total{{[^}}]*{label}[^}}]*}} ([0-9.e+]+)$", text, re.MULTILINE)
    return round(float(found.group(1))) if found else 0


def run_join(settings: Settings, sales: int, log: Path) -> Run:
    """Let a join process carry all sales into an empty lake.

    Raises:
        FaultError: It ended before, or took too long.
    """
    port = free_port()
    environment = {
        **settings_environment(settings),
        # Files close by rows; what is left is flushed at the end.
        "HEADRACE_STREAM__FLUSH_S_MAX": str(RUN_S_MAX),
    }
    command = [sys.executable, "-m", "cli.jobs", "join", "--metrics-port", str(port)]
    deadline = time.monotonic() + RUN_S_MAX
    begin: tuple[float, int, float] | None = None
    told = False
    with running(command, environment, log) as process:
        usage = session_usage(process.pid)
        while True:
            text, now_s = _metrics(port), time.monotonic()
            taken, written = (
                metric(text, "records_in", SALES_VALIDATED),
                metric(text, "rows_written", "sales_joined"),
            )
            ended = process.poll() is not None
            usage = max(usage, session_usage(process.pid), key=lambda one: one.cpu_s)
            if begin is None and taken:
                begin = (now_s, taken, usage.cpu_s)
            if taken >= sales and not told:
                process.send_signal(signal.SIGTERM)
                told = True
            if written >= sales or (ended and told):
                break
            if ended or now_s > deadline:
                raise FaultError(f"join took {taken} of {sales} sales; see {log.read_text()[-2000:]}")
            time.sleep(0.02)
        process.wait(60)
    assert begin is not None
    began_s, first, cpu_before = begin
    return Run(
        (sales - first) / (now_s - began_s), (usage.cpu_s - cpu_before) / (sales - first) * 1e6, usage.rss_mb
    )


def _metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            return str(answer.read().decode())
    except (OSError, urllib.error.URLError):
        return ""


def check_lake(settings: Settings, expected: pl.DataFrame) -> None:
    """Compare the lake's rows with the sales.

    Raises:
        FaultError: They differ.
    """
    store = open_store(settings)
    paths = [store.uri(path) for path in store.list("sales_joined")]
    frame = pl.read_parquet(paths, storage_options=store.storage_options, hive_partitioning=False)
    check_equal("rows in the lake", frame.height, expected.height)
    check_equal("sales in the lake", rows_digest(frame, COLUMNS), rows_digest(expected, COLUMNS))
    named = frame.filter(
        (pl.col("product_name") == pl.lit("Product ") + pl.col("product_id"))
        & (pl.col("department") == "food")
    )
    check_equal("rows with their product's name", named.height, expected.height)


def run_quix(settings: Settings, route: Route, sales: int, expected: pl.DataFrame) -> float:
    """Sales a second of Quix Streams' file sink, from its first file to the one with which it has so many.

    Raises:
        MissingPartError: It cannot be installed here.
        FaultError: It did not write so many, or other rows.
    """
    out = settings.home / "quix"
    command = [
        peer_python(settings, "quix_app"),
        str(PEERS / "quix_sink.py"),
        json.dumps(asdict(route)),
        str(out),
    ]
    counts: dict[Path, int] = {}
    deadline = time.monotonic() + RUN_S_MAX
    log = settings.home / "quix.log"
    with running(command, {}, log) as process:
        while sum(counts.values()) < sales:
            if process.poll() is not None or time.monotonic() > deadline:
                raise FaultError(
                    f"Quix Streams wrote {sum(counts.values())} of {sales} sales: {log.read_text()[-500:]}"
                )
            time.sleep(0.2)
            for path in set(out.rglob("*.parquet")) - set(counts):
                if path.stat().st_mtime < time.time() - 0.5:
                    counts[path] = pq.read_metadata(path).num_rows
    files = sorted(counts, key=lambda path: path.stat().st_mtime)
    frame = pl.concat([pl.read_parquet(path) for path in files], how="diagonal_relaxed")
    check_equal("Quix Streams' rows, each once", frame["sale_id"].n_unique(), frame.height)
    same = expected.filter(pl.col("sale_id").is_in(frame["sale_id"].implode()))
    check_equal("Quix Streams' sales", rows_digest(frame, COLUMNS), rows_digest(same, COLUMNS))
    began_s = files[0].stat().st_mtime
    first = sum(count for path, count in counts.items() if path.stat().st_mtime - began_s < 1.0)
    seconds = files[-1].stat().st_mtime - began_s
    if seconds < 1.0:
        raise FaultError("Quix Streams wrote all in one checkpoint; expected several: raise --quix-sales")
    return (frame.height - first) / seconds


def figures(
    found: Mapping[str, Sequence[Run]],
    consumer: Sequence[float],
    quix: Sequence[float],
    not_run: Mapping[str, str],
) -> dict[str, object]:
    """Medians, and the ratio of rates that were measured one after the other."""
    shares = [one.per_s / other for one, other in zip(found["directory"], consumer, strict=True)]
    return {
        "sales_per_s": round(statistics.median(one.per_s for one in found["directory"])),
        "s3_sales_per_s": round(statistics.median(one.per_s for one in found["s3"])),
        "consumer_per_s": round(statistics.median(consumer)),
        "of_consumer": round(statistics.median(shares), 3),
        "quix_per_s": round(statistics.median(quix)) if quix else None,
        "cpu_us_per_sale": round(statistics.median(one.cpu_us for one in found["directory"]), 2),
        "s3_cpu_us_per_sale": round(statistics.median(one.cpu_us for one in found["s3"]), 2),
        "rss_mb": round(max(one.rss_mb for some in found.values() for one in some)),
        "all_per_s": {name: [round(one.per_s) for one in some] for name, some in found.items()},
        "not_run": dict(not_run),
    }


def main() -> None:
    """Measure, and print one JSON object last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sales", type=int, default=2_000_000)
    parser.add_argument(
        "--quix-sales", type=int, default=600_000, help="so many of them are enough of Quix Streams"
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--minio", action="store_true", help="MinIO instead of SeaweedFS")
    arguments = parser.parse_args()
    s3.ON_MINIO = arguments.minio
    with ExitStack() as parts:
        # Quix Streams' sink takes no hyphen in a path.
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="headrace_join_")))
        settings = own_settings(folder)
        supervisor = parts.enter_context(running_parts(settings, JOBS))
        retailer = Retailer(refused=0.0)
        deliver_masters(settings, retailer)
        deliver_sales(settings, retailer, arguments.sales)
        await_true(lambda: _validated(settings) >= arguments.sales, "valid sales", RUN_S_MAX)
        for job in JOBS:
            supervisor.stop_part(job)
        result = run(settings, parts.enter_context(s3.running_s3(folder / "s3")), arguments)
    print(json.dumps(result | vars(arguments)))


def _validated(settings: Settings) -> int:
    return sum(extent.end for extent in extents(settings, [SALES_VALIDATED]).values())


def run(settings: Settings, server: s3.S3Server, arguments: argparse.Namespace) -> dict[str, object]:
    """Let all run, in turn."""
    console = Console(stderr=True)
    route = Route(settings.bootstrap_servers, settings.registry, "", "quix-sink", SALES_VALIDATED, "", "")
    judge = Judge.without_masters(route.registry)
    values = together(committed_values(settings, SALES_VALIDATED))
    expected = pl.DataFrame([{name: sale[name] for name in COLUMNS} for sale in map(judge.sale, values)])
    check_equal("valid sales", expected.height, arguments.sales)
    del values
    found: dict[str, list[Run]] = {"directory": [], "s3": []}
    consumer, quix, not_run = list[float](), list[float](), dict[str, str]()
    for number in range(arguments.runs):
        lakes = {
            "directory": load_settings(lake=str(settings.home / f"lake-{number}")),
            "s3": server.settings(prefix=f"lake-{number}"),
        }
        for name, lake in lakes.items():
            one = run_join(lake, arguments.sales, settings.home / f"join-{name}.log")
            check_lake(lake, expected)
            console.print(f"join, {name}: {one.per_s:,.0f} sales/s, {one.cpu_us:.2f} µs each")
            found[name].append(one)
        command = [sys.executable, "-m", "benchmarks.consume", SALES_VALIDATED, str(arguments.sales)]
        told = json.loads(subprocess.run(command, env=os.environ, stdout=subprocess.PIPE, check=True).stdout)
        check_equal("messages read", told["messages"], arguments.sales)
        consumer.append(told["per_s"])
        if not number:
            try:
                quix.append(run_quix(settings, route, min(arguments.quix_sales, arguments.sales), expected))
            except (MissingPartError, FaultError) as error:
                not_run["quix"] = str(error)
    return figures(found, consumer, quix, not_run)


if __name__ == "__main__":
    try:
        main()
    except HeadraceError as error:
        sys.exit(f"benchmarks.join: {error}")
