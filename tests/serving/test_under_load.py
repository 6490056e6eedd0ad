"""What holds while many ask at once: one run in each answer, a bound on requests, and an end in order."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from infra.blobs import BlobStore
from infra.settings import Settings
from serving.app import create_app
from serving.token_store import TokenStore
from tests.serving import lake_content as content
from tests.serving.parts import MemoryStream, listening
from tests.serving.test_forecast_store import FIRST, C, publish
from tests.serving.test_problems import assert_problem

READERS = 6
RUNS = 12


def test_runs_are_exchanged_under_load_without_an_error_or_a_mixed_answer(
    settings: Settings, store: BlobStore, stream: MemoryStream, tokens: TokenStore, headers: dict[str, str]
) -> None:
    publish(store, 1)
    app = create_app(settings, store, stream, stream, stream, stream, stream, stream, tokens)
    over = threading.Event()

    def read(address: str) -> list[int]:
        seen = []
        with httpx.Client(base_url=address, headers=headers, timeout=60) as client:
            while not over.is_set():
                answer = client.get("/v1/forecasts", params={"customer_id": C})
                assert answer.status_code == 200, answer.text
                found = answer.json()
                number = int(found["run_id"].removeprefix("run-"))
                rows = [row for row in found["forecasts"] if row["date"] == str(FIRST)]
                factors = [
                    row["mean"] / content.expected(row["location_id"], row["product_id"], FIRST)
                    for row in rows
                ]
                assert len(found["forecasts"]) == 20
                assert factors == [pytest.approx(number)] * 4
                assert answer.headers["headrace-run-id"] == found["run_id"]
                assert answer.headers["etag"].startswith(f'W/"{found["run_id"]}.')
                seen.append(number)
        return seen

    with listening(app) as address, ThreadPoolExecutor(READERS) as pool:
        readers = [pool.submit(read, address) for _ in range(READERS)]
        try:
            for number in range(2, RUNS + 1):
                publish(store, number)
                app.state.service.forecasts.refresh()
                time.sleep(0.05)
        finally:
            over.set()
        for reader in readers:
            seen = reader.result(60)
            assert seen == sorted(seen)
            assert len(set(seen)) > 1


def test_a_request_too_many_is_told_to_come_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.edge.REQUESTS_MAX", 0)
    answer = client.get("/healthz")
    assert_problem(answer, 503, "too-busy")
    assert answer.headers["retry-after"] == "1"


def test_a_service_that_is_told_to_stop_answers_what_is_under_way(
    app: FastAPI, stream: MemoryStream, headers: dict[str, str]
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> object:
        begun.set()
        assert go_on.wait(30)
        return stream.behind

    stream.lags = slowly  # type: ignore[method-assign, assignment]
    with ThreadPoolExecutor(1) as pool:
        with listening(app, stop_s=0.2) as address:
            asked = pool.submit(httpx.get, f"{address}/v1/lags", headers=headers, timeout=60)
            assert begun.wait(30)
        # It was told to stop, takes nobody new any more, and has not let go of the one who waits.
        go_on.set()
        assert asked.result(60).status_code == 200
