"""The published run in memory: exchanged whole, kept when the lake is away, let go when memory is short."""

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from infra.blobs import BlobStore
from infra.errors import CorruptLakeError, UnavailableError
from infra.settings import Settings
from lake.forecast_status import ForecastStatus, mark_degraded, mark_fresh
from serving.app import create_app
from serving.forecast_run import RunTable, Selection
from serving.forecast_store import ForecastStore
from serving.lake_runs import LakeRuns
from serving.token_store import TokenStore
from tests.serving import lake_content as content
from tests.serving.parts import MemoryStream

C = content.CUSTOMER
FIRST = content.LAST_DAY + timedelta(days=1)


def publish(store: BlobStore, number: int, customer_id: str = C) -> None:
    """Publish run `number`, whose every mean is that of run 1 times its number."""
    frame = content.forecast(["a", "b"], ["x", "y"], FIRST, days=5, factor=number)
    content.publish(store, f"run-{number:03d}", frame, customer_id)


def number_of(run: RunTable) -> int:
    return int(run.origin.run_id.removeprefix("run-"))


def factor_of(run: RunTable) -> float:
    rows, _ = run.page(Selection(), 0, 1)
    return float(rows["mean"][0] / content.expected("a", "x", FIRST))


class Switchable:
    """The lake's runs, with a switch that makes the lake unreachable."""

    def __init__(self, store: BlobStore) -> None:
        self.runs, self.away, self.loads = LakeRuns(store), False, 0

    def current(self, customer_id: str) -> str | None:
        if self.away:
            raise UnavailableError("the lake does not answer")
        return self.runs.current(customer_id)

    def status(self, customer_id: str) -> ForecastStatus:
        return self.runs.status(customer_id)

    def load(self, customer_id: str, run_id: str) -> RunTable:
        self.loads += 1
        return self.runs.load(customer_id, run_id)

    def was_published(self, customer_id: str, run_id: str) -> bool:
        return self.runs.was_published(customer_id, run_id)


@pytest.fixture
def source(store: BlobStore) -> Switchable:
    return Switchable(store)


@pytest.fixture
def following(source: Switchable) -> Iterator[ForecastStore]:
    """A store that looks at the pointers all the time."""
    made = ForecastStore(source, poll_s=0.005)
    made.start()
    yield made
    made.stop()


def wait_until(found: threading.Event) -> None:
    assert found.wait(20)


def test_readers_see_one_run_or_the_next_and_never_parts_of_both(
    store: BlobStore, following: ForecastStore
) -> None:
    publish(store, 1)
    seen: set[int] = set()
    faults: list[str] = []
    last, enough = 6, threading.Event()

    def read() -> None:
        before = 0
        while not enough.is_set():
            run = following.current(C)
            if run is None:
                faults.append("no run")
                break
            number = number_of(run)
            if abs(factor_of(run) - number) > 0.01 or number < before:
                faults.append(f"{run.origin.run_id} after {before} has the rows of {factor_of(run)}")
                break
            before = number
            seen.add(number)
            if number == last:
                enough.set()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(2, last + 1):
        publish(store, number)
    wait_until(enough)
    for reader in readers:
        reader.join(20)
    assert not faults
    assert last in seen


def test_a_refused_run_is_not_served(store: BlobStore, source: Switchable) -> None:
    publish(store, 1)
    held = ForecastStore(source)
    assert held.current(C) is not None
    content.publish(
        store, "run-002", content.forecast(["a"], ["x"], FIRST), reasons=("worse than the naive",)
    )
    held.refresh()
    run = held.current(C)
    assert run is not None
    assert number_of(run) == 1


def test_a_reader_pages_on_in_the_run_it_began_with(
    settings: Settings, store: BlobStore, stream: MemoryStream, tokens: TokenStore, headers: dict[str, str]
) -> None:
    publish(store, 1)
    app = create_app(settings, store, stream, stream, stream, stream, stream, stream, tokens)
    client, held = TestClient(app, headers=headers), app.state.service.forecasts
    page = client.get("/v1/forecasts", params={"customer_id": C, "limit": 15}).json()
    rows = page["forecasts"]
    publish(store, 2)
    held.refresh()
    rest = client.get("/v1/forecasts", params={"customer_id": C, "cursor": page["next_cursor"]}).json()
    assert (page["run_id"], rest["run_id"]) == ("run-001", "run-001")
    assert (
        len({(row["location_id"], row["product_id"], row["date"]) for row in rows + rest["forecasts"]}) == 20
    )
    assert client.get("/v1/forecasts", params={"customer_id": C}).json()["run_id"] == "run-002"
    publish(store, 3)
    held.refresh()
    # By now it is neither the current run nor the one before it, and is read from the lake.
    again = client.get("/v1/forecasts", params={"customer_id": C, "cursor": page["next_cursor"]}).json()
    assert again == rest


