"""What a delivered file may hold: the five contents, their fields and where their records go.

Guarantee: readers, columns and rules all take a content's fields from here, in the order of its Avro record.
"""

from dataclasses import dataclass
from typing import Literal

from infra.errors import DeliveryError

Kind = Literal["text", "number", "time", "date", "flag"]
"""How the text of a field is meant."""

FORMATS = ("xml", "csv", "jsonl", "parquet")
COMPRESSIONS = ("gzip", "zstd")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record as customers deliver it.

    Attributes:
        name: Its name in files and in the Avro record.
        kind: How its text is meant.
        required: Whether a record is refused without it.
        default: What a missing value becomes; None keeps it missing.
    """

    name: str
    kind: Kind
    required: bool = False
    default: str | bool | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """One kind of record that a file may hold; a file holds one kind only.

    Attributes:
        name: sales, locations, products, prices or events; also the root element in XML.
        element: Name of a record's element in XML.
        record: Name of the Avro record.
        topic: Topic that its records are written to.
        key: Fields of the message key, behind the customer id.
        fields: What customers may deliver.
    """

    name: str
    element: str
    record: str
    topic: str
    key: tuple[str, ...]
    fields: tuple[Field, ...]

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of all fields."""
        return tuple(field.name for field in self.fields)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the fields without which a record is refused."""
        return tuple(field.name for field in self.fields if field.required)


CONTENTS: dict[str, Content] = {
    content.name: content
    for content in (
        Content(
            "sales", "sale", "Sale", "sales-input", ("location_id",),
            (
                Field("sale_id", "text", required=True),
                Field("location_id", "text", required=True),
                Field("product_id", "text", required=True),
                Field("sold_at", "time", required=True),
                Field("quantity", "number", required=True),
                Field("unit_price", "number"),
                Field("voided", "flag", default=False),
            ),
        ),
        Content(
            "locations", "location", "Location", "locations", ("location_id",),
            (
                Field("location_id", "text", required=True),
                Field("name", "text"),
                Field("region", "text"),
                Field("kind", "text"),
                Field("time_zone", "text", default="UTC"),
                Field("currency", "text"),
                Field("opened_on", "date"),
                Field("closed_on", "date"),
            ),
        ),
        Content(
            "products", "product", "Product", "products", ("product_id",),
            (
                Field("product_id", "text", required=True),
                Field("name", "text"),
                Field("department", "text"),
                Field("category", "text"),
                Field("unit", "text", default="piece"),
                Field("introduced_on", "date"),
                Field("ended_on", "date"),
            ),
        ),
        Content(
            "prices", "price", "Price", "prices", ("location_id", "product_id", "valid_from"),
            (
                Field("location_id", "text", required=True),
                Field("product_id", "text", required=True),
                Field("valid_from", "date", required=True),
                Field("unit_price", "number"),
                Field("promotion", "flag", default=False),
            ),
        ),
        Content(
            "events", "event", "Event", "events", ("event_id",),
            (
                Field("event_id", "text", required=True),
                Field("date", "date", required=True),
                Field("name", "text"),
                Field("type", "text"),
                Field("region", "text"),
            ),
        ),
    )
}  # fmt: skip

MASTER_CONTENTS = frozenset(CONTENTS) - {"sales"}
"""Everything but sales: small, read first and judged while it is read."""


def content_of(name: str) -> Content:
    """The content of a name.

    Raises:
        DeliveryError: There is no such content.
    """
    found = CONTENTS.get(name)
    if found is None:
        raise DeliveryError(f"content: expected one of {', '.join(CONTENTS)}; found {name!r}")
    return found
