"""Server-sent events: told in order, once, and again from where a listener was cut off."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from infra.blobs import BlobStore
from serving.answers import DeliveryAnswer
from serving.events import Mark
from serving.token_store import TokenStore
from tests.serving import lake_content as content
from tests.serving.parts import MemoryStream, header_of_new, listening
from tests.serving.test_forecast_store import publish
from tests.serving.test_problems import assert_problem

C = content.CUSTOMER


def parsed(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, id and data of each event, as a browser reads them."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in lines:
            found.append((lines["event"], lines["id"], json.loads(lines["data"])))
    return found


def news(
    client: TestClient, last: str | None = None, customer_id: str = C
) -> list[tuple[str, str, dict[str, Any]]]:
    headers = {} if last is None else {"Last-Event-ID": last}
    answer = client.get("/v1/events", params={"customer_id": customer_id, "seconds": 0}, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return parsed(answer.text)


def test_who_comes_back_is_told_what_came_to_pass(client: TestClient, stream: MemoryStream) -> None:
    stream.add(1, C, state="done")
    ((name, last, data),) = news(client)
    assert (name, data["run_id"]) == ("run", "2026-11-20-a")
    assert news(client, last) == []
    stream.add(3, C, state="rejected", reason="no CSV")
    stream.add(2, C, state="done", records=5)
    stream.add(4, C, state="judging")
    stream.add(5, "others", state="done")
    found = news(client, last)
    assert [(name, data["delivery_id"], data["state"]) for name, _, data in found] == [
        ("delivery", 2, "done"),
        ("delivery", 3, "rejected"),
    ]
    DeliveryAnswer.model_validate(found[0][2])
    # Cut off between the two, only the second is told again.
    assert news(client, found[0][1]) == found[1:]
    assert news(client, found[1][1]) == []


def test_who_knows_another_run_is_told_the_current_one(client: TestClient) -> None:
    ((_, last, _),) = news(client)
    older = last.replace("2026-11-20-a", "2026-11-19-a")
    assert [name for name, _, _ in news(client, older)] == ["run"]


@pytest.mark.parametrize(
    "last", ["", "x", "a b c", "run 2026-11-20T12:00:00 4", "run - - -", "run 2026-11-20T12:00:00Z x"]
)
def test_a_mark_that_is_none_is_refused(client: TestClient, last: str) -> None:
    answer = client.get("/v1/events", params={"customer_id": C}, headers={"Last-Event-ID": last})
    assert_problem(answer, 400, "bad-cursor")


def test_a_mark_is_read_as_it_was_written() -> None:
    for text in (
        "- - -",
        "run-1 - -",
        "- 2026-11-20T12:00:00+00:00 7",
        "run-1 2026-11-20T12:00:00.000250+00:00 7",
    ):
        assert Mark.parsed(text).text() == text


def listened(url: str, headers: dict[str, str]) -> Iterator[str]:
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        with client.stream("GET", "/v1/events", params={"customer_id": C}) as answer:
            assert answer.status_code == 200
            yield from answer.iter_text()


def test_news_come_to_those_who_listen(
    store: BlobStore, app_on: Callable[[BlobStore], FastAPI], stream: MemoryStream, headers: dict[str, str]
) -> None:
    publish(store, 1)
    app = app_on(store)
    app.state.service.forecasts._poll_s = 0.05
    seen: list[tuple[str, str, dict[str, Any]]] = []
    with listening(app) as url:
        text = ""
        for piece in listened(url, headers):
            text += piece
            before, seen = len(seen), parsed(text)
            if len(seen) == 1 and before == 0:
                stream.add(7, C, state="done")
            if len(seen) == 2 and before == 1:
                publish(store, 2)
            if len(seen) == 3:
                break
    assert [(name, data.get("delivery_id"), data.get("run_id")) for name, _, data in seen] == [
        ("run", None, "run-001"),
        ("delivery", 7, None),
        ("run", None, "run-002"),
    ]


def test_a_service_that_stops_lets_its_listeners_go(app: FastAPI, headers: dict[str, str]) -> None:
    with listening(app) as url:
        pieces = listened(url, headers)
        next(pieces)
        stop = threading.Timer(0.2, app.state.service.events.stop)
        stop.start()
        began = time.monotonic()
        list(pieces)
        assert time.monotonic() - began < 20
        stop.join()


def test_a_token_that_is_revoked_hears_no_more(app: FastAPI, tokens: TokenStore) -> None:
    header = header_of_new(tokens, "read", customer_id=C)
    with listening(app) as url:
        pieces = listened(url, header)
        next(pieces)
        tokens.revoke(tokens.all()[-1].token_id)
        list(pieces)


def test_a_listener_too_many_is_told_to_come_again(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.events.LISTENERS_MAX", 1)
    for _ in range(3):
        assert news(client)
    with app.state.service.events:
        answer = client.get("/v1/events", params={"customer_id": C, "seconds": 0})
    assert_problem(answer, 503, "too-busy")
    refused = client.get("/v1/events", params={"customer_id": C}, headers={"Last-Event-ID": "x"})
    assert refused.status_code == 400
    assert news(client)
