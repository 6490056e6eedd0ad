"""The whole channel on M5's sales: delivery files to the lake to served forecasts, by stage.

HEADRACE_DATA names the folder that holds `m5/`. Each run starts its own stack in a fresh folder, on
ports of its own, and stops it. It checks what it measures: sales delivered = valid = reported = rows in the
lake, by four readers, and a served forecast for every series.
"""

import argparse
import json
import math
import os
import random
import signal
import sys
import tempfile
import threading
import time
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import duckdb
import httpx
import pandas as pd
import polars as pl
from rich.console import Console

from benchmarks.own_stack import own_settings
from benchmarks.processes import MemoryWatch
from cli.data import wait_for_deliveries
from cli.demo import await_lake
from cli.m5 import import_m5
from cli.m5_score import score_m5
from cli.own_token import own_headers
from cli.stack import Stack
from cli.stream_view import StreamView
from flows.trigger import run_daily
from infra.blobs import open_store
from infra.errors import FaultError, HeadraceError, MissingPartError
from infra.settings import Settings, load_settings
from lake.read import Lake
from stream_jobs.ingest.accept import Desk

CUSTOMER = "walmart"
FIRST_FORECAST = date(2016, 4, 25)
"""The first of the 28 days that are kept back and scored."""

WAIT_S = 3600.0
KILLED = ("ingest-sales", "validate", "join", "report")
KILL_SEED = 5


def main() -> None:
    """Run the channel and print one JSON object last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", action="append", help="only this store, such as CA_1; may be repeated")
    parser.add_argument(
        "--extension", default="xml", help="format of the files: xml, csv, jsonl, parquet, also .gz"
    )
    parser.add_argument(
        "--kills", type=int, default=0, help="kill -9 a job so many times on the way, each in its turn"
    )
    arguments = parser.parse_args()
    data = load_settings().data
    if data is None:
        raise MissingPartError("HEADRACE_DATA is not set: expected the folder that holds m5/")
    with tempfile.TemporaryDirectory(prefix="headrace-channel-") as folder:
        settings = own_settings(Path(folder))
        print(json.dumps(run(settings, data / "m5", arguments.store, arguments.extension, arguments.kills)))


def run(
    settings: Settings, m5: Path, stores: list[str] | None, extension: str, kills: int
) -> dict[str, object]:
    """Carry the sales of some stores through everything.

    Args:
        settings: Of the stack that is started for it.
        m5: Folder of the M5 data.
        stores: Only these; None for all.
        extension: Format of the files.
        kills: How often a job is killed while the sales are on their way.

    Returns:
        Counts, seconds by stage, peak memory by process in MB, and the scores of the forecasts.

    Raises:
        FaultError: A count is not what it must be.
    """
    console = Console(stderr=True)
    last_day = FIRST_FORECAST - timedelta(days=1)
    files = import_m5(m5, settings.home / "files", stores=stores, last_day=last_day, extension=extension)
    sales = sum(file.records for file in files if file.content == "sales")
    stack = Stack(settings)
    stack.up(lambda name: console.print(f"{name} is ready"))
    watch = MemoryWatch(
        lambda: {state.name: state.pid for state in stack.supervisor.states() if state.runs and state.pid}
    )
    try:
        began = time.monotonic()
        killer = threading.Thread(target=_kill, args=(stack, kills, console), daemon=True)
        killer.start()
        store = open_store(settings)
        with closing(Desk(settings, store)) as desk, closing(StreamView(settings, store)) as view:
            ids = []
            for file in files:
                with file.path.open("rb") as stream:
                    ids.append(desk.accept(CUSTOMER, file.content, file.path.name, stream).delivery_id)
            accepted_s = time.monotonic() - began
            reports = wait_for_deliveries(view, ids, WAIT_S, console)
        judged_s = time.monotonic() - began
        killer.join()
        await_lake(settings, console)
        to_lake_s = time.monotonic() - began
        expected = {file.path.name: file.records for file in files}
        for report in reports:
            found = (report.state, report.records, report.valid)
            _check(f"report of {report.name}", found, ("done", expected[report.name], expected[report.name]))
        _check_lake(settings, sales)
        outcome = run_daily(settings, CUSTOMER, WAIT_S, last_day)
        if not outcome.succeeded or outcome.customers[0].verdict != "published":
            raise FaultError(
                f"expected a published forecast, found {[found.line for found in outcome.customers]}"
            )
        to_forecasts_s = time.monotonic() - began
        forecasts = _served(settings)
    finally:
        memory = watch.close()
        stack.down()
    scores = score_m5(m5, forecasts, FIRST_FORECAST)
    series = math.prod(file.records for file in files if file.content in {"products", "locations"})
    _check("forecast rows", forecasts.height, series * settings.flow.horizon_days)
    return {
        "stores": stores or "all", "extension": extension, "kills": kills, "sales": sales, "deliveries": len(files),
        "bytes": sum(file.size_bytes for file in files), "accepted_s": round(accepted_s, 1),
        "judged_s": round(judged_s, 1),
        "to_lake_s": round(to_lake_s, 1),
        "to_forecasts_s": round(to_forecasts_s, 1),
        "sales_per_s_to_lake": round(sales / to_lake_s), "forecast_rows": forecasts.height, "scores": scores,
        "rss_mb": memory, "rss_mb_max": max(memory.values()),
    }  # fmt: skip


def _kill(stack: Stack, kills: int, console: Console) -> None:
    """Kill one job after the other at moments that nobody chose; the supervisor starts it again."""
    moments = random.Random(KILL_SEED)
    for number in range(kills):
        time.sleep(moments.uniform(0.2, 2.0))
        name = KILLED[number % len(KILLED)]
        (state,) = (state for state in stack.supervisor.states() if state.name == name)
        if state.pid:
            os.kill(state.pid, signal.SIGKILL)
            console.print(f"killed {name}, pid {state.pid}")


def _check(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise FaultError(f"{what}: expected {expected}, found {found}")


def _check_lake(settings: Settings, sales: int) -> None:
    """Every reader sees each sale once."""
    folder = Path(settings.lake_url) / "sales_joined"
    pattern = f"{folder}/**/*.parquet"
    query = f"select count(*), count(distinct sale_id) from read_parquet('{pattern}')"
    _check("DuckDB on the raw folder", duckdb.connect().execute(query).fetchone(), (sales, sales))
    ids = pl.scan_parquet(pattern).select(pl.len(), distinct=pl.col("sale_id").n_unique()).collect().row(0)
    _check("Polars on the raw folder", ids, (sales, sales))
    frame = pd.read_parquet(folder, columns=["sale_id"])
    _check("pandas on the raw folder", (len(frame), frame["sale_id"].nunique()), (sales, sales))
    _check("the lake's reader", Lake(open_store(settings)).raw("sales_joined").polars().height, sales)


def _served(settings: Settings) -> pl.DataFrame:
    """All forecasts as the endpoint serves them, page by page."""
    url = f"{settings.http_url}/v1/forecasts"
    pages, cursor = [], None
    with httpx.Client(timeout=60, headers=own_headers(settings)) as client:
        while True:
            query = {"customer_id": CUSTOMER, "limit": "10000"} | ({"cursor": cursor} if cursor else {})
            answer = client.get(url, params=query).raise_for_status().json()
            pages.append(pl.DataFrame(answer["forecasts"]))
            cursor = answer["next_cursor"]
            if cursor is None:
                return pl.concat(pages).with_columns(pl.col("date").str.to_date())


if __name__ == "__main__":
    try:
        main()
    except HeadraceError as error:
        sys.exit(f"benchmarks.channel: {error}")
