"""Forecasts and history over HTTP, against a lake that the lake's own functions wrote."""

import io
import re
from datetime import date, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal
from starlette.testclient import TestClient

from infra.blobs import BlobStore
from infra.settings import Settings
from lake.forecast_status import mark_degraded, mark_fresh
from serving.answers import ForecastsAnswer, HistoryAnswer, RunsAnswer
from serving.app import create_app
from serving.forecast_run import COLUMNS, KEYS
from serving.token_store import TokenStore
from tests.serving import lake_content as content
from tests.serving.parts import MemoryStream

C = content.CUSTOMER
FIRST = content.LAST_DAY + timedelta(days=1)
RUN = "2026-11-20-a"
PUBLISHED = content.forecast(list(content.PLACES), list(content.THINGS), FIRST).select(COLUMNS).sort(KEYS)


def ask(client: TestClient, accept: str | None = None, **parameters: Any) -> Any:
    headers = {"Accept": accept} if accept else {}
    return client.get("/v1/forecasts", params={"customer_id": C, **parameters}, headers=headers)


def frame_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return (
        pl.DataFrame(rows).with_columns(pl.col("date").str.to_date()).cast(PUBLISHED.schema).select(COLUMNS)
    )


def test_a_series_is_answered_with_its_run_model_day_and_manifest(client: TestClient) -> None:
    answer = ask(client, location_id="berlin-2", product_id="milk-1l")
    found = ForecastsAnswer.model_validate_json(answer.content)
    assert (found.run_id, found.model, found.made_on, found.manifest) == (
        RUN,
        "global_trees",
        content.LAST_DAY,
        1,
    )
    assert found.next_cursor is None
    expected = PUBLISHED.filter(pl.col("location_id") == "berlin-2", pl.col("product_id") == "milk-1l")
    assert_frame_equal(frame_of(answer.json()["forecasts"]), expected)


def test_filters_and_days_narrow_down_together(client: TestClient) -> None:
    start, end = FIRST + timedelta(days=3), FIRST + timedelta(days=4)
    answer = ask(client, product_id="bread-rye", start=start, end=end)
    rows = answer.json()["forecasts"]
    assert {row["date"] for row in rows} == {str(start), str(end)}
    assert [row["location_id"] for row in rows] == [
        place for place in sorted(content.PLACES) for _ in range(2)
    ]


def test_an_unknown_series_has_no_rows_but_still_a_run(client: TestClient) -> None:
    found = ask(client, location_id="atlantis").json()
    assert found["forecasts"] == []
    assert found["run_id"] == RUN


@pytest.mark.parametrize("limit", [1, 7, 28, 1_000])
def test_the_pages_hold_every_row_once_and_end(client: TestClient, limit: int) -> None:
    if limit == 1:
        parameters: dict[str, Any] = {"location_id": "berlin-1", "product_id": "milk-1l"}
        expected = PUBLISHED.filter(pl.col("location_id") == "berlin-1", pl.col("product_id") == "milk-1l")
    else:
        parameters, expected = {}, PUBLISHED
    answer, rows = ask(client, limit=limit, **parameters), []
    for _ in range(expected.height // limit + 2):
        rows += answer.json()["forecasts"]
        if "link" not in answer.headers:
            break
        target = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers["link"])
        assert target is not None
        answer = client.get(target[1])
    assert answer.json()["next_cursor"] is None
    assert_frame_equal(frame_of(rows), expected)


def test_a_cursor_does_not_continue_another_query(client: TestClient) -> None:
    cursor = ask(client, limit=1).json()["next_cursor"]
    assert ask(client, limit=5, cursor=cursor).status_code == 200
    assert ask(client, location_id="berlin-1", cursor=cursor).status_code == 400


def read_csv(body: bytes) -> pl.DataFrame:
    return pl.read_csv(body, try_parse_dates=True)


def read_arrow(body: bytes) -> pl.DataFrame:
    found = pl.from_arrow(pa.ipc.open_stream(body).read_all())
    assert isinstance(found, pl.DataFrame)
    return found


def read_parquet(body: bytes) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(body))


@pytest.mark.parametrize(
    ("accept", "read"),
    [
        ("text/csv", read_csv),
        ("application/vnd.apache.arrow.stream", read_arrow),
        ("application/vnd.apache.parquet", read_parquet),
    ],
)
def test_every_format_holds_the_same_rows_and_where_they_come_from(
    client: TestClient, accept: str, read: Any
) -> None:
    answer = ask(client, accept, location_id="graz-1")
    assert answer.headers["content-type"].startswith(accept)
    assert answer.headers["headrace-run-id"] == RUN
    found = read(answer.content)
    expected = PUBLISHED.filter(pl.col("location_id") == "graz-1")
    assert_frame_equal(found.select(COLUMNS).cast(PUBLISHED.schema), expected)
    origin = found.select("run_id", "model", "made_on", "manifest").unique().rows()
    assert origin == [(RUN, "global_trees", content.LAST_DAY, 1)]


