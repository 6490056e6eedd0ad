"""Avro records one by one, with fastavro: the small topics, and the batches that hold a bad record.

Guarantee: a record that is returned was its whole message, byte for byte, and its values fit their types.
Timestamps are aware datetimes, dates are dates.
"""

import datetime as dt
import io
from collections.abc import Mapping, Sequence
from typing import Any, cast

import fastavro
import fastavro.validation
import polars as pl

from infra.errors import FaultError, UndecodableError
from schemas.records import AvroType, dtype_of

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def parsed(schema: AvroType) -> AvroType:
    """A schema as fastavro's reader and writer want it."""
    return fastavro.parse_schema(schema)


class RecordReader:
    """Reads single records of one writer's schema as another's."""

    def __init__(self, writer: AvroType, reader: AvroType) -> None:
        """Choose the schemas, both as parsed JSON."""
        self._writer, self._reader = parsed(writer), parsed(reader)
        written = {field["name"] for field in writer["fields"]}
        # fastavro hands out a default as it stands in the JSON: text for bytes, a number for a date.
        self._defaults = {
            field["name"]: _default(field["default"], field["type"])
            for field in reader["fields"]
            if "default" in field and written.isdisjoint({field["name"], *field.get("aliases", ())})
        }

    def read(self, body: bytes) -> dict[str, Any]:
        """Read one record.

        Args:
            body: Its bytes, without any header.

        Raises:
            UndecodableError: The bytes are not one such record, neither more nor less.
        """
        source = io.BytesIO(body)
        try:
            record = cast("dict[str, Any]", fastavro.schemaless_reader(source, self._writer, self._reader))
            record.update(self._defaults)
            # fastavro reads an int of 40 bits without a word.
            within = fastavro.validation.validate(record, self._reader, raise_errors=False)
        except Exception as error:
            # Whatever the decoder runs into in foreign bytes says the same of them.
            raise UndecodableError(f"{type(error).__name__}: {str(error)[:200]}") from error
        if source.tell() != len(body):
            raise UndecodableError(f"{len(body) - source.tell()} bytes follow the end of the record")
        if not within:
            raise UndecodableError("a value lies outside of the range of its type")
        return record


def write_record(record: Mapping[str, Any], writer: AvroType) -> bytes:
    """The bytes of one record, without any header.

    Args:
        record: Values by field; a field that is left out takes its default.
        writer: Parsed schema to write it with.

    Raises:
        FaultError: A field without a default is missing, a value does not fit, or there is no such field.
    """
    names = {field["name"] for field in writer["fields"]}
    if not names.issuperset(record):
        raise FaultError(
            f"a {writer['name']} has no field {sorted(set(record) - names)}; it has {sorted(names)}"
        )
    naive = [
        name for name, value in record.items() if isinstance(value, dt.datetime) and value.tzinfo is None
    ]
    if naive:
        raise FaultError(f"{naive} of a {writer['name']} have no time zone, expected aware datetimes")
    target = io.BytesIO()
    try:
        fastavro.validation.validate(record, writer)
        fastavro.schemaless_writer(target, writer, record)
    except (fastavro.validation.ValidationError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise FaultError(f"no {writer['name']}: {error}") from error
    return target.getvalue()


def read_frame(
    bodies: Sequence[bytes],
    writer: AvroType,
    reader: AvroType,
) -> tuple[pl.DataFrame, dict[int, str]]:
    """Read records one by one into columns.

    Args:
        bodies: The bytes of each record, without any header.
        writer: Avro schema as parsed JSON.
        reader: Avro schema as parsed JSON; it gives the columns and their types.

    Returns:
        One row for each good record, in order; and the reasons of the others by their place.
    """
    record_reader = RecordReader(writer, reader)
    rows: list[dict[str, Any]] = []
    bad: dict[int, str] = {}
    for place, body in enumerate(bodies):
        try:
            rows.append(record_reader.read(body))
        except UndecodableError as error:
            bad[place] = str(error)
    return frame_of(rows, reader), bad


def frame_of(records: Sequence[Mapping[str, Any]], schema: AvroType) -> pl.DataFrame:
    """Records as columns: a map becomes a list of key and value.

    Args:
        records: Values by field.
        schema: Avro schema of the record, as parsed JSON.
    """
    return pl.DataFrame(
        [
            pl.Series(
                field["name"],
                [_to_cell(record[field["name"]], field["type"]) for record in records],
                dtype=dtype_of(field["type"]),
            )
            for field in schema["fields"]
        ]
    )


def records_of(frame: pl.DataFrame, schema: AvroType) -> list[dict[str, Any]]:
    """Columns as records: the reverse of `frame_of`."""
    fields = [field for field in schema["fields"] if field["name"] in frame.columns]
    return [
        {field["name"]: _from_cell(row[field["name"]], field["type"]) for field in fields}
        for row in frame.iter_rows(named=True)
    ]


def _value_type(avro: AvroType) -> AvroType:
    if isinstance(avro, list):
        return next(branch for branch in avro if branch != "null")
    return avro


def _to_cell(value: Any, avro: AvroType) -> Any:
    avro = _value_type(avro)
    if value is None or isinstance(avro, str):
        return value
    if avro["type"] == "map":
        return [{"key": key, "value": _to_cell(item, avro["values"])} for key, item in value.items()]
    if avro["type"] == "array":
        return [_to_cell(item, avro["items"]) for item in value]
    if avro["type"] == "record":
        return {field["name"]: _to_cell(value[field["name"]], field["type"]) for field in avro["fields"]}
    return value


def _from_cell(value: Any, avro: AvroType) -> Any:
    avro = _value_type(avro)
    if value is None or isinstance(avro, str):
        return value
    if avro["type"] == "map":
        return {item["key"]: _from_cell(item["value"], avro["values"]) for item in value}
    if avro["type"] == "array":
        return [_from_cell(item, avro["items"]) for item in value]
    if avro["type"] == "record":
        return {field["name"]: _from_cell(value[field["name"]], field["type"]) for field in avro["fields"]}
    return value


def _default(default: Any, avro: AvroType) -> Any:
    avro = _value_type(avro) if default is not None else avro
    kind, logical = (avro["type"], avro.get("logicalType")) if isinstance(avro, dict) else (avro, None)
    if default is None:
        return None
    if logical == "timestamp-micros":
        return _EPOCH + dt.timedelta(microseconds=default)
    if logical == "date":
        return _EPOCH.date() + dt.timedelta(days=default)
    if kind == "bytes":
        return default.encode("latin-1")
    if kind == "array":
        return [_default(item, avro["items"]) for item in default]
    return default
