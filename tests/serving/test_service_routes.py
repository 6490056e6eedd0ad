"""Master data, health, metrics, the page and the reference."""

import re
from importlib.resources import files
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

from serving.answers import CustomersAnswer, LocationsAnswer, ProductsAnswer, ReadyAnswer
from serving.edge import SECURITY_HEADERS
from serving.ports import PartHealth
from serving.service_routes import ASSETS
from tests.serving import lake_content as content
from tests.serving.parts import MemoryStream

C = content.CUSTOMER
PAGE = files("serving").joinpath("page")


def test_the_state_of_locations_says_as_of_which_offset(client: TestClient) -> None:
    answer = client.get("/v1/locations", params={"customer_id": C})
    found = LocationsAnswer.model_validate_json(answer.content)
    assert [one.location_id for one in found.locations] == sorted(content.PLACES)
    assert found.locations[0].time_zone == "Europe/Berlin"
    assert (found.offsets, found.total, found.next_cursor) == ({"0": 7}, 3, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("BERLIN", ["berlin-1", "berlin-2"]), ("graz,", ["graz-1"]), ("-1", ["berlin-1", "graz-1"]), (".*", [])],
)
def test_a_search_looks_into_ids_and_names_as_plain_text(
    client: TestClient, text: str, expected: list[str]
) -> None:
    found = client.get("/v1/locations", params={"customer_id": C, "q": text}).json()
    assert [one["location_id"] for one in found["locations"]] == expected
    assert found["total"] == len(expected)


def test_the_pages_of_products_hold_each_once_while_some_come(
    client: TestClient, stream: MemoryStream
) -> None:
    things = {f"p{number:02d}": f"Product {number}" for number in range(9)}
    stream.frames = content.master_frames({}, things)
    seen: list[str] = []
    parameters: dict[str, str] = {"customer_id": C, "limit": "4"}
    for _ in range(4):
        found = ProductsAnswer.model_validate_json(client.get("/v1/products", params=parameters).content)
        seen += [one.product_id for one in found.products]
        if found.next_cursor is None:
            break
        parameters["cursor"] = found.next_cursor
        stream.frames = content.master_frames({}, {**things, "p00a": "New"})
    assert seen == sorted(things)


def test_the_state_comes_as_csv_too(client: TestClient) -> None:
    answer = client.get("/v1/products", params={"customer_id": C}, headers={"Accept": "text/csv"})
    assert pl.read_csv(answer.content)["name"].to_list() == [
        content.THINGS[key] for key in sorted(content.THINGS)
    ]


def test_a_customer_of_the_lake_or_of_the_stream_is_listed(client: TestClient, stream: MemoryStream) -> None:
    stream.add(1, "zebra", state="done")
    found = CustomersAnswer.model_validate_json(client.get("/v1/customers").content)
    assert found.customers == [C, "zebra"]


def test_the_service_is_ready_only_when_all_its_parts_are(client: TestClient, stream: MemoryStream) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert ReadyAnswer.model_validate_json(answer.content).ready
    stream.health = [PartHealth("stream", ready=False, detail="the broker does not answer")]
    answer = client.get("/readyz")
    assert answer.status_code == 503
    found = ReadyAnswer.model_validate_json(answer.content)
    assert [(part.name, part.ready) for part in found.parts] == [("stream", False), ("forecasts", True)]
    assert client.get("/healthz").status_code == 200


def test_requests_are_measured_by_the_template_of_their_route(
    client: TestClient, stream: MemoryStream
) -> None:
    stream.add(4242, C, state="done")
    client.get("/v1/deliveries/4242")
    client.get("/nowhere/4242")
    text = client.get("/metrics").text
    line = 'headrace_http_seconds_count{method="GET",route="/v1/deliveries/{delivery_id}",status="200"}'
    assert line in text
    assert 'route="none",status="404"' in text
    assert "4242" not in text


def outside_addresses(text: str) -> list[str]:
    """Addresses that a browser might load, but for the names of XML's own spaces."""
    found = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'`)]*", text, re.IGNORECASE)
    return [address for address in found if not address.startswith("http://www.w3.org/")]


def test_no_file_of_the_page_names_an_outside_address() -> None:
    names = [entry.name for entry in PAGE.iterdir()]
    assert set(ASSETS) | {"index.html", "docs.html"} == set(names)
    for name in names:
        assert outside_addresses(PAGE.joinpath(name).read_text(encoding="utf-8")) == [], name


def test_the_search_for_outside_addresses_finds_them() -> None:
    assert outside_addresses('<script src="https://cdn.example.com/a.js">') == [
        "https://cdn.example.com/a.js"
    ]
    assert outside_addresses("@import url(//fonts.example.org/x)") == ["//fonts.example.org/x"]


@pytest.mark.parametrize("start", ["/", "/docs"])
def test_all_that_a_page_loads_is_served(client: TestClient, start: str) -> None:
    page = client.get(start)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    pending = re.findall(r'(?:src|href)="(/page/[^"]+)"', page.text)
    assert pending
    seen: set[str] = set()
    while pending:
        address = pending.pop()
        if address in seen:
            continue
        seen.add(address)
        answer = client.get(address)
        assert answer.status_code == 200, address
        pending += [f"/page/{name}" for name in re.findall(r'from "\./([a-z]+\.js)"', answer.text)]


def test_browsers_are_held_to_this_service(client: TestClient) -> None:
    for address in ("/", "/docs", "/nowhere", "/v1/customers"):
        headers = client.get(address).headers
        for name, value in SECURITY_HEADERS.items():
            assert headers[name] == value
    assert "'unsafe" not in SECURITY_HEADERS["Content-Security-Policy"]


def test_the_page_needs_no_style_or_script_within_itself() -> None:
    for name in ("index.html", "docs.html"):
        text = PAGE.joinpath(name).read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", text)


def described(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_address_and_parameter_is_described(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operations = described(document)
    assert len(operations) == 23
    for path, method, operation in operations:
        assert operation["description"], (path, method)
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (path, parameter["name"])


def test_errors_are_described_with_the_type_they_are_sent_with(client: TestClient) -> None:
    for path, _, operation in described(client.get("/openapi.json").json()):
        for status, answer in operation["responses"].items():
            if status[0] in "45" and path != "/readyz":
                assert list(answer["content"]) == ["application/problem+json"], (path, status)


def test_every_answer_in_json_has_an_example(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, method, operation in described(document):
        for status, answer in operation["responses"].items():
            for media_type, shown in answer.get("content", {}).items():
                if "json" in media_type:
                    assert shown["example"], (path, method, status)


def test_every_parameter_that_is_needed_has_an_example(client: TestClient) -> None:
    for path, _, operation in described(client.get("/openapi.json").json()):
        for parameter in operation.get("parameters", []):
            if parameter["required"]:
                assert parameter.get("examples") or parameter["schema"]["examples"], (path, parameter["name"])
