"""Decides whether one schema can stand beside another in a subject.

Apache's `avro.compatibility` decides on names, types, defaults and symbols. It overlooks logical types, which
here count as part of a type: a changed scale or precision of a decimal, or a timestamp that becomes a bare
number, would be read without an error and with a wrong meaning.

Guarantee: an empty list of reasons means that every value written with the one schema is read with the other.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, cast, get_args

import avro.errors
import avro.schema
from avro.compatibility import (
    ReaderWriterCompatibilityChecker,
    SchemaCompatibilityResult,
    SchemaCompatibilityType,
    SchemaIncompatibilityType,
)

from infra.errors import IncompatibleSchemaError
from schemas.records import AvroType, without_logical_types

Level = Literal[
    "NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"
]
"""What a new version must keep: to read older data (BACKWARD), to be read by older readers, or both."""

LEVELS: tuple[Level, ...] = get_args(Level)

ApacheSchema = Any
"""A schema as Apache's package parses it; its classes do not state the attributes of records."""

_LOGICAL_KEYS = ("logicalType", "precision", "scale")


def incompatibilities(new: str, older: Sequence[str], level: Level) -> list[str]:
    """Why a new version may not follow the older ones.

    Args:
        new: Avro schema, JSON text.
        older: The subject's versions, oldest first.
        level: What must be kept; without `TRANSITIVE` towards the newest of the older versions only.

    Returns:
        Reasons in words; empty when the new version may follow.

    Raises:
        IncompatibleSchemaError: One of the texts is no Avro schema.
    """
    if level == "NONE" or not older:
        return []
    first = 0 if level.endswith("_TRANSITIVE") else len(older) - 1
    reasons = []
    for number, text in enumerate(older[first:], start=first + 1):
        if level.startswith(("BACKWARD", "FULL")):
            reasons += [
                f"the new schema cannot read data of version {number}: {reason}"
                for reason in unreadable(reader=new, writer=text)
            ]
        if level.startswith(("FORWARD", "FULL")):
            reasons += [
                f"readers with version {number} cannot read data of the new schema: {reason}"
                for reason in unreadable(reader=text, writer=new)
            ]
    return reasons


def unreadable(reader: str, writer: str) -> list[str]:
    """Why data written with one schema cannot always be read with another.

    Args:
        reader: Avro schema, JSON text.
        writer: Avro schema, JSON text.

    Returns:
        Reasons in words; empty when all data can be read.

    Raises:
        IncompatibleSchemaError: One of the texts is no Avro schema.
    """
    parsed_reader, parsed_writer = parse(reader), parse(writer)
    reasons: list[str] = []
    if not _compatible(parsed_reader, parsed_writer):
        reasons = list(_explained(parsed_reader, parsed_writer)) or ["the types differ"]
    return reasons + logical_changes(json.loads(reader), json.loads(writer))


def parse(text: str) -> ApacheSchema:
    """Read an Avro schema as Apache's parser understands it.

    Raises:
        IncompatibleSchemaError: The text is no Avro schema.
    """
    try:
        # Logical types are compared apart; Apache's parser warns of those that it does not know.
        return avro.schema.parse(
            json.dumps(without_logical_types(json.loads(text))), validate_enum_symbols=True
        )
    except (
        avro.errors.AvroException,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ) as error:
        raise IncompatibleSchemaError(f"not an Avro schema: {error}") from error


def _compatible(reader: ApacheSchema, writer: ApacheSchema) -> bool:
    return bool(_compared(reader, writer).compatibility is SchemaCompatibilityType.compatible)


def _compared(reader: ApacheSchema, writer: ApacheSchema) -> SchemaCompatibilityResult:
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    return checker.get_compatibility(reader=reader, writer=writer)


def _explained(reader: ApacheSchema, writer: ApacheSchema) -> Iterator[str]:
    """Reasons field by field, since Apache's result does not say which message belongs to which place."""
    if reader.type != "record" or writer.type != "record":
        yield from _words(reader, writer)
        return
    names = {reader.name, *(alias.rsplit(".", 1)[-1] for alias in reader.props.get("aliases") or ())}
    if writer.name not in names:
        yield f"the record is called {writer.name!r} where {reader.name!r} is expected"
    written = {field.name: field for field in writer.fields}
    for field in reader.fields:
        source = next(
            (written[name] for name in (field.name, *(field.props.get("aliases") or ())) if name in written),
            None,
        )
        if source is None:
            if not field.has_default:
                yield f"field {field.name!r} is not in the data and has no default"
        elif not _compatible(field.type, source.type):
            yield from (f"field {field.name!r}: {words}" for words in _words(field.type, source.type))


