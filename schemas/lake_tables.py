"""The tables of the lake: each one's columns with description and unit, its folders and its order.

Guarantee: a table that is not in `LAKE_TABLES` does not lie in the lake, and every column has a description
and a unit. The columns that come from an Avro record take their descriptions from its `.avsc` file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import polars as pl
import pyarrow as pa

from infra.errors import FaultError

TIMESTAMP = pa.timestamp("us", tz="UTC")
_AVRO_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "long": pa.int64(),
    "int": pa.int32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "bytes": pa.binary(),
    "timestamp-micros": TIMESTAMP,
    "date": pa.date32(),
}
NO_UNIT = "none"
_UNITS = {
    "delivery_id": "offset in topic deliveries",
    "position": "records, counted from 1",
    "received_at": "UTC, microseconds",
    "judged_at": "UTC, microseconds",
    "sold_at": "UTC, microseconds",
    "sold_on": "day, local to the location",
    "arrived_on": "day, UTC",
    "opened_on": "day, local to the location",
    "closed_on": "day, local to the location",
    "introduced_on": "day, local",
    "ended_on": "day, local",
    "valid_from": "day, local to the location",
    "date": "day, local",
    "made_on": "day, UTC",
    "quantity": "the product's unit",
    "unit_price": "the location's currency for one unit",
    "revenue": "the location's currency",
    "sales": "sales",
    "currency": "ISO 4217 code",
    "time_zone": "IANA name",
    "manifest": "sequence number",
    "source_partition": "Kafka partition",
    "source_offset": "Kafka offset",
}


@dataclass(frozen=True, slots=True)
class LakeTable:
    """One table of the lake.

    Attributes:
        name: Folder of the table.
        description: One or two sentences for who reads it.
        schema: All columns that a row has, in order; each field's metadata holds `description` and `unit`.
        partitioning: Columns that are names of folders (`column=value`) and do not stand in the files:
            pyarrow and pandas refuse a table where they stand in both.
        order: Columns that the rows of a file are sorted by.
        needed: Columns that may be null only in a row with `voided`; empty for the other tables.
        added: Columns that older files of the table lack; there they read as null.
    """

    name: str
    description: str
    schema: pa.Schema
    partitioning: tuple[str, ...]
    order: tuple[str, ...]
    needed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()

    @property
    def file_schema(self) -> pa.Schema:
        """The columns that stand in a file of the table."""
        return pa.schema([field for field in self.schema if field.name not in self.partitioning])


def is_file_schema(found: pa.Schema, table: LakeTable) -> bool:
    """Whether a file has the columns of its table, or those before some were added."""
    older = [
        field for field in table.file_schema if field.name not in table.added or field.name in found.names
    ]
    return found.equals(pa.schema(older))


def polars_schema(schema: pa.Schema) -> dict[str, pl.DataType]:
    """The Polars types of an Arrow schema, by column, in order."""
    # From the schema itself: pyarrow imports pandas for an empty table, which costs each process 40 MB.
    return dict(pl.Schema(schema).items())


def empty_frame(schema: pa.Schema) -> pl.DataFrame:
    """A frame without rows that has the columns of an Arrow schema."""
    return pl.DataFrame(schema=polars_schema(schema))


def check_frame(frame: pl.DataFrame, table: LakeTable) -> pl.DataFrame:
    """The frame with the columns of the table's files, in their order.

    Raises:
        FaultError: A column is missing, unknown, of another type, or null where it must not be; the text
            names the table and each such column.
    """
    expected = polars_schema(table.file_schema)
    faults = [
        f"{name}: expected {kind}, found none" for name, kind in expected.items() if name not in frame.columns
    ]
    faults += [f"{name}: expected no such column" for name in frame.columns if name not in expected]
    faults += [
        f"{name}: expected {kind}, found {frame.schema[name]}"
        for name, kind in expected.items()
        if name in frame.columns and frame.schema[name] != kind
    ]
    if faults:
        raise FaultError(f"rows for the table {table.name} do not fit its schema: {'; '.join(faults)}")
    required = [field.name for field in table.file_schema if not field.nullable]
    counts = frame.select(pl.col(*required).null_count()).row(0, named=True) if required else {}
    if table.needed:
        valid = frame.filter(~pl.col("voided"))
        counts |= valid.select(pl.col(*table.needed).null_count()).row(0, named=True)
    faults = [f"{name}: expected no nulls, found {count}" for name, count in counts.items() if count]
    if faults:
        raise FaultError(f"rows for the table {table.name} are incomplete: {'; '.join(faults)}")
    return frame.select(*expected)


def _field(name: str, kind: pa.DataType, description: str, *, nullable: bool = False) -> pa.Field[Any]:
    metadata = {"description": description, "unit": _UNITS.get(name, NO_UNIT)}
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


@cache
def _avro_fields(record: str) -> dict[str, pa.Field[Any]]:
    """The fields of an Avro record as Arrow fields, by name."""
    text = files("schemas").joinpath("avro", f"{record}.avsc").read_text(encoding="utf-8")
    return {field["name"]: _avro_field(field) for field in json.loads(text)["fields"]}


def _avro_field(field: dict[str, Any]) -> pa.Field[Any]:
    kind = field["type"]
    nullable = isinstance(kind, list)
    if nullable:
        (kind,) = (branch for branch in kind if branch != "null")
    return _field(field["name"], _arrow_type(kind), field["doc"], nullable=nullable)


def _arrow_type(kind: Any) -> pa.DataType:
    if isinstance(kind, str) and kind in _AVRO_TYPES:
        return _AVRO_TYPES[kind]
    if isinstance(kind, dict) and kind.get("type") == "array":
        return pa.list_(_arrow_type(kind["items"]))
    if isinstance(kind, dict) and kind.get("logicalType") in _AVRO_TYPES:
        return _AVRO_TYPES[kind["logicalType"]]
    raise FaultError(f"schemas/lake_tables.py: expected a type that the lake knows, found {kind!r}")


def _taken(record: str, *names: str, nullable: bool | None = None) -> list[pa.Field[Any]]:
    """Fields of an Avro record, as they are or with another nullability."""
    fields = [_avro_fields(record)[name] for name in names]
    return fields if nullable is None else [field.with_nullable(nullable) for field in fields]


_SOURCE = [
    _field("source_partition", pa.int32(), "Partition of the topic that the row was read from."),
    _field("source_offset", pa.int64(), "Offset in that partition; unique within a table together with it."),
]
_SOLD_ON = _field("sold_on", pa.date32(), "Local day of sold_at in the location's time zone.")
_REVENUE = _field(
    "revenue", pa.float64(), "quantity × unit_price; null when the price is not known.", nullable=True
)
_LOCATION_ATTRIBUTES = [
    _field(
        "location_name", pa.string(), "Name of the location, as of the delivery of the sale.", nullable=True
    ),
    _field("region", pa.string(), "Region or state of the location, as of the delivery.", nullable=True),
    _field(
        "location_kind",
        pa.string(),
        "Kind of location, such as supermarket, as of the delivery.",
        nullable=True,
    ),
]
_TIME_ZONE = _field("time_zone", pa.string(), "Time zone of the location; it decides on sold_on.")
_CURRENCY = _field("currency", pa.string(), "Currency of the location's prices.", nullable=True)
_PRODUCT_ATTRIBUTES = [
    _field(
        "product_name", pa.string(), "Name of the product, as of the delivery of the sale.", nullable=True
    ),
    _field(
        "department", pa.string(), "Department of the product; the finer of the two groups.", nullable=True
    ),
    _field("category", pa.string(), "Category of the product; the coarser of the two groups.", nullable=True),
]
_UNIT = _field("unit", pa.string(), "Unit of the product's quantities.")
_NEEDED = ("product_id", "sold_at", "sold_on", "quantity", "time_zone", "unit")


def _sale_fields() -> list[pa.Field[Any]]:
    return [
        *_taken("sale", "customer_id", "delivery_id", "position", "received_at"),
        *_taken("sale", "sale_id", "location_id", "product_id", "sold_at", nullable=False),
        _SOLD_ON,
        *_taken("sale", "quantity", nullable=False),
        *_taken("sale", "unit_price"),
        _REVENUE,
        *_LOCATION_ATTRIBUTES,
        _TIME_ZONE,
        _CURRENCY,
        *_PRODUCT_ATTRIBUTES,
        _UNIT,
    ]


def _joined_schema() -> pa.Schema:
    # A withdrawal need not say what was sold, when and how much.
    fields = [field.with_nullable(True) if field.name in _NEEDED else field for field in _sale_fields()]
    place = [field.name for field in fields].index("revenue") + 1
    return pa.schema([*fields[:place], *_taken("sale", "voided"), *fields[place:], *_SOURCE])


def _daily_schema() -> pa.Schema:
    return pa.schema(
        [
            *_taken("sale", "customer_id"),
            *_taken("sale", "location_id", "product_id", nullable=False),
            _SOLD_ON,
            _field("quantity", pa.float64(), "Sum of the quantities sold on the day."),
            _field(
                "revenue", pa.float64(), "Sum of the known revenues; null when none is known.", nullable=True
            ),
            _field("sales", pa.int64(), "Number of sales of the day."),
            *_LOCATION_ATTRIBUTES,
            _CURRENCY,
            *_PRODUCT_ATTRIBUTES,
            _UNIT,
        ]
    )


def _withdrawn_schema() -> pa.Schema:
    return pa.schema(
        [
            *_taken("sale", "customer_id"),
            *_taken("sale", "sale_id", nullable=False),
            *_taken("sale", "delivery_id", "position"),
        ]
    )


def _forecast_schema() -> pa.Schema:
    unit = {"unit": "the product's unit a day"}

    def amount(name: str, description: str) -> pa.Field[Any]:
        return pa.field(name, pa.float32(), nullable=False, metadata={"description": description, **unit})

    levels = ((5, "q05"), (10, "q10"), (25, "q25"), (50, "q50"), (75, "q75"), (90, "q90"), (95, "q95"))
    return pa.schema(
        [
            *_taken("sale", "customer_id"),
            *_taken("sale", "location_id", "product_id", nullable=False),
            _field("date", pa.date32(), "The day that is forecast, local to the location."),
            amount("mean", "Expected quantity sold on the day."),
            *(
                amount(name, f"Quantity that is not exceeded with a probability of {level} %.")
                for level, name in levels
            ),
            _field("model", pa.string(), "Name of the model."),
            _field("run_id", pa.string(), "Run that made the forecast; forecast_runs tells of it."),
            _field("manifest", pa.int64(), "Manifest of the sealed sales that the run was trained on."),
            _field("made_on", pa.date32(), "Day on which the forecast was made."),
        ]
    )


_MASTER = {
    "locations": ("location", ("location_id",), "The places that sell"),
    "products": ("product", ("product_id",), "The products that are sold"),
    "prices": (
        "price",
        ("location_id", "product_id", "valid_from"),
        "Prices known ahead, with every first day",
    ),
    "events": ("event", ("event_id",), "Days unlike others, known ahead"),
}
MASTER_KEYS: dict[str, tuple[str, ...]] = {name: key for name, (_, key, _) in _MASTER.items()}
"""By master data table the columns that name a record within a customer."""


def _tables() -> list[LakeTable]:
    receipt = ("customer_id", "location_id", "product_id", "sold_at")
    tables = [
        LakeTable(
            "sales_joined",
            "Every valid sale as it arrived, joined with its location and product; corrections and "
            "withdrawals are rows of their own. One row for each message, never changed.",
            _joined_schema(),
            ("arrived_on",),
            receipt,
            _NEEDED,
        ),
        LakeTable(
            "sales_error",
            "Every refused record as it arrived, with all reasons and its original bytes. A record that was judged "
            "again is one more row: the newest judged_at counts, and no codes mean that it is valid.",
            pa.schema(list(_avro_fields("sale_error").values())),
            ("arrived_on",),
            ("customer_id", "delivery_id", "position"),
            added=("sold_at", "quantity", "unit_price", "voided"),
        ),
        LakeTable(
            "sales_sealed",
            "Every sale once, as the last delivery left it, by local day; withdrawn sales are not in it.",
            pa.schema(_sale_fields()),
            ("customer_id", "sold_on"),
            ("location_id", "product_id", "sold_at", "sale_id"),
        ),
        LakeTable(
            "sales_daily",
            "The sealed sales summed by location, product and local day, with the newest sale's attributes.",
            _daily_schema(),
            ("customer_id", "sold_on"),
            ("location_id", "product_id"),
        ),
        LakeTable(
            "sales_withdrawn",
            "The sales whose last word was a withdrawal; an older line that arrives later stays withdrawn.",
            _withdrawn_schema(),
            ("customer_id",),
            ("sale_id",),
        ),
        LakeTable(
            "forecasts",
            "Forecast quantities by location, product and day; forecast_runs/CUSTOMER/current.json names the "
            "run that counts.",
            _forecast_schema(),
            ("customer_id", "run_id"),
            ("location_id", "product_id", "date"),
        ),
    ]
    for name, (record, key, description) in _MASTER.items():
        fields = list(_avro_fields(record).values())
        tables += [
            LakeTable(
                f"changes_{name}",
                f"{description}: every version as it arrived, one row for each message.",
                pa.schema([*fields, *_SOURCE]),
                ("arrived_on",),
                ("customer_id", *key, "delivery_id", "position"),
            ),
            LakeTable(
                name,
                f"{description}: the newest version of each, as of the customer's last manifest.",
                pa.schema(fields),
                ("customer_id",),
                key,
            ),
        ]
    return tables


ARRIVED_ON: pa.Field[Any] = _field(
    "arrived_on",
    pa.date32(),
    "Day of the Kafka timestamp of the file's first message; only the name of a folder.",
)
LAKE_TABLES: dict[str, LakeTable] = {table.name: table for table in _tables()}
"""Every table of the lake by name."""
RAW_TABLES: tuple[str, ...] = tuple(
    name for name, table in LAKE_TABLES.items() if "arrived_on" in table.partitioning
)
"""The tables that stream jobs append to."""
