"""Runs over HTTP: which there are, where one comes from, and all of its rows in one answer."""

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import FastAPI
from polars.testing import assert_frame_equal
from starlette.testclient import TestClient

from infra.blobs import BlobStore
from serving.answers import LineageAnswer
from serving.forecast_run import COLUMNS, KEYS
from serving.token_store import TokenStore
from tests.serving import lake_content as content
from tests.serving.parts import MemoryStream, header_of_new

C = content.CUSTOMER
FIRST = content.LAST_DAY + timedelta(days=1)
RUN = "2026-11-20-a"
PUBLISHED = content.forecast(list(content.PLACES), list(content.THINGS), FIRST).select(COLUMNS).sort(KEYS)


@pytest.fixture
def two_runs(store: BlobStore, app_on: Callable[[BlobStore], FastAPI], headers: dict[str, str]) -> TestClient:
    """A service whose customer has an earlier run, a current one, and one that was refused."""
    for number, reasons in ((1, ()), (2, ()), (3, ("worse than the naive",))):
        rows = content.forecast(["a"], ["x", "y"], FIRST, days=3, factor=number)
        content.publish(store, f"run-{number}", rows, reasons=reasons)
    return TestClient(app_on(store), headers=headers)


def mean_of(client: TestClient, **parameters: Any) -> float:
    answer = client.get("/v1/forecasts", params={"customer_id": C, "limit": 1, **parameters})
    assert answer.status_code == 200, answer.text
    return float(answer.json()["forecasts"][0]["mean"])


def test_an_earlier_run_is_read_by_its_name(two_runs: TestClient) -> None:
    level = content.expected("a", "x", FIRST)
    assert mean_of(two_runs) == pytest.approx(2 * level, rel=1e-5)
    assert mean_of(two_runs, run_id="run-1") == pytest.approx(level, rel=1e-5)
    page = two_runs.get("/v1/forecasts", params={"customer_id": C, "run_id": "run-1", "limit": 4}).json()
    rest = two_runs.get(
        "/v1/forecasts", params={"customer_id": C, "run_id": "run-1", "cursor": page["next_cursor"]}
    ).json()
    assert rest["run_id"] == "run-1"
    assert len(page["forecasts"] + rest["forecasts"]) == 6


@pytest.mark.parametrize("run_id", ["run-3", "run-404"])
def test_a_run_that_was_refused_or_never_made_is_not_served(two_runs: TestClient, run_id: str) -> None:
    for answer in (
        two_runs.get("/v1/forecasts", params={"customer_id": C, "run_id": run_id}),
        two_runs.get(f"/v1/forecasts/runs/{run_id}/rows", params={"customer_id": C}),
        two_runs.get("/v1/forecasts/groups", params={"customer_id": C, "run_id": run_id}),
        two_runs.post(
            "/v1/forecasts/series",
            json={"customer_id": C, "run_id": run_id, "series": [{"location_id": "a", "product_id": "x"}]},
        ),
    ):
        assert answer.status_code == 404
        assert answer.json()["type"] == "/docs#unknown-run"


def test_only_the_quantiles_asked_for_are_answered(client: TestClient) -> None:
    for asked, expected in (("q95,q05", ["q05", "q95"]), ("", []), (None, list(COLUMNS[4:]))):
        parameters: dict[str, str | int] = {"customer_id": C, "limit": 2}
        parameters |= {} if asked is None else {"quantiles": asked}
        row = client.get("/v1/forecasts", params=parameters).json()["forecasts"][0]
        assert list(row) == [*KEYS, "mean", *expected]
    refused = client.get("/v1/forecasts", params={"customer_id": C, "quantiles": "q05,q99"})
    assert refused.status_code == 422
    assert "q99" in refused.json()["detail"]


def test_series_are_looked_up_many_at_once_and_in_the_order_asked(client: TestClient) -> None:
    asked = [("graz-1", "milk-1l"), ("berlin-1", "bread-rye"), ("atlantis", "milk-1l")]
    body = {
        "customer_id": C,
        "series": [{"location_id": place, "product_id": thing} for place, thing in asked],
        "start": str(FIRST),
        "end": str(FIRST + timedelta(days=1)),
        "quantiles": "q50",
    }
    answer = client.post("/v1/forecasts/series", json=body)
    found = answer.json()
    assert [(row["location_id"], row["product_id"]) for row in found["forecasts"]] == [
        key for key in asked[:2] for _ in range(2)
    ]
    assert found["unknown"] == [{"location_id": "atlantis", "product_id": "milk-1l"}]
    assert (found["run_id"], answer.headers["headrace-unknown"]) == (RUN, "1")
    as_arrow = client.post("/v1/forecasts/series?format=arrow", json=body)
    assert pa.ipc.open_stream(as_arrow.content).read_all().num_rows == 4