def _words(reader: ApacheSchema, writer: ApacheSchema) -> list[str]:
    result = _compared(reader, writer)
    kinds = dict.fromkeys(kind for kind in result.incompatibilities)
    texts = {
        SchemaIncompatibilityType.name_mismatch: "the name differs",
        SchemaIncompatibilityType.fixed_size_mismatch: "the size differs",
        SchemaIncompatibilityType.missing_enum_symbols: "a symbol is unknown to the reader",
        SchemaIncompatibilityType.reader_field_missing_default_value: "a field has neither data nor default",
        SchemaIncompatibilityType.type_mismatch: "the type differs",
        SchemaIncompatibilityType.missing_union_branch: "a branch of the union is unknown to the reader",
    }
    found = ", ".join(sorted(result.messages))
    said = "; ".join(texts[kind] for kind in kinds) or "the types differ"
    return [f"{said} ({found})" if found else said]


def logical_changes(reader: AvroType, writer: AvroType) -> list[str]:
    """Where a logical type is not the same in the data and in the schema that reads them.

    Args:
        reader: Avro schema as parsed JSON.
        writer: Avro schema as parsed JSON.

    Returns:
        Reasons in words; fields of one schema only are no reason.
    """
    return list(_Logical(_named(reader), _named(writer)).changes(reader, writer, ""))


class _Logical:
    """Walks two schemas side by side; a type that contains itself is entered once."""

    def __init__(self, reader_names: dict[str, AvroType], writer_names: dict[str, AvroType]) -> None:
        self._reader_names, self._writer_names = reader_names, writer_names
        self._entered: set[tuple[str, str]] = set()

    def changes(self, reader: AvroType, writer: AvroType, place: str) -> Iterator[str]:
        if isinstance(reader, list) or isinstance(writer, list):
            yield from self._unions(reader, writer, place)
            return
        reader, writer = _described(reader, self._reader_names), _described(writer, self._writer_names)
        old, new = ([(key, side[key]) for key in _LOGICAL_KEYS if key in side] for side in (writer, reader))
        if old != new and "logicalType" in {**reader, **writer}:
            where = f"field {place!r}" if place else "the schema"
            yield f"{where}: the logical type is {_said(old)} in the data and {_said(new)} in the reader"
        for key in ("items", "values"):
            if key in reader and key in writer:
                yield from self.changes(reader[key], writer[key], place)
        if "fields" in reader and "fields" in writer:
            pair = (str(reader.get("name")), str(writer.get("name")))
            if pair in self._entered:
                return
            self._entered.add(pair)
            written = {field["name"]: field for field in writer["fields"]}
            for field in reader["fields"]:
                names = [name for name in (field["name"], *field.get("aliases", ())) if name in written]
                if names:
                    inner = f"{place}.{field['name']}" if place else field["name"]
                    yield from self.changes(field["type"], written[names[0]]["type"], inner)

    def _unions(self, reader: AvroType, writer: AvroType, place: str) -> Iterator[str]:
        readers, writers = (side if isinstance(side, list) else [side] for side in (reader, writer))
        by_kind = {_kind(branch, self._reader_names): branch for branch in readers}
        for branch in writers:
            same = by_kind.get(_kind(branch, self._writer_names))
            if same is None:
                # Widened to another type of number: the reader's only value branch is what it becomes.
                values = [other for other in readers if other != "null"]
                same = values[0] if branch != "null" and len(values) == 1 else None
            if same is not None:
                yield from self.changes(same, branch, place)


def _named(schema: AvroType) -> dict[str, AvroType]:
    found: dict[str, AvroType] = {}
    pending = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending += part
        elif isinstance(part, dict):
            if "name" in part and part.get("type") in ("record", "enum", "fixed", "error"):
                found[part["name"].rsplit(".", 1)[-1]] = part
            pending += [part[key] for key in ("type", "items", "values") if key in part]
            pending += [field["type"] for field in part.get("fields", ())]
    return found


def _described(avro_type: AvroType, names: dict[str, AvroType]) -> dict[str, Any]:
    if isinstance(avro_type, str):
        return cast("dict[str, Any]", names.get(avro_type.rsplit(".", 1)[-1], {"type": avro_type}))
    if isinstance(avro_type["type"], dict):
        return _described(avro_type["type"], names)
    return cast("dict[str, Any]", avro_type)


def _kind(avro_type: AvroType, names: dict[str, AvroType]) -> str:
    described = _described(avro_type, names)
    return str(described.get("name", described["type"]))


def _said(pairs: list[tuple[str, Any]]) -> str:
    return (
        " ".join(str(value) if key == "logicalType" else f"{key} {value}" for key, value in pairs) or "none"
    )
