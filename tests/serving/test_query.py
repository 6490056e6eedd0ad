"""Bodies of JSON: bounded, and not read before it is known who sends them."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.query import BODY_BYTES_MAX
from tests.serving import lake_content as content
from tests.serving.parts import listening
from tests.serving.test_problems import assert_problem

ADDRESSES = ["/v1/forecasts/series", "/v1/session"]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"unknown": 1}', b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_not_what_it_must_be_is_refused(client: TestClient, address: str, body: bytes) -> None:
    assert_problem(client.post(address, content=body), 422, "invalid-request")


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_body_without_end_is_given_up_at_its_bound(
    app: FastAPI, headers: dict[str, str], address: str
) -> None:
    sent_bytes = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent_bytes
        while True:
            sent_bytes += 65_536
            yield b" " * 65_536

    with listening(app) as url:
        try:
            answer = httpx.post(url + address, content=endless(), headers=headers, timeout=60)
            assert (answer.status_code, answer.json()["type"]) == (413, "/docs#body-too-large")
        except httpx.WriteError:
            pass  # The service has answered and closed; a client that only writes sees nothing but that.
    # What the connection holds on its way is more than what the service takes.
    assert sent_bytes < 20 * BODY_BYTES_MAX


def test_who_has_no_token_is_told_so_before_the_body_is_read(app: FastAPI) -> None:
    answer = TestClient(app).post("/v1/forecasts/series", content=b"{")
    assert_problem(answer, 401, "not-signed-in")


def test_what_is_wrong_in_a_body_is_named(client: TestClient) -> None:
    body = {"customer_id": content.CUSTOMER, "series": [{"location_id": "a", "product_id": 7}]}
    answer = client.post("/v1/forecasts/series", json=body)
    assert answer.json()["errors"][0]["parameter"] == "series.0.product_id"