@pytest.mark.parametrize(
    "series", [[], [{"location_id": "a"}], [{"location_id": "a", "product_id": "x"}] * 1_001]
)
def test_a_look_up_of_nothing_or_of_too_much_is_refused(client: TestClient, series: list[Any]) -> None:
    answer = client.post("/v1/forecasts/series", json={"customer_id": C, "series": series})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def read_arrow(body: bytes) -> pl.DataFrame:
    found = pl.from_arrow(pa.ipc.open_stream(body).read_all())
    assert isinstance(found, pl.DataFrame)
    return found


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("arrow", read_arrow),
        ("parquet", lambda body: pl.read_parquet(io.BytesIO(body))),
        ("csv", lambda body: pl.read_csv(body, try_parse_dates=True)),
    ],
)
def test_a_whole_run_is_read_in_one_answer(
    client: TestClient, form: str, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.run_routes.PIECE_ROWS_MAX", 50)
    answer = client.get("/v1/forecasts/runs/current/rows", params={"customer_id": C, "format": form})
    assert answer.headers["headrace-run-id"] == RUN
    assert answer.headers["headrace-rows"] == str(PUBLISHED.height)
    found = read(answer.content)
    assert_frame_equal(found.select(COLUMNS).cast(PUBLISHED.schema), PUBLISHED)
    assert found["run_id"].unique().to_list() == [RUN]
    again = client.get(
        f"/v1/forecasts/runs/{RUN}/rows",
        params={"customer_id": C, "format": form},
        headers={"If-None-Match": answer.headers["etag"]},
    )
    assert again.status_code == 304


def test_the_columns_of_a_streamed_file_have_descriptions(client: TestClient) -> None:
    answer = client.get(
        f"/v1/forecasts/runs/{RUN}/rows", params={"customer_id": C, "quantiles": "q05"},
        headers={"Accept": "application/vnd.apache.parquet"},
    )  # fmt: skip
    schema = pq.read_schema(io.BytesIO(answer.content))
    assert schema.names[:5] == [*KEYS, "mean", "q05"]
    assert all(column.metadata and column.metadata[b"description"] for column in schema)


def test_a_whole_run_is_no_json(client: TestClient) -> None:
    answer = client.get(
        "/v1/forecasts/runs/current/rows", params={"customer_id": C}, headers={"Accept": "application/json"}
    )
    assert answer.status_code == 406


def test_a_run_names_its_manifest_and_the_deliveries_in_it(client: TestClient, stream: MemoryStream) -> None:
    stream.add(3, C, state="done", name="sales-november.csv")
    answer = client.get(f"/v1/forecasts/runs/{RUN}", params={"customer_id": C})
    found = LineageAnswer.model_validate_json(answer.content)
    assert (found.run.run_id, found.run.current, found.run.manifest) == (RUN, True, 1)
    assert found.manifest_path == f"manifests/{C}/0000000001.json"
    assert found.last_sold_on == content.LAST_DAY
    (source,) = found.deliveries
    assert (source.delivery_id, source.name) == (3, "sales-november.csv")
    assert source.rows == {"sales_sealed": 6 * content.DAYS}
    assert client.get("/v1/forecasts/runs/current", params={"customer_id": C}).json() == answer.json()


def test_the_name_of_a_delivery_of_another_customer_is_not_told(
    client: TestClient, stream: MemoryStream
) -> None:
    stream.add(3, "others", state="done", name="secret.csv")
    found = client.get(f"/v1/forecasts/runs/{RUN}", params={"customer_id": C}).json()
    assert found["deliveries"][0]["name"] is None


def test_a_run_that_is_not_there_is_not_found(two_runs: TestClient) -> None:
    for run_id in ("run-404", "..%2f..%2fmanifests", "current.json"):
        assert two_runs.get(f"/v1/forecasts/runs/{run_id}", params={"customer_id": C}).status_code in (
            404,
            422,
        )
    nobody = two_runs.get("/v1/forecasts/runs/current", params={"customer_id": "nobody"})
    assert nobody.json()["type"] == "/docs#no-forecast"


def test_a_token_of_one_location_reads_that_part_of_a_run_only(app: FastAPI, tokens: TokenStore) -> None:
    header = header_of_new(tokens, "read", customer_id=C, location_ids=("graz-1", "nowhere"))
    client = TestClient(app, headers=header)
    answer = client.get("/v1/forecasts/runs/current/rows", params={"customer_id": C, "format": "arrow"})
    expected = PUBLISHED.filter(pl.col("location_id") == "graz-1")
    assert_frame_equal(read_arrow(answer.content).select(COLUMNS), expected)
    assert answer.headers["headrace-rows"] == str(expected.height)
    groups = client.get("/v1/forecasts/groups", params={"customer_id": C, "by": "location"}).json()["groups"]
    assert {row["location_id"] for row in groups} == {"graz-1"}
    body = {"customer_id": C, "series": [{"location_id": "berlin-1", "product_id": "milk-1l"}]}
    assert client.post("/v1/forecasts/series", json=body).json()["type"] == "/docs#foreign-location"
    # The deliveries are of all locations.
    assert client.get("/v1/forecasts/runs/current", params={"customer_id": C}).status_code == 403


def test_a_token_of_locations_that_are_not_in_the_run_reads_no_rows(app: FastAPI, tokens: TokenStore) -> None:
    client = TestClient(app, headers=header_of_new(tokens, "read", customer_id=C, location_ids=("nowhere",)))
    for form, count in (
        ("arrow", lambda body: read_arrow(body).height),
        ("csv", lambda body: body.count(b"\n") - 1),
    ):
        answer = client.get("/v1/forecasts/runs/current/rows", params={"customer_id": C, "format": form})
        assert count(answer.content) == 0


def test_series_of_another_customer_are_not_looked_up(app: FastAPI, tokens: TokenStore) -> None:
    client = TestClient(app, headers=header_of_new(tokens, "read", customer_id="others"))
    body = {"customer_id": C, "series": [{"location_id": "berlin-1", "product_id": "milk-1l"}]}
    answer = client.post("/v1/forecasts/series", json=body)
    assert answer.json()["type"] == "/docs#foreign-customer"