def test_the_columns_of_a_parquet_answer_have_descriptions_and_units(client: TestClient) -> None:
    schema = pq.read_schema(io.BytesIO(ask(client, format="parquet").content))
    for column in schema:
        assert column.metadata, column.name
        assert column.metadata[b"description"]
        assert column.metadata[b"unit"]


def test_a_type_that_cannot_be_made_is_refused_with_those_that_can(client: TestClient) -> None:
    answer = ask(client, "image/png")
    assert answer.status_code == 406
    assert "application/vnd.apache.parquet" in answer.json()["detail"]


def test_the_same_run_is_not_sent_again(client: TestClient) -> None:
    first = ask(client, location_id="berlin-1")
    etag = first.headers["etag"]
    for held in (etag, f'"other", {etag.removeprefix("W/")}', "*"):
        again = client.get(str(first.url), headers={"If-None-Match": held})
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["etag"] == etag
    assert client.get(str(first.url), headers={"If-None-Match": '"older"'}).status_code == 200
    as_csv = client.get(str(first.url), headers={"If-None-Match": etag, "Accept": "text/csv"})
    assert as_csv.status_code == 200
    assert as_csv.headers["etag"] != etag


def test_history_is_what_was_sold_by_day(client: TestClient) -> None:
    series = {"customer_id": C, "location_id": "graz-1", "product_id": "bread-rye"}
    answer = client.get("/v1/history", params={**series, "days": 10})
    found = HistoryAnswer.model_validate_json(answer.content)
    days = [content.LAST_DAY - timedelta(days=back) for back in reversed(range(content.DAYS))]
    lines = content.sales(content.PLACES, content.THINGS, days)
    sold = (
        lines.filter(pl.col("location_id") == "graz-1", pl.col("product_id") == "bread-rye")
        .sort("sold_on")
        .tail(10)
    )
    assert [(row.sold_on, row.quantity, row.sales) for row in found.history] == [
        (day, quantity, 1) for day, quantity in sold.select("sold_on", "quantity").rows()
    ]
    assert (found.data_up_to, found.manifest) == (content.LAST_DAY, 1)
    assert found.history[0].unit == "piece"


def test_a_range_of_history_has_its_days_and_no_others(client: TestClient) -> None:
    series = {"customer_id": C, "location_id": "graz-1", "product_id": "bread-rye"}
    start, end = date(2026, 11, 2), date(2026, 11, 5)
    rows = client.get("/v1/history", params={**series, "start": str(start), "end": str(end)}).json()[
        "history"
    ]
    assert [row["sold_on"] for row in rows] == [f"2026-11-0{day}" for day in (2, 3, 4, 5)]


def test_a_customer_without_sealed_sales_has_an_empty_history(client: TestClient) -> None:
    series = {"customer_id": "nobody", "location_id": "a", "product_id": "b"}
    found = HistoryAnswer.model_validate_json(client.get("/v1/history", params=series).content)
    assert (found.history, found.manifest, found.data_up_to) == ([], None, None)


def test_the_runs_say_which_is_published(client: TestClient) -> None:
    found = RunsAnswer.model_validate_json(
        client.get("/v1/forecasts/runs", params={"customer_id": C}).content
    )
    assert found.current == RUN
    assert [(run.run_id, run.current) for run in found.runs] == [(RUN, True)]


def test_a_forecast_that_is_older_than_it_should_be_says_so_and_why(
    settings: Settings, store: BlobStore, stream: MemoryStream, tokens: TokenStore, headers: dict[str, str]
) -> None:
    mark_degraded(store, C, content.LAST_DAY, ("wrmsse is worse",), "2026-11-21-a")
    app = create_app(settings, store, stream, stream, stream, stream, stream, stream, tokens)
    with TestClient(app, headers=headers) as client:
        assert ask(client).json()["detail"] == f"The customer {C} has no published run: wrmsse is worse"
        content.publish(store, RUN, PUBLISHED)
        stale = ask(client)
        found = ForecastsAnswer.model_validate_json(stale.content)
        assert (found.run_id, found.state, found.degraded_because) == (RUN, "degraded", ["wrmsse is worse"])
        assert stale.headers["headrace-forecast-state"] == "degraded"
        listed = client.get("/v1/forecasts/runs", params={"customer_id": C})
        runs = RunsAnswer.model_validate_json(listed.content)
        assert (runs.current, runs.state, runs.degraded_since) == (RUN, "degraded", content.LAST_DAY)
        mark_fresh(store, C, content.LAST_DAY)
        client.app.state.service.forecasts.refresh()  # type: ignore[attr-defined]
        fresh = ask(client)
        assert (fresh.json()["state"], fresh.json()["degraded_because"]) == ("fresh", [])
        assert fresh.headers["etag"] != stale.headers["etag"]
