"""Examples of every record, as they may stand in a topic. Tests encode and decode each of them."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

_RECEIVED = dt.datetime(2026, 11, 20, 6, 30, tzinfo=dt.UTC)
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_PROVENANCE = {"customer_id": "fresh-mart", "delivery_id": 17, "position": 1, "received_at": _RECEIVED}

EXAMPLES: dict[str, tuple[Mapping[str, Any], ...]] = {
    "Sale": (
        {
            **_PROVENANCE,
            "sale_id": "R-2026-000001-1",
            "location_id": "L-004",
            "product_id": "MILK-1L",
            "sold_at": dt.datetime(2026, 11, 19, 16, 4, 9, 120_000, tzinfo=dt.UTC),
            "quantity": 2.0,
            "unit_price": 1.19,
            "voided": False,
            "repeated": False,
            "defect": None,
            "original": None,
        },
        {**_PROVENANCE, "position": 2, "sale_id": "R-2026-000001-1", "location_id": "L-004", "voided": True},
        {
            **_PROVENANCE,
            "position": 3,
            "sale_id": "R-2026-000002-1",
            "location_id": "L-004",
            "product_id": "BREAD",
            "defect": "quantity 'two' is no number",
            "original": "R-2026-000002-1;L-004;BREAD;2026-11-19T16:05:00Z;two",
        },
    ),
    "SaleError": (
        {
            "customer_id": "fresh-mart",
            "delivery_id": 17,
            "position": 4,
            "content": "sales",
            "sale_id": "R-2026-000003-1",
            "location_id": "L-999",
            "product_id": "MILK-1L",
            "codes": ["unknown_location", "negative_quantity"],
            "messages": ["location 'L-999' was never delivered", "quantity is -2.0, expected zero or more"],
            "original": b"\x00\x00\x00\x00\x01\x14fresh-mart",
            "source_topic": "sales-input",
            "source_partition": 2,
            "source_offset": 4711,
            "judged_at": _RECEIVED,
        },
        {
            "content": "sales",
            "codes": ["undecodable"],
            "messages": ["its first byte is 123, expected 0"],
            "original": b'{"sale": 1}',
            "source_topic": "sales-input",
            "source_partition": 0,
            "source_offset": 12,
            "judged_at": _RECEIVED,
        },
    ),
    "DeliveryEvent": (
        {
            "kind": "accepted",
            "customer_id": "fresh-mart",
            "digest": _DIGEST,
            "at": _RECEIVED,
            "content": "sales",
            "format": "csv",
            "compression": "gzip",
            "name": "sales-2026-11-19.csv.gz",
            "size_bytes": 48_213,
            "blob": f"deliveries/fresh-mart/{_DIGEST}",
        },
        {
            "kind": "progress",
            "customer_id": "fresh-mart",
            "digest": _DIGEST,
            "at": _RECEIVED,
            "delivery_id": 17,
            "position": 50_000,
            "ends": [
                {"topic": "sales-input", "partition": 0, "offset": 12_345},
                {"topic": "sales-input", "partition": 1, "offset": 11_871},
            ],
        },
        {
            "kind": "rejected",
            "customer_id": "fresh-mart",
            "digest": _DIGEST,
            "at": _RECEIVED,
            "delivery_id": 18,
            "reason": "the file ends within the element <sale> of line 204",
        },
    ),
    "Location": (
        {
            **_PROVENANCE,
            "location_id": "L-004",
            "name": "Market Street",
            "region": "CA",
            "kind": "supermarket",
            "time_zone": "America/Los_Angeles",
            "currency": "USD",
            "opened_on": dt.date(2011, 1, 29),
            "closed_on": None,
        },
        {**_PROVENANCE, "position": 2, "location_id": "L-005"},
    ),
    "Product": (
        {
            **_PROVENANCE,
            "product_id": "MILK-1L",
            "name": "Milk, 1 litre",
            "department": "Dairy",
            "category": "Food",
            "unit": "piece",
            "introduced_on": dt.date(2012, 3, 1),
            "ended_on": None,
        },
        {**_PROVENANCE, "position": 2, "product_id": "APPLES", "unit": "kg"},
    ),
    "Price": (
        {
            **_PROVENANCE,
            "location_id": "L-004",
            "product_id": "MILK-1L",
            "valid_from": dt.date(2026, 12, 1),
            "unit_price": 0.99,
            "promotion": True,
        },
        {
            **_PROVENANCE,
            "position": 2,
            "location_id": "L-004",
            "product_id": "MILK-1L",
            "valid_from": dt.date(2027, 1, 1),
            "unit_price": None,
        },
    ),
    "Event": (
        {
            **_PROVENANCE,
            "event_id": "thanksgiving-2026",
            "date": dt.date(2026, 11, 26),
            "name": "Thanksgiving",
            "type": "holiday",
            "region": None,
        },
    ),
    "DeliveryTally": (
        {
            "delivery_id": 17,
            "customer_id": "fresh-mart",
            "valid": 49_873,
            "invalid": 127,
            "by_code": {"unknown_location": 120, "negative_quantity": 9},
            "at": _RECEIVED,
        },
    ),
    "DeliveryReport": (
        {
            "delivery_id": 17,
            "customer_id": "fresh-mart",
            "content": "sales",
            "format": "csv",
            "name": "sales-2026-11-19.csv.gz",
            "size_bytes": 48_213,
            "state": "judging",
            "records": 50_000,
            "valid": 49_873,
            "invalid": 100,
            "by_code": {"unknown_location": 100},
            "reason": "27 records are not judged yet",
            "accepted_at": _RECEIVED,
            "updated_at": _RECEIVED + dt.timedelta(seconds=4),
            "done_at": None,
        },
    ),
}
"""Records by the name of their schema; what is left out takes its default."""
