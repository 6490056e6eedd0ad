"""Whatever goes wrong, the answer is a problem document that says what to do."""

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.answers import ProblemAnswer
from serving.forecast_store import ForecastStore
from serving.problems import KINDS
from tests.serving import lake_content as content
from tests.serving.parts import MemoryStream

C = content.CUSTOMER


def assert_problem(answer: Any, status: int, slug: str) -> ProblemAnswer:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = ProblemAnswer.model_validate_json(answer.content)
    assert found.type == f"/docs#{slug}"
    assert found.status == status
    assert found.action
    return found


@pytest.mark.parametrize(
    ("method", "address", "status", "slug"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/page/secret.js", 404, "not-found"),
        ("GET", "/page/..%2fapp.py", 404, "not-found"),
        ("DELETE", "/v1/deliveries", 405, "method-not-allowed"),
        ("GET", "/v1/forecasts", 422, "invalid-request"),
        ("GET", "/v1/forecasts?customer_id=Corner/Shops", 422, "invalid-request"),
        ("GET", f"/v1/forecasts?customer_id={C}&limit=0", 422, "invalid-request"),
        ("GET", f"/v1/forecasts?customer_id={C}&limit=100001", 422, "invalid-request"),
        ("GET", f"/v1/forecasts?customer_id={C}&start=yesterday", 422, "invalid-request"),
        ("GET", f"/v1/forecasts?customer_id={C}&start=2026-12-02&end=2026-12-01", 422, "invalid-request"),
        ("GET", f"/v1/forecasts?customer_id={C}&cursor=nonsense", 400, "bad-cursor"),
        ("GET", "/v1/forecasts?customer_id=nobody", 404, "no-forecast"),
        ("GET", f"/v1/deliveries?customer_id={C}&state=lost", 422, "invalid-request"),
        ("GET", "/v1/deliveries/77", 404, "unknown-delivery"),
        ("GET", "/v1/deliveries/77/errors", 404, "unknown-delivery"),
        ("GET", "/v1/deliveries/9223372036854775808", 422, "invalid-request"),
        ("GET", "/v1/deliveries/latest", 422, "invalid-request"),
        ("POST", f"/v1/deliveries?customer_id={C}", 422, "invalid-request"),
        ("POST", f"/v1/deliveries?customer_id={C}&name=../sales.csv", 422, "invalid-request"),
        ("POST", f"/v1/deliveries?customer_id={C}&name=unclear.csv", 422, "delivery-refused"),
        ("GET", f"/v1/history?customer_id={C}&location_id=berlin-1", 422, "invalid-request"),
    ],
)
def test_each_error_is_a_problem_document(
    client: TestClient, method: str, address: str, status: int, slug: str
) -> None:
    assert_problem(client.request(method, address), status, slug)


def test_a_refused_parameter_is_named_and_its_value_not_repeated(client: TestClient) -> None:
    answer = client.get("/v1/forecasts", params={"customer_id": "<script>", "limit": "many"})
    found = assert_problem(answer, 422, "invalid-request")
    assert found.errors is not None
    assert {error["parameter"] for error in found.errors} == {"customer_id", "limit"}
    assert "<script>" not in answer.text


def test_every_method_of_an_address_is_allowed_by_name(client: TestClient) -> None:
    assert client.patch("/v1/deliveries").headers["allow"] == "GET, POST"
    assert client.post("/v1/deliveries/3").headers["allow"] == "GET"


def test_what_cannot_be_reached_is_told_with_a_time_to_come_again(
    client: TestClient, stream: MemoryStream
) -> None:
    stream.down = True
    answer = client.post("/v1/deliveries", params={"customer_id": C, "name": "sales.csv"}, content=b"a")
    assert assert_problem(answer, 503, "unavailable").detail == "the broker does not answer"
    assert int(answer.headers["retry-after"]) > 0


def test_a_failure_of_the_service_shows_nothing_of_its_inside(
    app: FastAPI, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: ForecastStore, customer_id: str) -> None:
        raise ZeroDivisionError(f"secret of {customer_id}")

    monkeypatch.setattr(ForecastStore, "published", fail)
    answer = TestClient(app, headers=headers).get("/v1/forecasts", params={"customer_id": C})
    assert_problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret of corner-shops" in caplog.text


def test_each_kind_is_explained_in_the_reference(client: TestClient) -> None:
    listed = {kind["slug"] for kind in client.get("/openapi.json").json()["x-problems"]}
    assert listed == {kind.slug for kind in KINDS}
    assert len(listed) == len(KINDS)
