"""A next version of Headrace beside this one: another Sale, in both orders of upgrade, with nothing stopped."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest

from infra.settings import Settings, settings_environment
from stream_jobs.join import run_join
from stream_jobs.validate import run_validate
from tests.running import WAIT_S_MAX, running_job, wait_until
from tests.stream_jobs.lake_rows import files
from tests.stream_jobs.world import World, sales_frame

ROOT = Path(__file__).parents[2]
START = (
    "import signal, sys, threading\n"
    "from infra.settings import load_settings\n"
    "from infra.blobs import open_store\n"
    "settings, stop = load_settings(), threading.Event()\n"
    "store = open_store(settings)\n"
    "signal.signal(signal.SIGTERM, lambda *_: stop.set())\n"
)
APPLY = "from schemas.catalogue import apply\napply(settings)\n"
JOIN = "from stream_jobs.join import run_join\nrun_join(settings, store, stop)\n"
VALIDATE = "from stream_jobs.validate import run_validate\nrun_validate(settings, store, stop)\n"
READ = (
    "from lake.read import Lake\n"
    "rows = Lake(store).raw('sales_joined').polars()\n"
    "print(rows.select('sale_id', 'channel').write_json())\n"
)


def other_version(folder: Path, change: Callable[[list[dict[str, object]]], None]) -> Path:
    """A copy of the installation whose Sale has other fields."""
    for package in ("infra", "schemas", "lake", "stream_jobs"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "schemas" / "avro" / "sale.avsc"
    schema = json.loads(path.read_text())
    change(schema["fields"])
    path.write_text(json.dumps(schema))
    return folder


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    """Sale has gained `channel`, has lost `original`, and the lake's table has gained the column."""

    def change(fields: list[dict[str, object]]) -> None:
        fields[:] = [field for field in fields if field["name"] != "original"]
        fields.insert(
            3,
            {"name": "channel", "type": ["null", "string"], "default": None, "doc": "Where it was ordered."},
        )

    folder = other_version(tmp_path / "v2", change)
    path = folder / "schemas" / "lake_tables.py"
    text = path.read_text()
    changed = text.replace(
        '*_taken("sale", "unit_price"),', '*_taken("sale", "unit_price", "channel"),', 1
    ).replace(
        "            _NEEDED,\n        ),", '            _NEEDED,\n            ("channel",),\n        ),', 1
    )
    assert changed.count('"channel"') == 2
    path.write_text(changed)
    return folder


def process(folder: Path, settings: Settings, code: str) -> subprocess.Popen[str]:
    environment = {**os.environ, **settings_environment(settings)}
    return subprocess.Popen(
        [sys.executable, "-c", START + code],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def done(folder: Path, settings: Settings, code: str) -> str:
    """What a process of a version prints, run to its end."""
    running = process(folder, settings, code)
    printed, _ = running.communicate(timeout=WAIT_S_MAX)
    assert running.returncode == 0, printed
    return printed


def stopped(running: subprocess.Popen[str]) -> None:
    running.terminate()
    printed, _ = running.communicate(timeout=WAIT_S_MAX)
    assert running.returncode == 0, printed


def deliver_by_version_2(world: World, folder: Path, count: int) -> None:
    """A delivery of sales as the next version's ingest encodes them."""
    delivery_id = world.accept("sales")
    code = (
        "import polars as pl\n"
        "from schemas.codec import Codec\n"
        "from schemas.registry import Registry\n"
        f"frame = pl.read_parquet({str(folder / 'sales.parquet')!r})\n"
        "values = Codec('sales-input', Registry(settings)).encode(frame)\n"
        "print([value.hex() for value in values])\n"
    )
    frame = sales_frame(world.customer, delivery_id, count, channel="web").drop("original")
    frame.write_parquet(folder / "sales.parquet")
    values = [
        bytes.fromhex(value) for value in json.loads(done(folder, world.settings, code).replace("'", '"'))
    ]
    end = world.send("sales-input", 0, values, [f"{world.customer}/L1"] * count)
    world.close_delivery(delivery_id, count, {("sales-input", 0): end})


def channels(world: World, folder: Path) -> dict[str | None, int]:
    """Sales in the lake by channel, as the next version's reader sees them."""
    rows = pl.DataFrame(
        json.loads(done(folder, world.settings, READ)), schema={"sale_id": pl.String, "channel": pl.String}
    )
    assert rows["sale_id"].n_unique() == rows.height
    return dict(rows.group_by("channel").len().rows())


def in_lake(world: World) -> int:
    return sum(
        pl.read_parquet(path, columns=["sale_id"]).height for path in files(world.settings, "sales_joined")
    )


def test_writers_may_be_upgraded_before_their_readers(lone_world: World, version_2: Path) -> None:
    world = lone_world
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    settings = world.with_stream(flush_s_max=0.2)
    with running_job(lambda stop: run_validate(settings, world.store, stop)):
        with running_job(lambda stop: run_join(settings, world.store, stop)):
            world.deliver_sales(10, partitions=[0])
            wait_until(lambda: in_lake(world) == 10, "the sales of this version")
            done(version_2, settings, APPLY)
            deliver_by_version_2(world, version_2, 5)
            wait_until(lambda: in_lake(world) == 15, "the next version's sales through this one's jobs")
        # The join is upgraded; validate, which hands on the bytes that it was given, is not.
        upgraded = process(version_2, settings, JOIN)
        deliver_by_version_2(world, version_2, 7)
        wait_until(lambda: in_lake(world) == 22, "the next version's sales in the next version's table")
        stopped(upgraded)
    assert channels(world, version_2) == {None: 15, "web": 7}
    pattern = f"{settings.lake_url}/sales_joined/*/*.parquet"
    by_duckdb = duckdb.connect().execute(
        f"select channel, count(*) from read_parquet('{pattern}', union_by_name=true) group by all"
    )
    assert dict(by_duckdb.fetchall()) == {None: 15, "web": 7}


def test_readers_may_be_upgraded_before_their_writers(lone_world: World, version_2: Path) -> None:
    world = lone_world
    world.deliver_masters("locations", ["L1"])
    world.deliver_masters("products", ["P1"])
    settings = world.with_stream(flush_s_max=0.2)
    done(version_2, settings, APPLY)
    jobs = [process(version_2, settings, code) for code in (VALIDATE, JOIN)]
    world.deliver_sales(10, partitions=[0])
    wait_until(lambda: in_lake(world) == 10, "this version's sales through the next one's jobs")
    deliver_by_version_2(world, version_2, 3)
    wait_until(lambda: in_lake(world) == 13, "the next version's sales")
    for job in jobs:
        stopped(job)
    assert channels(world, version_2) == {None: 10, "web": 3}


def test_a_version_that_would_break_its_readers_stops_at_its_start_with_the_reason(
    lone_world: World, tmp_path: Path
) -> None:
    def change(fields: list[dict[str, object]]) -> None:
        for field in fields:
            if field["name"] == "quantity":
                field["type"] = ["null", "string"]

    folder = other_version(tmp_path / "v3", change)
    running = process(folder, lone_world.settings, APPLY)
    printed, _ = running.communicate(timeout=WAIT_S_MAX)
    assert running.returncode != 0
    assert "IncompatibleSchemaError" in printed
    assert "quantity" in printed.splitlines()[-1]
