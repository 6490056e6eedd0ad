"""Rows of the raw tables for the tests, as the stream jobs would make them."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from lake.append import AppendTable, ChainEnd
from schemas.lake_tables import LAKE_TABLES, polars_schema

DAY = dt.date(2026, 3, 2)
NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
SALE: dict[str, Any] = {
    "customer_id": "acme",
    "delivery_id": 1,
    "position": 1,
    "received_at": NOON,
    "sale_id": "s1",
    "location_id": "l1",
    "product_id": "p1",
    "sold_at": NOON,
    "sold_on": DAY,
    "quantity": 2.0,
    "unit_price": 1.5,
    "revenue": 3.0,
    "voided": False,
    "location_name": "Mill Lane",
    "region": "north",
    "location_kind": "kiosk",
    "time_zone": "UTC",
    "currency": "EUR",
    "product_name": "Bread",
    "department": "bakery",
    "category": "food",
    "unit": "piece",
    "source_partition": 0,
    "source_offset": 0,
}


def rows(table: str, values: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A frame of a raw table; what a row leaves out is null."""
    return pl.DataFrame(
        [dict(value) for value in values], schema=polars_schema(LAKE_TABLES[table].file_schema), orient="row"
    )


def sale(**values: Any) -> dict[str, Any]:
    """A joined sale; a day moves its time along, a quantity its revenue."""
    day = values.get("sold_on", DAY)
    quantity = values.get("quantity", 2.0)
    price = values.get("unit_price", 1.5)
    made = {"sold_at": dt.datetime.combine(day, dt.time(12), dt.UTC), "revenue": price and quantity * price}
    return {**SALE, **made, **values}


def void(**values: Any) -> dict[str, Any]:
    """A withdrawal that says no more than it must."""
    nothing = dict.fromkeys(
        (
            "product_id",
            "sold_at",
            "sold_on",
            "quantity",
            "unit_price",
            "revenue",
            "product_name",
            "department",
            "category",
            "unit",
        )
    )
    return {**SALE, **nothing, "voided": True, **values}


def append(
    table: AppendTable, partition: int, values: Sequence[Mapping[str, Any]], at: dt.datetime = NOON
) -> ChainEnd:
    """Append rows to the end of a partition's chain, one offset each and one for the transaction's marker."""
    previous = table.chain_end(partition)
    first = previous.next_offset if previous else 0
    placed = [
        {**value, "source_partition": partition, "source_offset": first + number}
        for number, value in enumerate(values)
    ]
    return table.append(partition, first, first + len(placed) + 1, at, rows(table.name, placed), previous)
