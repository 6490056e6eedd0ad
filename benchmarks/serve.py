"""The HTTP service with a run of M5's shape: single series by wrk, the whole run as an Arrow stream, and its memory.

The service is the job of the one-machine stack, with a token, its audit log and its limits, held to one core; the
load comes from another where there is one. The peer is DuckDB on the same Parquet file, asked for the same series by
a prepared statement in this process, without HTTP. Where the machine has other work the time in processor seconds
tells more than the rate.
"""

import argparse
import datetime as dt
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import duckdb
import httpx
import numpy as np
import polars as pl
from rich.console import Console

from benchmarks.own_stack import own_settings, running_parts
from benchmarks.processes import cpu_s, peak_rss_mb
from cli.own_token import own_headers
from infra.blobs import BlobStore, open_store
from infra.errors import MissingPartError
from infra.settings import Settings
from lake import forecasts
from lake.forecasts import ForecastRun

CUSTOMER = "m5"
LOCATIONS, PRODUCTS, DAYS = 10, 3_049, 28
DAY = dt.date(2026, 11, 20)
CONNECTIONS = 8
PEER_ASKS = 200
WHOLE = "/v1/forecasts/runs/run-1/rows"
LOOKUPS = """
wrk.headers["Authorization"] = "{token}"
math.randomseed(7)
request = function()
  local place, product = math.random(0, {locations} - 1), math.random(0, {products} - 1)
  return wrk.format("GET", string.format(
    "/v1/forecasts?customer_id={customer}&location_id=L%02d&product_id=P%04d", place, product))
end
done = function(summary, latency, requests)
  io.write(string.format("figures %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    summary.errors.status, summary.errors.read + summary.errors.connect + summary.errors.timeout))
end
"""


