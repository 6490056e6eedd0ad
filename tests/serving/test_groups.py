"""Sums of groups, against adding up row by row."""

from collections import defaultdict
from datetime import timedelta

import polars as pl
import pytest
from starlette.testclient import TestClient

from serving.answers import GroupsAnswer
from serving.groups import GROUPS, group_means
from tests.serving import lake_content as content
from tests.serving.parts import MemoryStream

FIRST = content.LAST_DAY + timedelta(days=1)
BY_NAME = {one.name: one for one in GROUPS}
LOCATIONS = pl.DataFrame(
    {
        "location_id": ["a", "b", "c"],
        "region": ["north", "south", "north"],
        "kind": ["shop", "shop", None],
    }
)
PRODUCTS = pl.DataFrame(
    {"product_id": ["x", "y"], "category": ["food", "food"], "department": ["fresh", "dry"]}
)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["region"],
        ["region", "department"],
        ["kind"],
        ["location"],
        ["department", "product"],
        ["category", "region", "location"],
    ],
)
def test_a_group_is_the_sum_of_its_series_by_day(names: list[str]) -> None:
    # d and z are in no master data.
    rows = content.forecast(["a", "b", "c", "d"], ["x", "y", "z"], FIRST, days=3)
    groups = [BY_NAME[name] for name in names]
    found = group_means(rows, LOCATIONS, PRODUCTS, groups)
    places = {row["location_id"]: row for row in LOCATIONS.to_dicts()}
    things = {row["product_id"]: row for row in PRODUCTS.to_dicts()}
    sums: dict[tuple[object, ...], list[float]] = defaultdict(list)
    for row in rows.to_dicts():
        known = {**places.get(row["location_id"], {}), **things.get(row["product_id"], {}), **row}
        sums[*(known.get(one.column) for one in groups), row["date"]].append(row["mean"])
    assert [tuple(row[:-2]) for row in found.rows()] == [
        *dict.fromkeys(tuple(row[:-2]) for row in found.rows())
    ]
    assert found.height == len(sums)
    for *key, mean, series in found.rows():
        assert (mean, series) == (pytest.approx(sum(sums[*key,])), len(sums[*key,]))
    keys = [one.column for one in groups]
    assert found.columns == [*keys, "date", "mean", "series"]
    assert found.equals(found.sort(*keys, "date"))


def test_a_customer_without_master_data_has_sums_all_the_same() -> None:
    rows = content.forecast(["a"], ["x"], FIRST, days=2)
    empty = pl.DataFrame()
    found = group_means(rows, empty, empty, [BY_NAME["region"], BY_NAME["department"]])
    assert found.select("region", "department", "series").unique().rows() == [(None, None, 1)]


def test_groups_are_answered_with_means_and_no_quantiles(client: TestClient, stream: MemoryStream) -> None:
    answer = client.get(
        "/v1/forecasts/groups",
        params={
            "customer_id": content.CUSTOMER,
            "by": "region,department",
            "start": str(FIRST),
            "end": str(FIRST),
        },
    )
    found = GroupsAnswer.model_validate_json(answer.content)
    (row,) = found.groups
    expected = content.forecast(list(content.PLACES), list(content.THINGS), FIRST, days=1)
    assert (row.region, row.department, row.series) == ("mitte", "fresh", 6)
    assert row.mean == pytest.approx(expected["mean"].sum(), rel=1e-6)
    assert set(answer.json()["groups"][0]) == {"region", "department", "date", "mean", "series"}
    assert answer.headers["headrace-run-id"] == found.run_id


@pytest.mark.parametrize("by", ["planet", "region,region", "region,"])
def test_a_group_that_is_none_is_refused_by_name(client: TestClient, by: str) -> None:
    answer = client.get("/v1/forecasts/groups", params={"customer_id": content.CUSTOMER, "by": by})
    assert answer.status_code == (200 if by == "region," else 422)
    if answer.status_code == 422:
        assert answer.json()["errors"][0]["parameter"] == "by"
        assert "department" in answer.json()["detail"]