def test_a_cursor_into_a_run_that_is_gone_says_so(
    store: BlobStore, app_on: Callable[[BlobStore], FastAPI], headers: dict[str, str]
) -> None:
    publish(store, 1)
    client = TestClient(app_on(store), headers=headers)
    cursor = client.get("/v1/forecasts", params={"customer_id": C, "limit": 15}).json()["next_cursor"]
    publish(store, 2)
    for path in [*store.list("forecast_runs"), *store.list("forecasts")]:
        if "run-001" in path:
            store.delete(path)
    # A process that has never held the run.
    client = TestClient(app_on(store), headers=headers)
    gone = client.get("/v1/forecasts", params={"customer_id": C, "cursor": cursor})
    assert gone.status_code == 410
    assert gone.json()["type"] == "/docs#stale-cursor"


def test_the_run_before_is_held_for_a_while_only(
    store: BlobStore, source: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, 1)
    held = ForecastStore(source)
    assert held.current(C) is not None
    publish(store, 2)
    held.refresh()
    source.loads = 0
    assert held.run(C, "run-001") is not None
    assert source.loads == 0
    monkeypatch.setattr("serving.forecast_store.PREVIOUS_S", -1.0)
    held.refresh()
    assert held.run(C, "run-001") is not None
    assert source.loads == 1


def test_earlier_runs_are_read_when_asked_for_and_refused_ones_never(
    store: BlobStore, source: Switchable
) -> None:
    for number in range(1, 6):
        publish(store, number)
    content.publish(
        store, "refused", content.forecast(["a"], ["x"], FIRST), reasons=("worse than the naive",)
    )
    held = ForecastStore(source)
    for number in (1, 2, 3, 1, 5):
        run = held.run(C, f"run-{number:03d}")
        assert run is not None
        assert factor_of(run) == pytest.approx(number, abs=0.01)
    for run_id in ("refused", "run-404", "current", "../other/run-001", "run-001\n"):
        assert held.run(C, run_id) is None


def test_the_last_run_is_served_while_the_lake_is_away(
    store: BlobStore, source: Switchable, following: ForecastStore, caplog: pytest.LogCaptureFixture
) -> None:
    publish(store, 1)
    assert following.current(C) is not None
    with caplog.at_level(logging.WARNING):
        source.away = True
        for _ in range(2_000):
            if not following.health()[0]:
                break
            threading.Event().wait(0.01)
        assert following.health() == (False, "the lake does not answer")
        run = following.current(C)
        assert run is not None
        assert number_of(run) == 1
        # One warning for one trouble, however often it is met.
        assert len(caplog.records) == 1
    with pytest.raises(UnavailableError):
        following.current("another")
    source.away = False
    for _ in range(2_000):
        if following.health()[0]:
            break
        threading.Event().wait(0.01)
    assert following.health()[0]


def test_what_was_not_asked_for_longest_is_let_go_and_loaded_again(
    store: BlobStore, source: Switchable
) -> None:
    for customer_id in ("one", "two", "three"):
        publish(store, 1, customer_id)
    size_bytes = source.load("one", "run-001").size_bytes
    held = ForecastStore(source, bytes_max=2 * size_bytes)
    source.loads = 0
    for customer_id in ("one", "two", "one", "three"):
        assert held.current(customer_id) is not None
    assert source.loads == 3
    assert held.current("one") is not None
    assert source.loads == 3
    assert held.current("two") is not None
    assert source.loads == 4


def test_a_run_larger_than_the_bound_is_held_alone(store: BlobStore, source: Switchable) -> None:
    publish(store, 1)
    held = ForecastStore(source, bytes_max=1)
    assert held.current(C) is not None
    assert held.current(C) is not None
    assert source.loads == 1


def test_a_customer_without_a_run_is_looked_up_anew_each_time(store: BlobStore, source: Switchable) -> None:
    held = ForecastStore(source)
    assert held.current(C) is None
    publish(store, 1)
    assert held.current(C) is not None


def test_a_pointer_to_a_run_that_is_not_there_keeps_the_last_one(
    store: BlobStore, source: Switchable
) -> None:
    publish(store, 1)
    held = ForecastStore(source)
    assert held.current(C) is not None
    store.replace(f"forecast_runs/{C}/current.json", b'{"run_id": "run-404"}')
    with pytest.raises(CorruptLakeError, match="run-404"):
        held.refresh()
    run = held.current(C)
    assert run is not None
    assert number_of(run) == 1


def test_a_store_that_follows_nothing_says_so(source: Switchable) -> None:
    assert not ForecastStore(source).health()[0]


def test_a_forecast_that_is_older_than_it_should_be_says_so_and_why(store: BlobStore) -> None:
    held = ForecastStore(LakeRuns(store))
    mark_degraded(store, C, content.LAST_DAY, ("wrmsse is worse",), "run-001")
    assert held.status(C).reasons == ("wrmsse is worse",)
    publish(store, 1)
    assert held.current(C) is not None
    assert held.status(C).state == "degraded"
    mark_fresh(store, C, content.LAST_DAY)
    held.refresh()
    assert held.status(C).state == "fresh"