def main() -> None:
    """Measure, and print one JSON object last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=20, help="how long single series are asked for")
    seconds = parser.parse_args().seconds
    if shutil.which("wrk") is None:
        raise MissingPartError(
            "wrk: expected the load generator on the PATH; `apt-get install wrk` installs it"
        )
    os.environ["HEADRACE_HTTP__REQUESTS_PER_S"] = "1000000"
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="headrace-serve-") as folder:
        settings = own_settings(Path(folder))
        store = open_store(settings)
        frame = run_of_m5s_shape()
        publish(store, frame)
        with running_parts(settings, ["http"]) as supervisor:
            (pid,) = [state.pid for state in supervisor.states() if state.name == "http"]
            figures = {**looked_up(settings, pid, seconds, console), **read_whole(settings, frame, console)}
            figures["rss_mb_max"] = peak_rss_mb(pid)
        figures.update(of_duckdb(store, console))
    print(json.dumps({"rows": frame.height, **figures}))


def run_of_m5s_shape() -> pl.DataFrame:
    """Forecasts of every product at every location for four weeks; the numbers are made up."""
    series = LOCATIONS * PRODUCTS
    mean = np.random.default_rng(7).gamma(1.0, 2.0, series * DAYS).astype(np.float32)
    shares = {"q05": 0.1, "q10": 0.2, "q25": 0.5, "q50": 0.9, "q75": 1.4, "q90": 2.0, "q95": 2.4}
    locations = np.repeat([f"L{number:02d}" for number in range(LOCATIONS)], PRODUCTS * DAYS)
    products = np.tile(np.repeat([f"P{number:04d}" for number in range(PRODUCTS)], DAYS), LOCATIONS)
    days = np.tile(np.datetime64(DAY, "D") + np.arange(1, DAYS + 1), series)
    return pl.DataFrame(
        {
            "location_id": locations,
            "product_id": products,
            "date": pl.Series(days, dtype=pl.Date),
            "mean": mean,
        }
        | {name: mean * np.float32(share) for name, share in shares.items()}
    )


def publish(store: BlobStore, frame: pl.DataFrame) -> None:
    """Publish the run as the daily flow does."""
    run = ForecastRun("run-1", CUSTOMER, "made-up", 1, DAY, DAY, DAYS, True, (), {})
    about = {"model": pl.lit(run.model), "manifest": pl.lit(1, pl.Int64), "made_on": pl.lit(DAY)}
    forecasts.publish(store, run, frame.with_columns(**about))


def looked_up(settings: Settings, pid: int, seconds: int, console: Console) -> Mapping[str, float]:
    """How many single series a second one core answers, and how soon."""
    cores = sorted(os.sched_getaffinity(0))
    _hold_to(pid, cores[0])
    script = settings.home / "lookups.lua"
    token = own_headers(settings)["Authorization"]
    script.write_text(
        LOOKUPS.replace("{token}", token).replace("{customer}", CUSTOMER)
        .replace("{locations}", str(LOCATIONS)).replace("{products}", str(PRODUCTS))
    )  # fmt: skip
    command = ["taskset", "--cpu-list", str(cores[-1]), "wrk", f"--connections={CONNECTIONS}", "--threads=1",
               f"--script={script}"]  # fmt: skip
    # The first request reads the run, and the first thousands warm the processor's branches.
    subprocess.run([*command, "--duration=3s", settings.http_url], check=True, capture_output=True)
    began_s = cpu_s(pid)
    done = subprocess.run(
        [*command, f"--duration={seconds}s", settings.http_url], check=True, capture_output=True, text=True
    )
    used_s = cpu_s(pid) - began_s
    found = re.search(r"figures (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout)
    assert found is not None, done.stdout
    requests, duration_us, p50_us, p99_us, refused, broken = map(int, found.groups())
    if refused or broken:
        raise MissingPartError(
            f"expected every request answered, found {refused} refused and {broken} broken"
        )
    figures = {
        "rps": round(requests / duration_us * 1e6),
        "p50_ms": p50_us / 1e3,
        "p99_ms": p99_us / 1e3,
        "cpu_us_per_request": round(used_s / requests * 1e6),
    }
    console.print(f"single series: {figures}")
    return figures


def read_whole(settings: Settings, frame: pl.DataFrame, console: Console) -> Mapping[str, float]:
    """Seconds until the whole run has come as an Arrow stream; the best of three."""
    plain_arrow = {"Accept": "application/vnd.apache.arrow.stream", "Accept-Encoding": "identity"}
    headers, times = {**own_headers(settings), **plain_arrow}, []
    with httpx.Client(base_url=settings.http_url, headers=headers, timeout=120) as client:
        for _ in range(3):
            began = time.perf_counter()
            answer = client.get(WHOLE, params={"customer_id": CUSTOMER}).raise_for_status()
            times.append(time.perf_counter() - began)
    rows = pl.read_ipc_stream(io.BytesIO(answer.content)).height
    if rows != frame.height:
        raise MissingPartError(f"expected {frame.height} rows of the whole run, found {rows}")
    console.print(f"whole run: {min(times):.2f} s, {len(answer.content) / 1e6:.0f} MB")
    return {"bulk_s": round(min(times), 3), "bulk_mb": round(len(answer.content) / 1e6, 1)}


def of_duckdb(store: BlobStore, console: Console) -> Mapping[str, float]:
    """How many single series a second DuckDB finds, in its own table and in the Parquet file."""
    (path,) = [store.uri(name) for name in store.list("forecasts") if name.endswith(".parquet")]
    figures = {}
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("create table run as select * from read_parquet(?)", [path])
        for name, source, asks in (
            ("duckdb_table_per_s", "run", PEER_ASKS),
            ("duckdb_file_per_s", f"read_parquet('{path}')", PEER_ASKS // 10),
        ):
            query = f"select * from {source} where location_id = ? and product_id = ? order by date"
            began = time.perf_counter()
            for number in range(asks):
                found = connection.execute(
                    query, [f"L{number % LOCATIONS:02d}", f"P{number * 13:04d}"]
                ).fetchall()
                assert len(found) == DAYS
            figures[name] = round(asks / (time.perf_counter() - began))
    console.print(f"DuckDB: {figures}")
    return figures


def _hold_to(pid: int, core: int) -> None:
    """Hold a process with all its threads to one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


if __name__ == "__main__":
    main()
