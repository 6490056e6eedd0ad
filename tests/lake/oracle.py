"""The naive twin of the seal: every line in plain Python, one after the other."""

from collections.abc import Iterable, Mapping
from typing import Any

Line = Mapping[str, Any]


def sealed(lines: Iterable[Line], customer_id: str = "acme") -> dict[str, Line]:
    """What stands of each sale, by its id: its latest line, unless that is a withdrawal."""
    latest: dict[str, Line] = {}
    for line in lines:
        if line["customer_id"] != customer_id:
            continue
        known = latest.get(line["sale_id"])
        version = (line["delivery_id"], line["position"])
        if known is None or version > (known["delivery_id"], known["position"]):
            latest[line["sale_id"]] = line
    return {sale_id: line for sale_id, line in latest.items() if not line["voided"]}


def summed(lines: Iterable[Line]) -> dict[tuple[Any, ...], tuple[float, float | None, int]]:
    """Quantity, revenue and number of sales by location, product and day."""
    sums: dict[tuple[Any, ...], tuple[float, float | None, int]] = {}
    for line in lines:
        key = (line["location_id"], line["product_id"], line["sold_on"])
        quantity, revenue, count = sums.get(key, (0.0, None, 0))
        if line["revenue"] is not None:
            revenue = (revenue or 0.0) + line["revenue"]
        sums[key] = (quantity + line["quantity"], revenue, count + 1)
    return sums
