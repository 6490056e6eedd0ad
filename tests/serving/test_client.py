"""The client against a service that listens, and against answers that a service or a proxy may give."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest
from fastapi import FastAPI
from polars.testing import assert_frame_equal

from infra.errors import UnavailableError
from serving.client import Headrace, RefusedError
from serving.token_store import TokenStore
from tests.running import free_port
from tests.serving import lake_content as content
from tests.serving.parts import NOON, MemoryStream, header_of_new, listening
from tests.serving.test_forecast_routes import FIRST, PUBLISHED, RUN, C


@pytest.fixture
def served(app: FastAPI) -> Iterator[str]:
    with listening(app) as url:
        yield url


@pytest.fixture
def headrace(served: str, headers: dict[str, str]) -> Iterator[Headrace]:
    with Headrace(served, headers["Authorization"].removeprefix("Bearer ")) as made:
        yield made


def test_forecasts_come_in_the_library_of_the_caller(headrace: Headrace) -> None:
    found = headrace.forecasts(C, location_id="graz-1", quantiles=["q05", "q95"])
    expected = PUBLISHED.filter(location_id="graz-1").select(
        "location_id", "product_id", "date", "mean", "q05", "q95"
    )
    assert_frame_equal(found.polars().select(expected.columns), expected)
    assert found.pandas()["mean"].tolist() == expected["mean"].to_list()
    assert str(found.pandas()["date"].dtype).startswith("datetime64")
    assert b"unit" in (found.arrow().schema.field("q05").metadata or {})
    assert found.run_id == RUN


def test_all_pages_are_read(headrace: Headrace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.client.PAGE_ROWS", 50)
    assert_frame_equal(headrace.forecasts(C).polars().select(PUBLISHED.columns), PUBLISHED)


def test_a_run_series_groups_and_history_are_read(headrace: Headrace) -> None:
    assert_frame_equal(headrace.run(C).polars().select(PUBLISHED.columns), PUBLISHED)
    keys = [("graz-1", "milk-1l"), ("berlin-1", "bread-rye")]
    some = headrace.series(C, keys, start=FIRST, end=FIRST).polars()
    assert some.select("location_id", "product_id").rows() == keys
    groups = headrace.groups(C, ["location"], end=FIRST).polars()
    assert groups["location_id"].to_list() == sorted(content.PLACES)
    sold = headrace.history(C, "graz-1", "milk-1l", start=content.LAST_DAY - timedelta(days=4))
    assert sold.polars().height == 5


def test_a_file_is_sent_with_its_progress_and_waited_for(
    headrace: Headrace, stream: MemoryStream, tmp_path: Path
) -> None:
    path, told = tmp_path / "sales-1.csv", list[tuple[int, int]]()
    path.write_bytes(b"x" * 2_500_000)
    receipt = headrace.deliver(C, path, on_progress=lambda sent, whole: told.append((sent, whole)))
    assert (receipt.content, receipt.size_bytes, receipt.repeated) == ("sales", 2_500_000, False)
    assert told[-1] == (2_500_000, 2_500_000)
    assert [sent for sent, _ in told] == sorted(sent for sent, _ in told)
    again = headrace.deliver(C, io.BytesIO(path.read_bytes()), name="sales-2.csv")
    assert (again.delivery_id, again.repeated) == (receipt.delivery_id, True)

    def judge() -> None:
        stream.add(receipt.delivery_id, C, state="done", records=3, by_code={"bad_price": 1})

    later = threading.Timer(0.6, judge)
    later.start()
    report = headrace.wait(receipt.delivery_id, timeout_s=30)
    later.join()
    assert (report.state, report.valid, report.invalid, dict(report.by_code)) == (
        "done",
        2,
        1,
        {"bad_price": 1},
    )
    assert report.accepted_at == NOON + timedelta(minutes=receipt.delivery_id)
    assert headrace.errors(receipt.delivery_id).is_empty()


def test_a_delivery_that_is_not_done_in_time_says_how_it_stands(
    headrace: Headrace, stream: MemoryStream
) -> None:
    stream.add(7, C, state="judging", reason="waits for delivery 3")
    with pytest.raises(UnavailableError, match="found it judging: waits for delivery 3"):
        headrace.wait(7, timeout_s=0.3)


def test_a_refusal_names_its_kind_and_what_to_do(headrace: Headrace, served: str, tokens: TokenStore) -> None:
    with pytest.raises(RefusedError, match="GET /v1/deliveries") as found:
        headrace.delivery(404)
    assert (found.value.status, found.value.kind) == (404, "unknown-delivery")
    with pytest.raises(RefusedError) as nothing:
        headrace.forecasts("nobody")
    assert nothing.value.kind == "no-forecast"
    secret = header_of_new(tokens, "read", customer_id="others")["Authorization"].removeprefix("Bearer ")
    with Headrace(served, secret) as other, pytest.raises(RefusedError) as foreign:
        other.forecasts(C)
    assert foreign.value.kind == "foreign-customer"
    with Headrace(served, "headrace_guessed") as guessed, pytest.raises(RefusedError) as unknown:
        guessed.forecasts(C)
    assert unknown.value.status == 401


ACCEPTED = orjson.dumps(
    {
        "delivery_id": 1,
        "repeated": False,
        "content": "sales",
        "format": "csv",
        "digest": "",
        "size_bytes": 3,
        "new_in_a_later_version": 1,
    }
)


@contextmanager
def answering(*statuses: int) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers with these statuses in turn, the last for ever; and what it was sent."""
    left, bodies = list(statuses), list[bytes]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            status = left.pop(0) if len(left) > 1 else left[0]
            body = ACCEPTED if status < 300 else b"<html>busy</html>"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", bodies
        finally:
            server.shutdown()
            thread.join()


def test_a_busy_service_is_asked_again_with_the_whole_file() -> None:
    with answering(503, 429, 202) as (url, bodies), Headrace(url, "t") as headrace:
        receipt = headrace.deliver(C, io.BytesIO(b"abc"), name="sales.csv")
    assert receipt.delivery_id == 1
    assert bodies == [b"abc"] * 3


def test_a_service_that_stays_busy_is_given_up() -> None:
    with answering(503) as (url, bodies), Headrace(url, "t", tries=2) as headrace:
        with pytest.raises(RefusedError, match="answered with status 503"):
            headrace.deliver(C, io.BytesIO(b"abc"), name="sales.csv")
    assert len(bodies) == 2


def test_a_service_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.client.PAUSE_S", 0.01)
    with Headrace(f"http://127.0.0.1:{free_port()}", "t") as headrace:
        with pytest.raises(UnavailableError, match="got no answer"):
            headrace.delivery(1)
