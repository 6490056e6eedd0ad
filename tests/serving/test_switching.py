"""A new run becomes current while others are streamed: no request fails, and none has rows of two runs."""

import io
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import httpx
import polars as pl
import pyarrow as pa
import pytest
from fastapi import FastAPI

from infra.blobs import BlobStore
from tests.serving import lake_content as content
from tests.serving.parts import listening

C = content.CUSTOMER
FIRST = content.LAST_DAY + timedelta(days=1)
PLACES, THINGS = [f"l{number}" for number in range(4)], [f"p{number}" for number in range(4)]
RUNS = 5
PATHS = {
    "one series": "/v1/forecasts?customer_id={c}&location_id=l3&product_id=p2&format=arrow",
    "the whole run": "/v1/forecasts/runs/current/rows?customer_id={c}&format=arrow",
}


def publish(store: BlobStore, number: int) -> None:
    frame = content.forecast(PLACES, THINGS, FIRST, factor=number)
    content.publish(store, f"run-{number}", frame, C)


def fault_of(answer: httpx.Response) -> str | None:
    """What is wrong with an answer; None if all its rows are those of the one run that it names."""
    if answer.status_code != 200:
        return f"{answer.status_code}: {answer.text}"
    rows = pl.from_arrow(pa.ipc.open_stream(io.BytesIO(answer.content)).read_all())
    assert isinstance(rows, pl.DataFrame)
    number = int(answer.headers["headrace-run-id"].removeprefix("run-"))
    expected = [
        content.expected(place, thing, day) * number
        for place, thing, day in rows.select("location_id", "product_id", "date").rows()
    ]
    if rows["run_id"].unique().to_list() != [f"run-{number}"] or rows["mean"].to_list() != pytest.approx(
        expected, rel=1e-5
    ):
        return f"run-{number} with rows of another run"
    return None


def test_a_new_run_under_load_costs_no_error_and_mixes_nothing(
    store: BlobStore, app_on: Callable[[BlobStore], FastAPI], headers: dict[str, str]
) -> None:
    publish(store, 1)
    app = app_on(store)
    app.state.service.forecasts._poll_s = 0.01
    faults: list[str] = []
    seen: dict[str, Counter[str]] = {name: Counter() for name in PATHS}
    enough = threading.Event()

    def read(name: str, url: str) -> None:
        with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
            while not enough.is_set():
                answer = client.get(PATHS[name].format(c=C))
                if fault := fault_of(answer):
                    faults.append(f"{name}: {fault}")
                    return
                seen[name][answer.headers["headrace-run-id"]] += 1

    with listening(app) as url:
        readers = [threading.Thread(target=read, args=(name, url)) for name in PATHS]
        for reader in readers:
            reader.start()
        deadline = time.monotonic() + 60
        for number in range(1, RUNS + 1):
            if number > 1:
                publish(store, number)
            while not (faults or all(found[f"run-{number}"] for found in seen.values())):
                assert time.monotonic() < deadline, seen
                time.sleep(0.01)
        enough.set()
        for reader in readers:
            reader.join(30)
    assert not faults
