"""Windowed sums and lags over HTTP."""

import io
from typing import Any

import polars as pl
from fastapi.testclient import TestClient

from serving.answers import LagsAnswer, WindowsAnswer
from tests.serving.parts import MemoryStream

C = "corner-shops"


def windows(client: TestClient, **parameters: Any) -> list[dict[str, Any]]:
    """All pages of the windows that match, three rows a page."""
    found: list[dict[str, Any]] = []
    url = "/v1/sales/windows"
    asked: dict[str, Any] | None = {"customer_id": C, "limit": 3, **parameters}
    while True:
        answer = client.get(url, params=asked)
        assert answer.status_code == 200, answer.text
        WindowsAnswer.model_validate_json(answer.content)
        found += answer.json()["windows"]
        if "next" not in answer.links:
            assert answer.json()["total"] == len(found)
            return found
        url, asked = answer.links["next"]["url"], None


def test_windows_come_in_pages_sorted_by_location_product_window_and_start(client: TestClient) -> None:
    found = windows(client)
    assert len(found) == 80
    order = [(row["location_id"], row["product_id"], row["window"], row["starts_at"]) for row in found]
    assert order == sorted(set(order))
    assert windows(client, customer_id="nobody") == []


def test_windows_are_chosen_by_place_product_name_local_day_and_whether_they_are_final(
    client: TestClient,
) -> None:
    series = {"location_id": "berlin-2", "product_id": "tea", "window": "day"}
    days = [row["starts_on"] for row in windows(client, **series, start="2026-11-12", end="2026-11-14")]
    assert days == ["2026-11-12", "2026-11-13", "2026-11-14"]
    assert len(windows(client, **series, final="false")) == 3
    (row,) = windows(client, **series, start="2026-11-10", end="2026-11-10")
    assert (row["quantity"], row["revenue"], row["sales"], row["final"]) == (1.5, None, 1, True)


def test_every_format_of_windows_holds_the_same_rows(client: TestClient) -> None:
    asked = {"customer_id": C, "window": "week"}
    rows = client.get("/v1/sales/windows", params=asked).json()["windows"]
    for form, read in (("csv", pl.read_csv), ("parquet", pl.read_parquet)):
        answer = client.get("/v1/sales/windows", params={**asked, "format": form})
        table = read(io.BytesIO(answer.content))
        assert table["quantity"].to_list() == [row["quantity"] for row in rows]
        assert table.columns == list(rows[0])


def test_a_cursor_of_other_windows_is_refused(client: TestClient) -> None:
    cursor = client.get("/v1/sales/windows", params={"customer_id": C, "limit": 1}).json()["next_cursor"]
    answer = client.get("/v1/sales/windows", params={"customer_id": C, "window": "day", "cursor": cursor})
    assert answer.status_code == 400


def test_lags_tell_each_job_and_partition(client: TestClient, stream: MemoryStream) -> None:
    answer = client.get("/v1/lags")
    assert LagsAnswer.model_validate_json(answer.content).lags[0].messages == 17
    assert [(one["job"], one["topic"], one["partition"]) for one in answer.json()["lags"]] == [
        ("validate", "sales-input", 0), ("join", "sales-validated", 0),
    ]  # fmt: skip
    stream.down = True
    assert client.get("/v1/lags").status_code == 503
