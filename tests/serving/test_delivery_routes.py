"""Deliveries over HTTP: accepting, asking, and reading what was refused."""

import csv
import hashlib
import io
import re
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from infra.blobs import BlobStore
from infra.settings import Settings
from serving.answers import DeliveriesAnswer, DeliveryAnswer, ErrorsAnswer, ReceiptAnswer
from serving.app import create_app
from serving.token_store import TokenStore
from tests.serving import lake_content as content
from tests.serving.conftest import FILE_BYTES_MAX
from tests.serving.parts import MemoryStream

C = content.CUSTOMER


def deliver(client: TestClient, body: bytes, name: str = "sales-1.csv", **parameters: str) -> Any:
    return client.post("/v1/deliveries", params={"customer_id": C, "name": name, **parameters}, content=body)


def test_a_delivered_file_gets_an_id_and_a_place_to_ask(client: TestClient, stream: MemoryStream) -> None:
    answer = deliver(client, b"sale_id\n1\n")
    assert answer.status_code == 202
    receipt = ReceiptAnswer.model_validate_json(answer.content)
    assert receipt.digest == hashlib.sha256(b"sale_id\n1\n").hexdigest()
    assert not receipt.repeated
    asked = client.get(answer.headers["location"])
    found = DeliveryAnswer.model_validate_json(asked.content)
    assert (found.delivery_id, found.state, found.name) == (receipt.delivery_id, "accepted", "sales-1.csv")


def test_the_same_bytes_again_are_answered_with_the_first_id(client: TestClient) -> None:
    first = deliver(client, b"the same")
    again = deliver(client, b"the same", name="locations.csv")
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == {**first.json(), "repeated": True, "content": "locations"}
    assert again.headers["location"] == first.headers["location"]


def test_the_content_that_the_caller_names_wins_over_the_name(client: TestClient) -> None:
    assert deliver(client, b"x", name="export 7.csv", content="prices").json()["content"] == "prices"


