"""The essentials of validation, record by record: what every peer in Python does between reading and writing.

fastavro is what the Avro deserializers of these peers use themselves; here it reads without their lookups. Master
data lies in sets that were filled before, which is cheaper than any table of a peer.
"""

import io
import json
import math
import sys
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from fastavro import parse_schema, schemaless_reader

HEAD_BYTES = 5
A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Route:
    """From where to where a peer works; the harness gives it as JSON.

    Attributes:
        broker: Bootstrap servers.
        registry: URL of the schema registry.
        masters: File of the known locations and products, as JSON lists.
        group: Consumer group.
        input: Topic that is read.
        valid: Topic of the valid sales, as they came.
        refused: Topic of the others, as they came.
    """

    broker: str
    registry: str
    masters: str
    group: str
    input: str
    valid: str
    refused: str

    @classmethod
    def given(cls) -> "Route":
        """The one that stands as the first argument."""
        return cls(**json.loads(sys.argv[1]))


class Judge:
    """Decodes a sale and finds the rules that it breaks."""

    def __init__(self, registry: str, locations: Iterable[str], products: Iterable[str]) -> None:
        self._locations, self._products = set(locations), set(products)
        self._registry = registry
        self._schemas: dict[bytes, Any] = {}

    @classmethod
    def of(cls, route: Route) -> "Judge":
        """One that knows the locations and products of a route."""
        known = json.loads(Path(route.masters).read_text())
        return cls(route.registry, known["locations"], known["products"])

    @classmethod
    def without_masters(cls, registry: str) -> "Judge":
        """One that only decodes."""
        return cls(registry, (), ())

    def codes(self, value: bytes) -> list[str]:
        """The codes of the rules that a sale breaks; empty when it is valid."""
        return self.codes_of(self.sale(value))

    def codes_of(self, sale: Mapping[str, Any]) -> list[str]:
        """The same of a decoded sale."""
        if sale["defect"] is not None:
            return ["unreadable_record"]
        codes = []
        sold = not sale["voided"]
        location, product = sale["location_id"], sale["product_id"]
        quantity, price = sale["quantity"], sale["unit_price"]
        required = (product, sale["sold_at"], quantity) if sold else ()
        if None in (sale["sale_id"], location, *required):
            codes.append("missing_field")
        if location is not None and location not in self._locations:
            codes.append("unknown_location")
        if sold and product is not None and product not in self._products:
            codes.append("unknown_product")
        if sold and quantity is not None and quantity < 0:
            codes.append("negative_quantity")
        if sold and not all(math.isfinite(number) for number in (quantity, price) if number is not None):
            codes.append("not_finite")
        if sold and price is not None and price < 0:
            codes.append("bad_price")
        if sold and sale["sold_at"] is not None and sale["sold_at"] > sale["received_at"] + A_DAY:
            codes.append("sold_in_future")
        if sale["repeated"]:
            codes.append("duplicate_sale_id")
        return codes

    def sale(self, value: bytes) -> dict[str, Any]:
        """The fields of a sale."""
        head = value[:HEAD_BYTES]
        if head not in self._schemas:
            number = int.from_bytes(head[1:], "big")
            with urllib.request.urlopen(f"{self._registry}/schemas/ids/{number}", timeout=10) as answer:
                self._schemas[head] = parse_schema(json.loads(json.load(answer)["schema"]))
        body = io.BytesIO(value)
        body.seek(HEAD_BYTES)
        return cast("dict[str, Any]", schemaless_reader(body, self._schemas[head], None))
