"""The records of the contracts: which there are, their Avro schemas and the columns they become.

Guarantee: a record's columns follow from its `.avsc` file alone. Timestamps are `Datetime("us", "UTC")`,
dates are `Date`, bytes `Binary`, enums `String`, maps lists of key and value.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import polars as pl

from infra.errors import FaultError, MissingPartError

AvroType = Any
"""A schema in Avro's JSON form: the name of a type, a list (union) or an object."""

PHYSICAL: dict[str, pl.DataType] = {
    "boolean": pl.Boolean(),
    "int": pl.Int32(),
    "long": pl.Int64(),
    "float": pl.Float32(),
    "double": pl.Float64(),
    "bytes": pl.Binary(),
    "string": pl.String(),
    "enum": pl.Int32(),
}
"""How a value lies on the wire, as a column; an enum is its symbol's number."""

LOGICAL: dict[tuple[str, str], pl.DataType] = {
    ("long", "timestamp-micros"): pl.Datetime("us", "UTC"),
    ("int", "date"): pl.Date(),
}
"""Logical types that the contracts use; others are refused rather than carried as bare numbers."""


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a record that is one column: a primitive or an enum, perhaps nullable, or an array of such.

    Attributes:
        name: Name of the field.
        kind: Avro's primitive type, or `enum`.
        logical: Logical type, or None.
        symbols: Symbols of an enum, in their order.
        nullable: Whether the type is a union with null.
        null_last: Whether null is the second branch of that union.
        repeated: Whether the field is an array of `kind`.
        default: A tuple that holds the default (in Avro's JSON form), or is empty when there is none.
        aliases: Older names of the field.
    """

    name: str
    kind: str
    logical: str | None = None
    symbols: tuple[str, ...] = ()
    nullable: bool = False
    null_last: bool = False
    repeated: bool = False
    default: tuple[Any, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def physical(self) -> pl.DataType:
        """The type of the column as it lies on the wire."""
        inner = PHYSICAL[self.kind]
        return pl.List(inner) if self.repeated else inner

    @property
    def dtype(self) -> pl.DataType:
        """The type of the column in a frame."""
        if self.logical is not None:
            return LOGICAL[self.kind, self.logical]
        return pl.String() if self.kind == "enum" else self.physical


@cache
def record_names() -> dict[str, str]:
    """File names of the contracts by the name of their record."""
    folder = files("schemas").joinpath("avro")
    found = {}
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".avsc"):
            found[str(json.loads(entry.read_text(encoding="utf-8"))["name"])] = entry.name
    return found


@cache
def schema_text(name: str) -> str:
    """The Avro schema of a record as compact JSON, the form in which it is registered.

    Args:
        name: Name of the record, such as `Sale`, or of its file, such as `sale.avsc`.

    Raises:
        MissingPartError: There is no such record.
    """
    file = record_names().get(name, name)
    if file not in record_names().values():
        raise MissingPartError(
            f"no record {name!r} among the contracts; there are {', '.join(sorted(record_names()))}"
        )
    text = files("schemas").joinpath("avro", file).read_text(encoding="utf-8")
    return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))


def schema_of_record(name: str) -> dict[str, Any]:
    """The Avro schema of a record, as a new object.

    Raises:
        MissingPartError: There is no such record.
    """
    parsed: dict[str, Any] = json.loads(schema_text(name))
    return parsed


def frame_schema(name: str) -> dict[str, pl.DataType]:
    """Names and types of the columns that a record becomes.

    Raises:
        MissingPartError: There is no such record.
    """
    return {field["name"]: dtype_of(field["type"]) for field in schema_of_record(name)["fields"]}


def dtype_of(avro: AvroType) -> pl.DataType:
    """The type of the column that an Avro type becomes.

    Raises:
        FaultError: The type has no column: a union of several values, or a logical type not in use.
    """
    if isinstance(avro, list):
        values = [branch for branch in avro if branch != "null"]
        if len(values) != 1:
            raise FaultError(f"the union {avro!r} has no column: expected null and one other type")
        return dtype_of(values[0])
    kind, logical = (avro, None) if isinstance(avro, str) else (avro["type"], avro.get("logicalType"))
    if logical is not None:
        if (kind, logical) not in LOGICAL:
            raise FaultError(
                f"the logical type {logical!r} of {kind} has no column; in use are {sorted(LOGICAL)}"
            )
        return LOGICAL[kind, logical]
    if kind == "array":
        return pl.List(dtype_of(avro["items"]))
    if kind == "map":
        return pl.List(pl.Struct({"key": pl.String(), "value": dtype_of(avro["values"])}))
    if kind == "record":
        return pl.Struct({field["name"]: dtype_of(field["type"]) for field in avro["fields"]})
    if isinstance(kind, (dict, list)):
        return dtype_of(kind)
    if kind == "enum":
        return pl.String()
    if kind not in PHYSICAL:
        raise FaultError(f"the type {kind!r} has no column; expected one of {sorted(PHYSICAL)}")
    return PHYSICAL[kind]


def flat_columns(schema: AvroType) -> tuple[Column, ...] | None:
    """The fields of a record as columns, or None when one is no single column, such as a map."""
    if not isinstance(schema, dict) or schema.get("type") != "record" or not schema["fields"]:
        return None
    columns = [_column(field) for field in schema["fields"]]
    flat = tuple(column for column in columns if column is not None)
    return flat if len(flat) == len(columns) else None


def _column(field: dict[str, Any]) -> Column | None:
    avro, nullable, null_last = field["type"], False, False
    if isinstance(avro, list):
        if len(avro) != 2 or "null" not in avro:
            return None
        nullable, null_last = True, avro[1] == "null"
        avro = avro[0] if null_last else avro[1]
    repeated = isinstance(avro, dict) and avro["type"] == "array"
    if repeated:
        if nullable:
            return None
        avro = avro["items"]
    described = avro if isinstance(avro, dict) else {"type": avro}
    kind, logical = described["type"], described.get("logicalType")
    if not isinstance(kind, str) or kind not in PHYSICAL:
        return None
    if repeated and (kind in ("enum", "boolean") or logical is not None):
        return None
    if logical is not None and (kind, logical) not in LOGICAL:
        return None
    return Column(
        name=field["name"],
        kind=kind,
        logical=logical,
        symbols=tuple(described.get("symbols", ())),
        nullable=nullable,
        null_last=null_last,
        repeated=repeated,
        default=(field["default"],) if "default" in field else (),
        aliases=tuple(field.get("aliases", ())),
    )


def without_logical_types(avro: AvroType) -> AvroType:
    """The same schema without logical types, so that its values are the numbers on the wire."""
    if isinstance(avro, list):
        return [without_logical_types(branch) for branch in avro]
    if not isinstance(avro, dict):
        return avro
    # A default or a list of symbols is no type: only what can hold a type is gone through.
    bare = {key: value for key, value in avro.items() if key not in ("logicalType", "precision", "scale")}
    for key in ("type", "items", "values"):
        if key in bare:
            bare[key] = without_logical_types(bare[key])
    if "fields" in bare:
        bare["fields"] = [{**field, "type": without_logical_types(field["type"])} for field in bare["fields"]]
    return bare