def test_a_file_that_says_it_is_too_large_is_refused_unread(client: TestClient, stream: MemoryStream) -> None:
    answer = client.post(
        "/v1/deliveries",
        params={"customer_id": C, "name": "sales.csv"},
        content=b"x",
        headers={"Content-Length": str(FILE_BYTES_MAX + 1)},
    )
    assert answer.status_code == 413
    assert str(FILE_BYTES_MAX) in answer.json()["detail"]
    assert stream.largest_read_bytes == 0


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"Origin": "http://testserver"}, 202),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://front.example", "Sec-Fetch-Site": "same-origin"}, 202),
        ({"Origin": "http://testserver", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_a_page_of_another_site_cannot_deliver(client: TestClient, sent: dict[str, str], status: int) -> None:
    answer = client.post(
        "/v1/deliveries",
        params={"customer_id": C, "name": "sales.csv"},
        content=b"x",
        headers=sent,
    )
    assert answer.status_code == status


def test_deliveries_are_listed_newest_first_and_each_once(client: TestClient, stream: MemoryStream) -> None:
    for delivery_id in range(3, 20):
        stream.add(
            delivery_id, C if delivery_id % 3 else "other", state="done" if delivery_id % 2 else "reading"
        )
    seen: list[int] = []
    cursor: str | None = None
    for _ in range(10):
        parameters = {"customer_id": C, "limit": "4", **({"cursor": cursor} if cursor else {})}
        found = DeliveriesAnswer.model_validate_json(client.get("/v1/deliveries", params=parameters).content)
        seen += [one.delivery_id for one in found.deliveries]
        # One that arrives meanwhile must shift nothing.
        stream.add(100 + len(seen), C, state="accepted")
        cursor = found.next_cursor
        if cursor is None:
            break
    assert seen == [number for number in range(19, 2, -1) if number % 3]
    done = client.get("/v1/deliveries", params={"customer_id": C, "state": "done"}).json()["deliveries"]
    assert [one["delivery_id"] for one in done] == [19, 17, 13, 11, 7, 5]


def test_a_report_says_what_was_refused_and_what_it_waits_for(
    client: TestClient, stream: MemoryStream
) -> None:
    stream.add(5, C, state="judging", records=10, by_code={"bad_price": 2}, reason="waits for delivery 4")
    found = client.get("/v1/deliveries/5").json()
    assert (found["valid"], found["invalid"], found["by_code"]) == (8, 2, {"bad_price": 2})
    assert (found["reason"], found["done_at"]) == ("waits for delivery 4", None)


@pytest.fixture
def refused(
    settings: Settings, store: BlobStore, stream: MemoryStream, tokens: TokenStore, headers: dict[str, str]
) -> TestClient:
    """A service on a lake with 25 refused records of delivery 5, between those of two others."""
    for delivery_id, count in ((4, 3), (5, 25), (6, 4)):
        stream.add(delivery_id, C, state="done", records=100, by_code={"unknown_product": count})
        content.write_errors(store, delivery_id, count)
    app = create_app(settings, store, stream, stream, stream, stream, stream, stream, tokens)
    return TestClient(app, headers=headers)


def errors(client: TestClient, **parameters: str) -> ErrorsAnswer:
    return ErrorsAnswer.model_validate_json(client.get("/v1/deliveries/5/errors", params=parameters).content)


def test_refused_records_are_listed_with_every_reason(refused: TestClient) -> None:
    found = errors(refused)
    assert (found.total, found.listed, len(found.errors)) == (25, 25, 25)
    first = found.errors[0]
    assert (first.position, first.sale_id, first.product_id) == (1, "s0", "beer")
    assert first.codes == ["unknown_product", "negative_quantity"]
    assert first.messages[1] == "quantity: expected 0 or more, found -1"


def test_the_pages_of_refused_records_hold_each_once(refused: TestClient) -> None:
    positions, found = [], errors(refused, limit="10")
    for _ in range(5):
        positions += [error.position for error in found.errors]
        if found.next_cursor is None:
            break
        found = errors(refused, limit="10", cursor=found.next_cursor)
    assert positions == [3 * number + 1 for number in range(25)]


def test_paging_stops_when_more_records_were_refused_meanwhile(refused: TestClient, store: BlobStore) -> None:
    cursor = errors(refused, limit="10").next_cursor
    content.write_errors(store, 5, 2, first=25)
    answer = refused.get("/v1/deliveries/5/errors", params={"cursor": cursor})
    assert answer.status_code == 410
    assert errors(refused, limit="10").listed == 27


def test_refused_records_come_as_csv_and_the_rest_by_its_link(refused: TestClient) -> None:
    answer = refused.get("/v1/deliveries/5/errors", params={"limit": "20"}, headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    target = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers["link"])
    assert target is not None
    rows += csv.DictReader(io.StringIO(refused.get(target[1], headers={"Accept": "text/csv"}).text))
    assert [int(row["position"]) for row in rows] == [3 * number + 1 for number in range(25)]
    assert rows[0]["codes"] == "unknown_product; negative_quantity"
    assert rows[0]["judged_at"] == "2026-11-20T12:00:00.000000Z"
    assert answer.headers["headrace-total"] == "25"


def test_what_is_not_in_the_lake_yet_is_counted_but_not_listed(
    settings: Settings, store: BlobStore, stream: MemoryStream, tokens: TokenStore, headers: dict[str, str]
) -> None:
    stream.add(5, C, state="judging", records=100, by_code={"unknown_product": 7})
    app = create_app(settings, store, stream, stream, stream, stream, stream, stream, tokens)
    client = TestClient(app, headers=headers)
    found = errors(client)
    assert (found.total, found.listed, found.errors) == (7, 0, [])


def test_another_type_of_refused_records_is_not_made(refused: TestClient) -> None:
    answer = refused.get("/v1/deliveries/5/errors", headers={"Accept": "application/vnd.apache.parquet"})
    assert answer.status_code == 406


def test_an_upload_too_many_is_refused_at_once(app: FastAPI, client: TestClient) -> None:
    slots = app.state.service.uploads
    for _ in range(slots.most):
        slots.__enter__()
    answer = deliver(client, b"x")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    slots.__exit__()
    assert deliver(client, b"x").status_code == 202
    assert deliver(client, b"y").status_code == 202
