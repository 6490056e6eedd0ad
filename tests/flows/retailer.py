"""A small retailer's raw lake, written as the stream jobs write it."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl

from infra.blobs import BlobStore
from lake.append import AppendTable
from schemas.lake_tables import LAKE_TABLES, polars_schema

PLACES, THINGS = ("north", "south"), ("apple", "bread", "cheese", "dates")
WEEK = np.array([1.0, 0.9, 0.9, 1.0, 1.2, 1.6, 1.4])
"""Sales of a weekday ÷ mean day, Monday first."""


def deliver(
    store: BlobStore,
    customer_id: str,
    last_day: date,
    days: int = 100,
    *,
    noise: bool = True,
    seed: int = 1,
    things: Sequence[str] = THINGS,
    master: bool = True,
) -> None:
    """Append a retailer's sales of the days up to `last_day`, and its locations and products.

    Args:
        store: The lake.
        customer_id: The retailer.
        last_day: Last day with sales.
        days: Days with sales.
        noise: Whether sales scatter as real ones do; without it every week is like the one before.
        seed: Of the scatter.
        things: Products sold at each place.
        master: Whether the locations and products come too, and not sales alone.
    """
    random = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for back in reversed(range(days)):
        day = last_day - timedelta(days=back)
        for number, (place, thing) in enumerate((place, thing) for place in PLACES for thing in things):
            expected = (4 + 2 * (number % 8)) * WEEK[day.weekday()]
            quantity = float(random.poisson(expected) if noise else round(expected))
            if quantity:
                sale_id = f"{place}-{thing}-{day}-{seed}"
                rows.append(_sale(customer_id, sale_id, place, thing, day, quantity, len(rows)))
    _append(store, "sales_joined", rows)
    if not master:
        return
    about = {"customer_id": customer_id, "delivery_id": 1, "received_at": _noon(last_day)}
    _append(
        store,
        "changes_locations",
        [
            about | {"position": n, "location_id": p, "region": "home", "time_zone": "UTC"}
            for n, p in enumerate(PLACES)
        ],
    )
    department = {"department": "food", "unit": "piece"}
    _append(
        store,
        "changes_products",
        [about | {"position": n, "product_id": p} | department for n, p in enumerate(things)],
    )


def _sale(
    customer_id: str, sale_id: str, place: str, thing: str, day: date, quantity: float, position: int
) -> dict[str, object]:
    return {
        "customer_id": customer_id,
        "delivery_id": 1,
        "position": position,
        "received_at": _noon(day),
        "sale_id": sale_id,
        "location_id": place,
        "product_id": thing,
        "sold_at": _noon(day),
        "sold_on": day,
        "quantity": quantity,
        "unit_price": 2.5,
        "revenue": quantity * 2.5,
        "voided": False,
        "region": "home",
        "time_zone": "UTC",
        "department": "food",
        "unit": "piece",
    }


def _append(store: BlobStore, name: str, rows: list[dict[str, object]]) -> None:
    table = AppendTable(store, name)
    end = table.chain_end(0)
    first = end.next_offset if end else 0
    placed = [row | {"source_partition": 0, "source_offset": first + n} for n, row in enumerate(rows)]
    frame = pl.DataFrame(placed, schema=polars_schema(LAKE_TABLES[name].file_schema))
    table.append(0, first, first + len(rows) + 1, datetime.now(UTC), frame, end)


def _noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)
