from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from benchmarks.peers.by_record import Judge
from schemas.records import dtype_of, schema_of_record
from stream_jobs.rules import SALES_RULES, judge

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
GOOD = {
    "customer_id": "acme", "delivery_id": 7, "position": 1, "received_at": NOW, "sale_id": "S1",
    "location_id": "L1", "product_id": "P1", "sold_at": NOW - timedelta(hours=1), "quantity": 2.0,
    "unit_price": 1.5, "voided": False, "repeated": False, "defect": None, "original": None,
}  # fmt: skip
CHANGES: list[dict[str, Any]] = [
    {},
    {"sale_id": None},
    {"product_id": None},
    {"product_id": None, "quantity": None, "sold_at": None, "voided": True},
    {"location_id": "L9", "product_id": "P9"},
    {"quantity": -1.0, "unit_price": -0.5},
    {"quantity": float("inf"), "unit_price": float("nan")},
    {"unit_price": None},
    {"sold_at": NOW + timedelta(days=2), "repeated": True},
    {"defect": "quantity: expected a number; found 'x'", "quantity": None},
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_peers_refuse_for_the_reasons_that_validate_refuses_for(change: dict[str, Any]) -> None:
    sale = GOOD | change
    schema = {field["name"]: dtype_of(field["type"]) for field in schema_of_record("Sale")["fields"]}
    day = pl.lit(None, dtype=pl.Date)
    frame = pl.DataFrame([sale], schema=schema).with_columns(
        location_known=pl.col("location_id").is_in(["L1"]),
        product_known=pl.col("product_id").is_in(["P1"]),
        sold_on=day,
        opened_on=day,
        closed_on=day,
    )
    expected = judge(frame, SALES_RULES).codes.to_list()
    codes = Judge("", ["L1"], ["P1"]).codes_of(sale)
    assert codes == (expected[0] if expected else [])
